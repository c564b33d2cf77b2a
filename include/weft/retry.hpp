// SPDX-License-Identifier: Apache-2.0
// Trying again what may work the next time, with growing, random pauses in between.
//
// The pauses are "exponential backoff with full jitter" (Brooker, "Exponential Backoff And Jitter",
// AWS Architecture Blog, 2015): the n-th one is uniform in [0, min(max_delay, initial * multiplier
// ^ (n-1))]. Without the randomness all who failed together come back together.
//
//   auto r = weft::retry(ctx, {.max_attempts = 4, .timeout = 2s}, [&] { return fetch(url); });
//
// The function may return result<T>, std::error_code, or anything else and fail by throwing. What
// comes back is what the last attempt gave: its value, its error, or its exception. There is never
// a pause that cannot be followed by an attempt: neither after the last one, nor one that would
// end after the deadline (of the options or of the context); the last result then comes at once.
//
// One thing is retried in one place of a stack of calls, or the load on what fails multiplies.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <source_location>
#include <system_error>
#include <type_traits>
#include <utility>

#include <weft/clock.hpp>
#include <weft/context.hpp>
#include <weft/detail/callable.hpp>
#include <weft/detail/config.hpp>
#include <weft/detail/outcome.hpp>
#include <weft/detail/runtime_hooks.hpp>
#include <weft/error.hpp>

namespace weft::inline v0 {

/// What retry_options::on_retry is told, before the pause.
struct retry_event {
  std::size_t attempt = 0;           ///< that has just failed, from 1
  std::error_code error;             ///< what it returned, or that of a std::system_error
  std::exception_ptr exception;      ///< what it threw; null if it returned
  std::chrono::nanoseconds delay{};  ///< the pause that follows
};

struct retry_options {
  std::size_t max_attempts = 4;  ///< the first one included; 0: no limit
  std::chrono::nanoseconds initial =
      std::chrono::milliseconds(100);                             ///< ceiling of the first pause
  std::chrono::nanoseconds max_delay = std::chrono::seconds(10);  ///< ceiling of all pauses
  double multiplier = 2;                  ///< of the ceiling, after each pause; at least 1
  double jitter = 1;                      ///< the random share of a pause: 1 full, 0 none
  std::chrono::nanoseconds timeout = {};  ///< for all attempts and pauses together; 0: none
  /// Which errors are worth another attempt. Default: all but `operation_canceled`.
  std::function<bool(std::error_code)> retryable{};
  /// Which exceptions are. Default: std::system_error by its code, std::logic_error never, others.
  std::function<bool(const std::exception_ptr&)> retryable_exception{};
  /// Called in the retrying fiber before each pause; for logs and metrics.
  std::function<void(const retry_event&)> on_retry{};
};

/// The pauses alone, for loops that are not a single call (accept, reconnect). Of the options it
/// takes initial, max_delay, multiplier and jitter. Not for several fibers at once.
class backoff {
 public:
  /// Throws logic_error for a negative duration, a multiplier below 1, a jitter outside [0, 1].
  WEFT_EXPORT explicit backoff(const retry_options& o);
  /// (Not explicit: an aggregate makes its members from {}.)
  backoff() : backoff(retry_options{}) {}

  /// The next pause; raises the ceiling.
  [[nodiscard]] WEFT_EXPORT std::chrono::nanoseconds next() noexcept;
  /// The most that next() would return.
  [[nodiscard]] std::chrono::nanoseconds ceiling() const noexcept {
    return std::chrono::nanoseconds(ceiling_ns_);
  }
  /// Back to the first pause: after a success.
  void reset() noexcept { ceiling_ns_ = first_ns_; }

 private:
  std::int64_t first_ns_;
  std::int64_t max_ns_;
  std::int64_t ceiling_ns_;
  double multiplier_;
  double jitter_;
};

namespace detail {

/// Counts, decides and waits between the attempts of one retry().
class retry_loop {
 public:
  WEFT_EXPORT retry_loop(const retry_options& o, cancel_node* node, std::int64_t deadline);

  /// An attempt has failed. True: make another one, the pause is over.
  [[nodiscard]] WEFT_EXPORT bool again(std::error_code e);
  [[nodiscard]] WEFT_EXPORT bool again(const std::exception_ptr& x);
  /// The earlier of the context's deadline and that of the options.
  [[nodiscard]] std::int64_t deadline() const noexcept { return deadline_; }

 private:
  [[nodiscard]] bool pause(std::error_code e, const std::exception_ptr& x);

