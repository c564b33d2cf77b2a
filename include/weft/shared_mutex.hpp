// SPDX-License-Identifier: Apache-2.0
// A readers-writer mutex for fibers and threads. SharedTimedLockable.
//
// Strictly first come, first served: whoever finds a queue joins it, so neither a stream of readers
// nor of writers starves the other side; readers next to each other in the queue enter together.
// Ownership is handed over by the one who leaves. All fields are guarded by `guard_`.
#pragma once

#include <chrono>
#include <cstdint>

#include <weft/clock.hpp>
#include <weft/detail/waiter.hpp>
#include <weft/error.hpp>
#include <weft/mutex.hpp>

namespace weft::inline v0 {

class shared_mutex {
 public:
  shared_mutex() noexcept = default;
  shared_mutex(const shared_mutex&) = delete;
  shared_mutex& operator=(const shared_mutex&) = delete;

  void lock() { static_cast<void>(lock_until(writer, nullptr, detail::never)); }
  [[nodiscard]] bool try_lock() noexcept { return try_enter(writer); }
  /// Fatal if it is not locked.
  WEFT_EXPORT void unlock() noexcept;

  void lock_shared() { static_cast<void>(lock_until(reader, nullptr, detail::never)); }
  [[nodiscard]] bool try_lock_shared() noexcept { return try_enter(reader); }
  /// Fatal if no reader is inside.
  WEFT_EXPORT void unlock_shared() noexcept;

  [[nodiscard]] result<void> lock(const context& ctx) {
    return lock_until(writer, detail::node_of(ctx), detail::never);
  }
  [[nodiscard]] result<void> lock_shared(const context& ctx) {
    return lock_until(reader, detail::node_of(ctx), detail::never);
  }
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(std::chrono::duration<Rep, Period> d) {
    return lock_until(writer, nullptr, detail::deadline_in(d)).has_value();
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(std::chrono::time_point<Clock, Duration> at) {
    return lock_until(writer, nullptr, detail::deadline_at(at)).has_value();
  }
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_shared_for(std::chrono::duration<Rep, Period> d) {
    return lock_until(reader, nullptr, detail::deadline_in(d)).has_value();
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_shared_until(std::chrono::time_point<Clock, Duration> at) {
    return lock_until(reader, nullptr, detail::deadline_at(at)).has_value();
  }

 private:
  enum role : std::uint32_t { reader, writer };

  WEFT_EXPORT result<void> lock_until(role r, detail::cancel_node* node, std::int64_t deadline);
  WEFT_EXPORT bool try_enter(role r) noexcept;
  [[nodiscard]] bool enter_now(role r) noexcept;
  [[nodiscard]] bool has_room(role r) const noexcept;
  void take_room(role r) noexcept;
  template <class List>
  void admit(List& woken) noexcept;

  detail::waitable guard_;
  std::uint32_t readers_ = 0;
  bool written_ = false;
  detail::wait_queue queue_;  // waiter::index holds the role
};

}  // namespace weft::inline v0
