// SPDX-License-Identifier: Apache-2.0
// A condition variable for std::unique_lock<weft::mutex>. Waiters are woken in the order in which
// they came; a waiter that comes later cannot take an earlier one's signal. It may be destroyed as
// soon as everybody has been notified.
#pragma once

#include <chrono>
#include <concepts>
#include <condition_variable>  // std::cv_status
#include <mutex>
#include <system_error>

#include <weft/clock.hpp>
#include <weft/detail/cancel_node.hpp>
#include <weft/detail/waiter.hpp>
#include <weft/error.hpp>
#include <weft/mutex.hpp>

namespace weft::inline v0 {

class condition_variable {
 public:
  condition_variable() noexcept = default;
  condition_variable(const condition_variable&) = delete;
  condition_variable& operator=(const condition_variable&) = delete;

  WEFT_EXPORT void notify_one() noexcept;
  WEFT_EXPORT void notify_all() noexcept;

  /// Gives the lock back, waits for a notification, locks again.
  void wait(std::unique_lock<mutex>& lock) {
    static_cast<void>(wait_until_ns(lock, nullptr, detail::never));
  }
  template <std::predicate P>
  void wait(std::unique_lock<mutex>& lock, P ready) {
    while (!ready()) wait(lock);
  }

  /// The same, or until the context is done; the lock is held again in any case. A context that is
  /// done already is an error whatever `ready` would say; one that ends while what was waited for
  /// comes is not.
  [[nodiscard]] result<void> wait(const context& ctx, std::unique_lock<mutex>& lock) {
    return wait_until_ns(lock, detail::node_of(ctx), detail::never);
  }
  template <std::predicate P>
  [[nodiscard]] result<void> wait(const context& ctx, std::unique_lock<mutex>& lock, P ready) {
    if (const std::error_code e = detail::end_of(detail::node_of(ctx))) return failure(e);
    while (!ready()) {
      if (result<void> r = wait(ctx, lock); !r) {
        if (ready()) break;
        return r;
      }
    }
    return {};
  }

  template <class Rep, class Period>
  [[nodiscard]] std::cv_status wait_for(std::unique_lock<mutex>& lock,
                                        std::chrono::duration<Rep, Period> d) {
    return status(wait_until_ns(lock, nullptr, detail::deadline_in(d)));
  }
  template <class Clock, class Duration>
  [[nodiscard]] std::cv_status wait_until(std::unique_lock<mutex>& lock,
                                          std::chrono::time_point<Clock, Duration> at) {
    return status(wait_until_ns(lock, nullptr, detail::deadline_at(at)));
  }
  template <class Rep, class Period, std::predicate P>
  [[nodiscard]] bool wait_for(std::unique_lock<mutex>& lock, std::chrono::duration<Rep, Period> d,
                              P ready) {
    return wait_predicate(lock, detail::deadline_in(d), ready);
  }
  template <class Clock, class Duration, std::predicate P>
  [[nodiscard]] bool wait_until(std::unique_lock<mutex>& lock,
                                std::chrono::time_point<Clock, Duration> at, P ready) {
    return wait_predicate(lock, detail::deadline_at(at), ready);
  }

 private:
  WEFT_EXPORT result<void> wait_until_ns(std::unique_lock<mutex>& lock, detail::cancel_node* node,
                                         std::int64_t deadline);
  template <class P>
  bool wait_predicate(std::unique_lock<mutex>& lock, std::int64_t deadline, P& ready) {
    while (!ready()) {
      if (!wait_until_ns(lock, nullptr, deadline)) return ready();
    }
    return true;
  }
  static std::cv_status status(const result<void>& r) noexcept {
    return r ? std::cv_status::no_timeout : std::cv_status::timeout;
  }

  detail::waitable guard_;
  detail::wait_queue queue_;
};

}  // namespace weft::inline v0
