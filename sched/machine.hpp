// SPDX-License-Identifier: Apache-2.0
// M: an OS thread of weft, and the runtime section: how a thread makes sure that the P it holds is
// still its own.
//
// A fiber never leaves its thread in the middle of user code. sysmon takes the *P* from an M that
// blocks or hogs, gives it to another M, and the fiber runs on as an ordinary thread until its next
// parking call. For that an M marks when it is inside a runtime section, i.e. may touch its P: the
// protocol, and its proof, are in handoff.hpp.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include <weft/detail/biased_lock.hpp>
#include <weft/detail/park.hpp>
#include <weft/detail/relaxed.hpp>
#include "runtime/sync_policy.hpp"
#include "sched/handoff.hpp"
#include "sched/processor.hpp"
#include "sched/sighting.hpp"

namespace weft::inline v0::detail {

/// What sysmon saw an M do; see stall_watch.cpp.
struct stall_mark {
  const fiber_core* g = nullptr;
  std::uint32_t ticks = 0;
  [[nodiscard]] bool operator==(const stall_mark&) const = default;
};

struct machine : machine_head {
  // --- the M's own thread only
  processor* p = nullptr;
  std::uint64_t tag = 0;
  std::uint64_t quick_tag = owner_never;  // the same, or not: see rt_enter_quick
  relaxed<fiber_core*> current{nullptr};  // whose stack we are on; &g0 between fibers
  fiber_core* pending = nullptr;          // g0 is to dispatch this one
  char* dead_stack = nullptr;             // stack of a fiber that ended while we had no P
  std::uint8_t dead_stack_class = 0;
  bias_slot* bias = nullptr;  // for locks that are ours by privilege; null: none to be had
  eh_globals* eh = nullptr;   // this thread's; constant while the thread lives
  int* err = nullptr;         // &errno of this thread
  runtime_state* rt = nullptr;
  std::uint32_t id = 0;
  std::uint32_t epoch = 0;
  std::uint32_t lock_depth = 0;  // lock_thread scopes of the fiber that is pinned here
  bool spinning = false;
  sighting eye;                              // on the fresh fibers of other Ps
  relaxed<std::int64_t> sleep_until{never};  // the first timer of the P it has offered
  relaxed<std::uint32_t> searches{0};        // ended; for conservation_watch
  fiber_core g0;                             // the scheduler loop, on the thread's own stack
  fiber_core leaving;  // a dying fiber switches away from here: its G is in the pool

  // --- others
  std::atomic<bool> announced{false};       // inside weft::blocking
  std::atomic<int> detached{0};             // runs user code without a P: its share of rt's count
  std::atomic<std::uint32_t> wake_word{0};  // pool: 1 = next_p or stop is set
  processor* next_p = nullptr;              // set by whoever takes it out of the pool
  bool next_spinning = false;
  fiber_core* next_g = nullptr;            // likewise, for a pinned fiber
  std::atomic<std::uint32_t> pin_word{0};  // see lock_thread.cpp
  machine* pool_next = nullptr;            // under rt's machine lock
  machine* all_next = nullptr;

  // --- sysmon only
  stall_mark stall;
  std::int64_t stall_since = 0;
  bool stall_reported = false;
  std::uint32_t seen_done = 0;  // see conservation_watch

  pthread_t thread{};
  std::atomic<int> tid{0};
};

/// The calling thread's M, null on a plain thread. Never inlined: see park.hpp.
[[nodiscard]] WEFT_NOINLINE machine* this_machine() noexcept;

/// The same by a plain load, for functions of the library that are never inlined into others and
/// contain no switch: in one that does, the compiler may keep the variable's address over it.
extern constinit thread_local machine* tls_machine __attribute__((tls_model("initial-exec")));
[[nodiscard]] WEFT_INLINE machine* machine_here() noexcept { return tls_machine; }
void set_this_machine(machine* m) noexcept;

/// Slow half of rt_enter: the P was asked for, or is gone.
processor* rt_enter_slow(machine* m) noexcept;

/// Opens a runtime section. Returns the M's P, or null if it has none (any more): then only what is
/// not P-owned may be used.
WEFT_INLINE processor* rt_enter(machine* m) noexcept {
  processor* p = m->p;
  if (p == nullptr) [[unlikely]] {
    m->in_rt.store(1, std::memory_order_relaxed);
    return nullptr;
  }
  if (!handoff_enter<native_sync>(m->in_rt, p->owner, m->tag)) [[unlikely]]
    return rt_enter_slow(m);
  return p;
}

WEFT_INLINE void rt_exit(machine* m) noexcept { handoff_leave(m->in_rt); }

/// A section of the common kind: not inside another one, membarrier is there, m has its P, nobody
/// has asked for it, and nothing is randomised. Null if not so; then no section is open, and the
/// caller goes a longer way.
[[nodiscard]] WEFT_INLINE processor* rt_enter_quick(machine* m) noexcept {
  processor* p = m->p;
  if (p == nullptr || m->in_rt.load(std::memory_order_relaxed) != 0) [[unlikely]]
    return nullptr;
  if (handoff_enter<membarrier_sync>(m->in_rt, p->owner, m->quick_tag)) [[likely]]
    return p;
  rt_exit(m);
  return nullptr;
}

/// A runtime section that may lie inside another one (a timer's callback that readies a fiber).
class rt_section {
 public:
  explicit rt_section(machine* m) noexcept
      : m_(m), outer_(m->in_rt.load(std::memory_order_relaxed) != 0), p_(rt_enter(m)) {}
  ~rt_section() {
    if (!outer_) rt_exit(m_);
  }
  rt_section(const rt_section&) = delete;
  rt_section& operator=(const rt_section&) = delete;
  [[nodiscard]] processor* p() const noexcept { return p_; }

 private:
  machine* m_;
  bool outer_;
  processor* p_;
};

}  // namespace weft::inline v0::detail
