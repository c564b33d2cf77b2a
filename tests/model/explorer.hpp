// SPDX-License-Identifier: Apache-2.0
// An exhaustive explorer of small concurrent programs: every interleaving of their atomic
// operations, and for every load every value that the memory model lets it read. Lock-free code of
// weft is a template over its atomics (runtime/sync_policy.hpp), so what runs here is the code of
// the library, not a copy.
//
// The memory model is an operational one ("views", after Kang et al., "A promising semantics for
// relaxed-memory concurrency", 2017, without promises). A location is a list of messages, in
// modification order; a thread has a view: for each location the oldest message it may still read.
// A release store puts the writer's view into the message, an acquire load joins it to the
// reader's. A relaxed store that others do not see yet is a store in a store buffer; a relaxed load
// of an old message is a stale read. A seq_cst fence joins the thread's view with the one global
// view, both ways; a heavy barrier makes every thread do that, one after the other, while its
// caller waits. Not modelled: loads that read from stores later in program order, and a store that
// takes its place before one already made.
//
// Threads are run on stacks of their own by replaying a list of choices, depth first. A state that
// was reached before is not continued: what a thread does next depends only on what it has read, so
// a state is the readings of each thread plus the messages that can still be read.
//
// One explorer at a time, on one thread. Not under sanitizers: they do not know these stacks.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <vector>

namespace weft_model {

inline constexpr std::size_t max_locations = 64;
inline constexpr std::size_t max_threads = 4;

/// For each location, the index of the oldest message that may be read.
using view = std::array<std::uint8_t, max_locations>;

enum class op : std::uint8_t { load, store, rmw, cas_failure };

/// A fault to plant: operations of this kind and order, in functions whose name contains
/// `function`, are done with `to` instead.
struct mutant {
  std::string function;
  op kind;
  std::memory_order from;
  std::memory_order to;
};

struct outcome {
  bool complete = false;  ///< everything was explored
  std::string violation;  ///< empty: none found
  std::string trace;      ///< the steps that led there
  std::uint64_t states = 0;
  std::uint64_t executions = 0;
};

/// The program under exploration. Given to the scenario, which is run anew for each execution:
/// makes the shared objects, and names the threads.
class world {
 public:
  /// An object that lives as long as the execution.
  template <class T, class... Args>
  T& make(Args&&... args) {
    auto p = std::make_shared<T>(std::forward<Args>(args)...);
    T& object = *p;
    objects_.push_back(std::move(p));
    return object;
  }
  void thread(std::function<void()> body) { bodies_.push_back(std::move(body)); }
  /// Run when all threads have ended.
  void at_end(std::function<void()> check) { at_end_ = std::move(check); }
  /// Threads that may be asleep when nothing can happen any more (a worker waiting for work).
  void may_sleep_for_ever(std::function<bool()> allowed) { may_sleep_ = std::move(allowed); }

 private:
  friend class explorer;
  std::vector<std::shared_ptr<void>> objects_;
  std::vector<std::function<void()>> bodies_;
  std::function<void()> at_end_;
  std::function<bool()> may_sleep_;
};

struct limits {
  std::uint64_t states = 40'000'000;
};

/// Explores until a violation is found or nothing is left.
[[nodiscard]] outcome explore(const std::function<void(world&)>& scenario,
                              std::vector<mutant> mutants = {}, limits l = {});

/// What is wrong with a scenario that must hold: empty if it was explored to the end, through more
/// than a handful of states, without a violation.
[[nodiscard]] std::string problem_with(const std::function<void(world&)>& scenario);

// --- for the threads of a scenario

/// Ends the execution as a violation unless `holds`.
void check(bool holds, const char* what);
/// Number of the calling thread, in the order of world::thread.
[[nodiscard]] int this_thread() noexcept;
/// One of 0 .. n-1; all are tried.
[[nodiscard]] std::uint32_t choose(std::uint32_t n);
/// In a loop that waits for another thread's store: sleeps until there is a new one, and sees all
/// when nobody else can run.
void relax();
/// A place where another thread's heavy barrier may catch this one.
void here();
/// At the head of a loop: what this thread does from here on depends on `locals` and on memory
/// only. Otherwise two rounds of a loop never are the same state.
void forget_all_but(std::uint64_t locals);
void seq_cst_fence();
void heavy_barrier();

// --- for atomic.hpp

[[nodiscard]] std::size_t new_location(std::uint64_t value);
void drop_location(std::size_t location) noexcept;
[[nodiscard]] std::uint64_t load(std::size_t location, std::memory_order order,
                                 const std::source_location& where);
void store(std::size_t location, std::uint64_t value, std::memory_order order,
           const std::source_location& where);
/// Writes f(old), if there is nothing expected or it is there; the value read.
std::uint64_t update(std::size_t location, const std::uint64_t* expected,
                     const std::function<std::uint64_t(std::uint64_t old)>& f,
                     std::memory_order success, std::memory_order failure,
                     const std::source_location& where);
/// A plain variable: an access that is not ordered after all conflicting ones is a violation.
[[nodiscard]] std::uint64_t plain_read(std::size_t location, std::size_t readers);
void plain_write(std::size_t location, std::size_t readers, std::uint64_t value);
/// futex(2): sleeps if the newest value is `expected`; false if it was not.
bool futex_wait(std::size_t location, std::uint64_t expected);
void futex_wake(std::size_t location);

}  // namespace weft_model
