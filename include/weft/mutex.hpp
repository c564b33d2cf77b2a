// SPDX-License-Identifier: Apache-2.0
// A mutex that suspends the fiber, not the thread. TimedLockable: std::lock_guard, unique_lock and
// scoped_lock work with it.
//
// A free mutex goes to whoever asks first (barging: the running fiber is the cheapest owner),
// waiters are woken in order, one at a time. A waiter that has lost for more than 1 ms turns the
// mutex to hand-off: unlock then gives it to the first waiter directly, until the queue is
// short-lived again.
//
// `state_` holds the bits below. Only `locked` may change without `guard_` (the queue's lock), by
// the CAS of the fast paths; all other bits change with it held.
#pragma once

#include <atomic>
#include <chrono>

#include <weft/clock.hpp>
#include <weft/detail/cancel_node.hpp>
#include <weft/detail/waiter.hpp>
#include <weft/error.hpp>

namespace weft::inline v0 {

class context;

namespace detail {
[[nodiscard]] WEFT_EXPORT cancel_node* node_of(const context& ctx) noexcept;
}  // namespace detail

class mutex {
 public:
  mutex() noexcept = default;
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;

  /// Waits until the mutex is ours. Not recursive.
  void lock() {
    if (!try_lock()) [[unlikely]]
      lock_slow();
  }
  [[nodiscard]] bool try_lock() noexcept {
    std::uint32_t expected = 0;
    // acquire: pairs with the release of unlock().
    if (state_.compare_exchange_strong(expected, locked, std::memory_order_acquire,
                                       std::memory_order_relaxed)) [[likely]] {
      return true;
    }
    return (expected & locked) == 0 && barge();
  }
  /// Gives it back, from the same fiber or another. Fatal if it is not locked.
  void unlock() noexcept {
    std::uint32_t expected = locked;
    if (!state_.compare_exchange_strong(expected, 0, std::memory_order_release,
                                        std::memory_order_relaxed)) [[unlikely]] {
      unlock_slow();
    }
  }

  /// Waits until it is ours or the context is done.
  [[nodiscard]] result<void> lock(const context& ctx) {
    return lock_until(detail::node_of(ctx), detail::never);
  }
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(std::chrono::duration<Rep, Period> d) {
    return try_lock() || lock_until(nullptr, detail::deadline_in(d)).has_value();
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(std::chrono::time_point<Clock, Duration> at) {
    return try_lock() || lock_until(nullptr, detail::deadline_at(at)).has_value();
  }

 private:
  static constexpr std::uint32_t locked = 1;
  static constexpr std::uint32_t waiting = 2;  // the queue is not empty, perhaps
  static constexpr std::uint32_t waking = 4;   // a woken waiter has not yet tried again
  static constexpr std::uint32_t handing_over =
      8;  // stays locked; unlock gives it to the first waiter

  WEFT_EXPORT void lock_slow();
  WEFT_EXPORT result<void> lock_until(detail::cancel_node* node, std::int64_t deadline);
  WEFT_EXPORT bool barge() noexcept;
  WEFT_EXPORT void unlock_slow() noexcept;
  [[nodiscard]] bool acquire(detail::wake_extras& extras) noexcept;
  [[nodiscard]] bool take_or_enqueue(detail::waiter& w, bool again, std::int64_t since) noexcept;
  void give_up(detail::waiter& w) noexcept;
  void clear_if_empty() noexcept;

  std::atomic<std::uint32_t> state_{0};
  detail::waitable guard_;
  detail::wait_queue queue_;
};

}  // namespace weft::inline v0
