// SPDX-License-Identifier: Apache-2.0
// A counter that goes down once and whoever waits for zero. As std::latch, for fibers and threads.
// It may be destroyed as soon as a wait has returned.
#pragma once

#include <cstddef>
#include <limits>

#include <weft/detail/waiter.hpp>
#include <weft/error.hpp>
#include <weft/mutex.hpp>

namespace weft::inline v0 {

class latch {
 public:
  /// Throws logic_error if negative.
  WEFT_EXPORT explicit latch(std::ptrdiff_t count);
  latch(const latch&) = delete;
  latch& operator=(const latch&) = delete;

  /// The largest count.
  [[nodiscard]] static constexpr std::ptrdiff_t max() noexcept {
    return std::numeric_limits<std::ptrdiff_t>::max();
  }

  /// Throws logic_error if that would make it negative.
  WEFT_EXPORT void count_down(std::ptrdiff_t n = 1);
  [[nodiscard]] WEFT_EXPORT bool try_wait() const noexcept;
  void wait() const { static_cast<void>(wait_until(nullptr)); }
  [[nodiscard]] result<void> wait(const context& ctx) const {
    return wait_until(detail::node_of(ctx));
  }
  /// count_down(n) and wait() in one: the latch may go as soon as any of those who wait is let go.
  void arrive_and_wait(std::ptrdiff_t n = 1) { static_cast<void>(arrive_until(n, nullptr)); }
  /// The same; if ctx ends the wait, this one has not arrived: what it counted is taken back.
  [[nodiscard]] result<void> arrive_and_wait(const context& ctx, std::ptrdiff_t n = 1) {
    return arrive_until(n, detail::node_of(ctx));
  }

 private:
  WEFT_EXPORT result<void> arrive_until(std::ptrdiff_t n, detail::cancel_node* node);
  WEFT_EXPORT result<void> wait_until(detail::cancel_node* node) const;

  mutable detail::waitable guard_;
  std::ptrdiff_t count_;  // guarded by guard_, as is the queue
  mutable detail::wait_queue queue_;
};

}  // namespace weft::inline v0
