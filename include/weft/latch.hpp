// SPDX-License-Identifier: Apache-2.0
// A counter that goes down once and whoever waits for zero. As std::latch, for fibers and threads.
// It may be destroyed as soon as a wait has returned.
#pragma once

#include <cstddef>

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

  /// Throws logic_error if that would make it negative.
  WEFT_EXPORT void count_down(std::ptrdiff_t n = 1);
  [[nodiscard]] WEFT_EXPORT bool try_wait() const noexcept;
  void wait() const { static_cast<void>(wait_until(nullptr)); }
  [[nodiscard]] result<void> wait(const context& ctx) const {
    return wait_until(detail::node_of(ctx));
  }
  void arrive_and_wait(std::ptrdiff_t n = 1) {
    count_down(n);
    wait();
  }

 private:
  WEFT_EXPORT result<void> wait_until(detail::cancel_node* node) const;

  mutable detail::waitable guard_;
  std::ptrdiff_t count_;  // guarded by guard_, as is the queue
  mutable detail::wait_queue queue_;
};

}  // namespace weft::inline v0
