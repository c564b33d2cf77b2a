// SPDX-License-Identifier: Apache-2.0
// A meeting point for a fixed number of participants, again and again. As std::barrier, for fibers
// and threads: the last one to arrive runs the completion and lets the others go.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
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

  /// Says in which phase somebody arrived. Can only be moved, as std's.
  class arrival_token {
   public:
    arrival_token(arrival_token&&) noexcept = default;
    arrival_token& operator=(arrival_token&&) noexcept = default;
    ~arrival_token() = default;

   private:
    friend class barrier_core;
    explicit arrival_token(std::uint64_t phase) noexcept : phase_(phase) {}
    std::uint64_t phase_;
  };

 protected:
  struct arrived {
    arrival_token token;
    bool last;  // the phase is complete: the caller runs the completion and calls release()
  };
  /// Arrives n times. Throws logic_error for less than one or more than are missing.
  [[nodiscard]] WEFT_EXPORT arrived arrive_times(std::ptrdiff_t n);
  /// Arrives for the last time. True: as arrived::last.
  [[nodiscard]] WEFT_EXPORT bool arrive_and_leave() noexcept;
  WEFT_EXPORT void release() noexcept;
  /// Arrives and waits unless it completes the phase (then true, as arrived::last).
  [[nodiscard]] WEFT_EXPORT bool arrive_or_wait() noexcept;
  /// The same with a context; on failure the arrival is taken back.
  [[nodiscard]] WEFT_EXPORT result<bool> arrive_or_wait(cancel_node* node) noexcept;
  /// Waits until the token's phase is complete.
  [[nodiscard]] WEFT_EXPORT result<void> wait_phase(const arrival_token& token,
                                                    cancel_node* node) const noexcept;

 private:
  [[nodiscard]] bool arrive_locked(std::ptrdiff_t n) noexcept;

  mutable waitable guard_;
  std::ptrdiff_t expected_;  // all guarded by guard_
  std::ptrdiff_t missing_;
  std::uint64_t phase_ = 0;
  mutable wait_queue queue_;
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

  /// What arrive() gives: for wait().
  using detail::barrier_core::arrival_token;

  /// The most participants there can be.
  [[nodiscard]] static constexpr std::ptrdiff_t max() noexcept {
    return std::numeric_limits<std::ptrdiff_t>::max();
  }

  /// Arrives, n times, without waiting: wait() with the token does that later. Throws logic_error
  /// for less than one or more than the phase still misses.
  [[nodiscard]] arrival_token arrive(std::ptrdiff_t n = 1) {
    arrived a = arrive_times(n);
    if (a.last) complete();
    return std::move(a.token);
  }
  /// Waits until the phase of the token is complete; not at all if it is.
  void wait(arrival_token&& token) const {
    [[maybe_unused]] const result<void> always = wait_phase(token, nullptr);
  }
  /// The same, at most until ctx is done: then its error. The arrival stands, and the token is good
  /// for another wait.
  [[nodiscard]] result<void> wait(const context& ctx, const arrival_token& token) const {
    return wait_phase(token, detail::node_of(ctx));
  }
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
    if (arrive_and_leave()) complete();
  }

 private:
  void complete() noexcept {
    completion_();
    release();
  }

  [[no_unique_address]] Completion completion_;
};

}  // namespace weft::inline v0
