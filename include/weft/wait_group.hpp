// SPDX-License-Identifier: Apache-2.0
// Waits for a number of tasks. As Go's sync.WaitGroup, and it may be destroyed as soon as a wait
// has returned, though the last done() may still be on its way out.
//
// `state_` = 2 * counter + (somebody waits). done() touches nothing after its fetch_sub unless that
// brought the counter to 0 with the bit set; then it takes `guard_`, clears the bit, wakes all and
// gives the guard back, and a wait() returns only after having held the guard with the bit clear
// (or after having been woken): nobody is inside any more. A wait that gives up clears the bit if
// nobody else waits, unless the counter is 0 by then: that done() it still waits for.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>
#include <type_traits>
#include <utility>

#include <weft/detail/callable.hpp>
#include <weft/detail/park.hpp>
#include <weft/detail/spawn.hpp>
#include <weft/detail/waiter.hpp>
#include <weft/error.hpp>
#include <weft/mutex.hpp>

namespace weft::inline v0 {

class wait_group {
 public:
  wait_group() noexcept = default;
  wait_group(const wait_group&) = delete;
  wait_group& operator=(const wait_group&) = delete;

  /// Adds n (which may be negative) to the counter. A counter that would become negative throws
  /// logic_error and stays as it was.
  void add(std::int64_t n = 1) {
    // release: what was done before done() is seen after wait(); acquire: for the one who wakes.
    const std::int64_t before = state_.fetch_add(2 * n, std::memory_order_acq_rel);
    const std::int64_t after = before + 2 * n;
    if (after < 0) [[unlikely]]
      take_back(n);
    if (after == waited_for && n != 0) finished();
  }
  void done() { add(-1); }

  /// Waits until the counter is 0.
  WEFT_INLINE void wait() noexcept {
    alignas(detail::waiter) std::byte record[sizeof(detail::waiter)];
    const detail::switch_pair s = start_waiting(record);
    if (s.to != nullptr) detail::switch_to(s.from, s.to);
  }
  [[nodiscard]] result<void> wait(const context& ctx) { return wait_until(detail::node_of(ctx)); }

  /// add(1), and a fiber that runs fn and then calls done(). One that the end of its runtime has
  /// cut off never does: wait for groups that outlive a runtime before that, or take a task_group.
  template <detail::held_function F>
  WEFT_INLINE void go(F&& fn, std::source_location where = std::source_location::current()) {
    add(1);
    struct undo {
      wait_group* wg;
      ~undo() {
        if (wg != nullptr) wg->done();
      }
    } u{this};
    detail::fiber_core* g =
        detail::fiber_make(task<std::decay_t<F>>(this, std::forward<F>(*detail::launder_ptr(&fn))),
                           detail::site_of(where), nullptr);
    u.wg = nullptr;
    detail::fiber_start(g);
  }

 private:
  // fn is destroyed before done(): what it owned is gone when wait() returns.
  template <class F>
  struct task {
    wait_group* wg;  // null once it has run
    union {
      F fn;
    };
    template <class G>
    task(wait_group* group, G&& f) : wg(group), fn(std::forward<G>(f)) {}
    task(task&& o) noexcept(std::is_nothrow_move_constructible_v<F>)
        : wg(o.wg), fn(std::move(o.fn)) {}
    ~task() {
      if (wg != nullptr) fn.~F();
    }
    void operator()() {
      static_cast<void>(std::invoke(fn));
      fn.~F();
      std::exchange(wg, nullptr)->done();
    }
  };

  static constexpr std::int64_t waited_for = 1;  // counter 0, somebody waits

  [[noreturn]] WEFT_EXPORT void take_back(std::int64_t n);
  WEFT_EXPORT void finished() noexcept;
  /// Makes a waiter in `record` and parks, up to the switch. To null: the wait is over.
  [[nodiscard]] WEFT_EXPORT detail::switch_pair start_waiting(void* record) noexcept;
  WEFT_EXPORT result<void> wait_until(detail::cancel_node* node);
  [[nodiscard]] bool announce_wait() noexcept;
  [[nodiscard]] bool take_wait_back() noexcept;

  std::atomic<std::int64_t> state_{0};
  detail::waitable guard_;
  detail::wait_queue queue_;
};

}  // namespace weft::inline v0