  const retry_options& options_;
  cancel_node* const node_;
  std::int64_t deadline_;
  backoff backoff_;
  std::size_t attempt_ = 1;  // the one under way
};

/// What comes back from a function that returns R: an outcome always by value, as each attempt's is
/// kept in our frame until it is judged.
template <class R>
using retried = std::conditional_t<outcome_of<R>::tells, std::remove_cvref_t<R>, R>;

/// Attempts until the loop has enough; the last one's result or exception. What the user's
/// predicates throw goes straight out.
template <class Call>
retried<std::invoke_result_t<Call&>> retry_run(retry_loop& loop, Call& call) {
  using R = std::invoke_result_t<Call&>;
  for (;;) {
    std::exception_ptr thrown;
    if constexpr (outcome_of<R>::tells) {
      std::optional<std::remove_cvref_t<R>> got;
      try {
        got.emplace(call());
      } catch (...) {
        thrown = std::current_exception();
      }
      if (got && (!outcome_of<R>::failed(*got) || !loop.again(outcome_of<R>::error(*got)))) {
        return *std::move(got);
      }
    } else {
      try {
        return call();
      } catch (...) {
        thrown = std::current_exception();
      }
    }
    if (thrown && !loop.again(thrown)) std::rethrow_exception(thrown);
  }
}

/// The same as a result<>.
template <class Call>
outcome_of<std::invoke_result_t<Call&>>::type retry_result(retry_loop& loop, Call call) {
  using R = std::invoke_result_t<Call&>;
  if constexpr (std::is_void_v<R>) {
    retry_run(loop, call);
    return {};
  } else if constexpr (outcome_of<R>::tells) {
    return outcome_of<R>::as_result(retry_run(loop, call));
  } else {
    return retry_run(loop, call);
  }
}

/// The types are told by the call itself, as the closure may be an lvalue.
template <class F>
[[nodiscard]] WEFT_INLINE auto retry_in(const context& ctx, const retry_options& o, F* fn,
                                        const std::source_location& where) {
  retry_loop loop(o, node_of(ctx), deadline_of(ctx));
  if constexpr (std::invocable<F&, const context&>) {
    using type = outcome_of<std::invoke_result_t<F&, const context&>>::type;
    if (const std::error_code e = ctx.err()) return type(failure(e));
    if (loop.deadline() == deadline_of(ctx)) {
      return type(
          retry_result(loop, [fn, &ctx]() -> decltype(auto) { return std::invoke(*fn, ctx); }));
    }
    if (current_root_slot() == nullptr) return type(failure(errc::no_runtime));  // for its timer
    const scoped_context all(ctx, time_point(clock::duration(loop.deadline())), where);
    const context* inside = launder_ptr(static_cast<const context*>(&all));
    return type(
        retry_result(loop, [fn, inside]() -> decltype(auto) { return std::invoke(*fn, *inside); }));
  } else {
    using type = outcome_of<std::invoke_result_t<F&>>::type;
    if (const std::error_code e = ctx.err()) return type(failure(e));
    return type(retry_result(loop, [fn]() -> decltype(auto) { return std::invoke(*fn); }));
  }
}

}  // namespace detail

/// Calls fn until it succeeds, fails for good, or enough is enough. Returns what the last call
/// returned, or rethrows what it threw. Throws logic_error for senseless options. From fibers and
/// plain threads.
template <detail::borrowed_function F>
  requires(!std::is_void_v<std::invoke_result_t<F&>>)
[[nodiscard]] WEFT_INLINE detail::retried<std::invoke_result_t<F&>> retry(const retry_options& o,
                                                                          F&& fn) {
  auto* f = detail::launder_ptr(&fn);
  detail::retry_loop loop(o, nullptr, detail::never);
  const auto call = [f]() -> decltype(auto) { return std::invoke(*f); };
  return detail::retry_run(loop, call);
}
template <detail::borrowed_function F>
  requires std::is_void_v<std::invoke_result_t<F&>>
WEFT_INLINE void retry(const retry_options& o, F&& fn) {
  auto* f = detail::launder_ptr(&fn);
  detail::retry_loop loop(o, nullptr, detail::never);
  const auto call = [f] { std::invoke(*f); };
  detail::retry_run(loop, call);
}

/// The same, at most until ctx is done, as a result<> (std::error_code and void: result<void>). No
/// attempt begins once it is; a pause ends at once, and the last result comes back. The context's
/// own error comes only where there was no attempt. fn takes nothing or a context, which also ends
/// with options.timeout (then errc::no_runtime on a plain thread without any runtime).
template <class F>
  requires detail::borrowed_function<F> || detail::borrowed_function<F, const context&>
[[nodiscard]] WEFT_INLINE auto retry(const context& ctx, const retry_options& o, F&& fn,
                                     std::source_location where = std::source_location::current()) {
  return detail::retry_in(ctx, o, detail::launder_ptr(&fn), where);
}

}  // namespace weft::inline v0
