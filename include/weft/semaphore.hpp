// SPDX-License-Identifier: Apache-2.0
// A weighted semaphore. Strictly first come, first served: a large request at the front holds later
// ones back, so it does not starve. All fields are guarded by `guard_`.
#pragma once

#include <chrono>
#include <cstddef>

#include <weft/clock.hpp>
#include <weft/detail/waiter.hpp>
#include <weft/error.hpp>
#include <weft/mutex.hpp>

namespace weft::inline v0 {

class semaphore {
 public:
  /// `size` units, all free.
  explicit semaphore(std::size_t size) noexcept : size_(size), free_(size) {}
  semaphore(const semaphore&) = delete;
  semaphore& operator=(const semaphore&) = delete;

  /// Takes n units, waiting for them. More than the whole size: throws logic_error.
  WEFT_EXPORT void acquire(std::size_t n = 1);
  /// The same, or until the context is done. More than the whole size: waits for the context
  /// without holding up others.
  [[nodiscard]] result<void> acquire(const context& ctx, std::size_t n = 1) {
    return acquire_until(n, detail::node_of(ctx), detail::never);
  }
  template <class Rep, class Period>
  [[nodiscard]] bool try_acquire_for(std::chrono::duration<Rep, Period> d, std::size_t n = 1) {
    return acquire_until(n, nullptr, detail::deadline_in(d)).has_value();
  }
  /// Takes them if they are free and nobody waits.
  [[nodiscard]] WEFT_EXPORT bool try_acquire(std::size_t n = 1) noexcept;

  /// Gives n units back. Throws logic_error for more than were taken.
  WEFT_EXPORT void release(std::size_t n = 1);

  /// Units not taken now.
  [[nodiscard]] WEFT_EXPORT std::size_t available() const noexcept;

 private:
  WEFT_EXPORT result<void> acquire_until(std::size_t n, detail::cancel_node* node,
                                         std::int64_t deadline);
  template <class List>
  void grant(List& woken) noexcept;

  mutable detail::waitable guard_;
  const std::size_t size_;
  std::size_t free_;
  detail::wait_queue queue_;  // waiter::slot holds the number of units
};

}  // namespace weft::inline v0
