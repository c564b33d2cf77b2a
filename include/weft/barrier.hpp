// SPDX-License-Identifier: Apache-2.0
// A meeting point for a fixed number of participants, again and again. As std::barrier, for fibers
// and threads: the last one to arrive runs the completion and lets the others go.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <weft/detail/waiter.hpp>
#include <weft/error.hpp>
#include <weft/mutex.hpp>

namespace weft::inline v0 {
namespace detail {

/// The untyped part of barrier.
class barrier_core {
 public:
  WEFT_EXPORT explicit barrier_core(std::ptrdiff_t expected);

 protected:
  /// Arrives. True: the phase is complete, the caller runs the completion and calls release().
  [[nodiscard]] WEFT_EXPORT bool arrive(bool leave_for_good) noexcept;
  WEFT_EXPORT void release() noexcept;
  /// Arrives and waits unless it completes the phase (then true, as arrive).
  [[nodiscard]] WEFT_EXPORT bool arrive_or_wait() noexcept;
  /// The same with a context; on failure the arrival is taken back.
  [[nodiscard]] WEFT_EXPORT result<bool> arrive_or_wait(cancel_node* node) noexcept;

 private:
  [[nodiscard]] bool arrive_locked() noexcept;

  waitable guard_;
  std::ptrdiff_t expected_;  // all guarded by guard_
  std::ptrdiff_t missing_;
  std::uint64_t phase_ = 0;
  wait_queue queue_;
};

struct no_completion {
  void operator()() const noexcept {}
};

}  // namespace detail

template <class Completion = detail::no_completion>
  requires std::is_nothrow_invocable_v<Completion&>
class barrier : detail::barrier_core {
 public:
  /// Throws logic_error if `expected` is not positive.
  explicit barrier(std::ptrdiff_t expected, Completion completion = {})
      : barrier_core(expected), completion_(std::move(completion)) {}
  barrier(const barrier&) = delete;
  barrier& operator=(const barrier&) = delete;

  /// Arrives and waits for the others.
  void arrive_and_wait() {
    if (arrive_or_wait()) complete();
  }
  /// The same; if ctx ends the wait, this participant has not arrived.
  [[nodiscard]] result<void> arrive_and_wait(const context& ctx) {
    const result<bool> last = arrive_or_wait(detail::node_of(ctx));
    if (!last) return failure(last.error());
    if (*last) complete();
    return {};
  }
  /// Arrives and takes no part in later phases.
  void arrive_and_drop() {
    if (arrive(true)) complete();
  }

 private:
  void complete() noexcept {
    completion_();
    release();
  }

  [[no_unique_address]] Completion completion_;
};

}  // namespace weft::inline v0
