// SPDX-License-Identifier: Apache-2.0
// Sleeping, timers and tickers. Semantics of Go 1.23: after stop() or reset() no value from before
// is ever received. Times are of weft::clock.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <new>
#include <source_location>
#include <type_traits>
#include <utility>

#include <weft/chan.hpp>
#include <weft/clock.hpp>
#include <weft/context.hpp>
#include <weft/detail/callable.hpp>
#include <weft/detail/timer_node.hpp>

namespace weft::inline v0 {
namespace detail {

struct timed_channel;

/// A sleeper: only the timer wakes it, so nothing is claimed.
struct sleep_node : timer_node {
  fiber_core* g = nullptr;
};
/// True: `s` is armed, park_wait(s->g), then timer_stop(s). False: the time has passed already.
[[nodiscard]] WEFT_EXPORT bool sleep_start(sleep_node* s, std::int64_t until) noexcept;
[[nodiscard]] WEFT_EXPORT result<void> sleep_until_ctx(cancel_node* node, std::int64_t until);

WEFT_INLINE void sleep_until_ns(std::int64_t until) noexcept {
  sleep_node s;
  if (sleep_start(launder_ptr(&s), until)) {
    park_wait(s.g);
    static_cast<void>(timer_stop(launder_ptr(&s)));  // its callback is over after this
  }
}

[[nodiscard]] WEFT_EXPORT timed_channel* timed_make(std::int64_t when, std::int64_t period,
                                                    const void* site);
WEFT_EXPORT void timed_release(timed_channel* t) noexcept;
WEFT_EXPORT bool timed_stop(timed_channel* t) noexcept;
WEFT_EXPORT bool timed_reset(timed_channel* t, std::int64_t when, std::int64_t period);
[[nodiscard]] WEFT_EXPORT chan_core* timed_core(timed_channel* t) noexcept;
[[noreturn]] WEFT_EXPORT void throw_bad_period();

}  // namespace detail

/// Suspends the caller for at least `d`; returns at once if d <= 0.
template <class Rep, class Period>
WEFT_INLINE void sleep_for(std::chrono::duration<Rep, Period> d) {
  const std::int64_t ns = detail::to_ns(d);
  if (ns <= 0) {
    detail::checkpoint();
  } else {
    detail::sleep_until_ns(detail::deadline_after(ns));
  }
}

/// Suspends the caller until `at`.
template <class Duration>
WEFT_INLINE void sleep_until(std::chrono::time_point<clock, Duration> at) {
  detail::sleep_until_ns(detail::deadline_at(at));
}
/// The same for other clocks, which may be set meanwhile: looks again after waking.
template <class Clock, class Duration>
void sleep_until(std::chrono::time_point<Clock, Duration> at) {
  for (auto now = Clock::now(); now < at; now = Clock::now()) sleep_for(at - now);
}

/// The same, or until the context is done: then its error.
template <class Rep, class Period>
[[nodiscard]] result<void> sleep_for(const context& ctx, std::chrono::duration<Rep, Period> d) {
  return detail::sleep_until_ctx(detail::node_of(ctx), detail::deadline_in(d));
}
template <class Clock, class Duration>
[[nodiscard]] result<void> sleep_until(const context& ctx,
                                       std::chrono::time_point<Clock, Duration> at) {
  return detail::sleep_until_ctx(detail::node_of(ctx), detail::deadline_at(at));
}

/// Delivers the time once, on its channel, `d` after it was made. Dropping it stops it. Throws
/// no_runtime_error where nothing would ever fire it. One that was moved from is stopped for good
/// and has a nil channel.
class timer {
 public:
  template <class Rep, class Period>
  explicit timer(std::chrono::duration<Rep, Period> d,
                 std::source_location where = std::source_location::current())
      : timed_(detail::timed_make(detail::deadline_in(d), 0, detail::site_of(where))) {}
  timer(timer&& o) noexcept : timed_(std::exchange(o.timed_, nullptr)) {}
  timer& operator=(timer&& o) noexcept {
    timer old(std::move(o));
    std::swap(timed_, old.timed_);
    return *this;
  }
  ~timer() {
    if (timed_ != nullptr) detail::timed_release(timed_);
  }

  [[nodiscard]] recv_chan<time_point> channel() const noexcept {
    if (timed_ == nullptr) return {};
    return detail::channel_access::share<recv_chan<time_point>>(detail::timed_core(timed_),
                                                                detail::one_recv_end);
  }
  /// Was it armed? (A value that had fired but was not received yet is taken back: also true.)
  [[nodiscard]] bool stop() const noexcept {
    return timed_ != nullptr && detail::timed_stop(timed_);
  }
  /// Arms it anew, `d` from now; returns what stop() would have.
  template <class Rep, class Period>
  [[nodiscard]] bool reset(std::chrono::duration<Rep, Period> d) const {
    return timed_ != nullptr && detail::timed_reset(timed_, detail::deadline_in(d), 0);
  }

 private:
  detail::timed_channel* timed_;
};

/// Delivers the time every `d`, without drift; a slow receiver loses ticks. Dropping it stops it.
/// One that was moved from is stopped for good and has a nil channel.
/// Throws logic_error for a period that is not positive.
class ticker {
 public:
  template <class Rep, class Period>
  explicit ticker(std::chrono::duration<Rep, Period> d,
                  std::source_location where = std::source_location::current()) {
    const std::int64_t period = checked(d);
    timed_ = detail::timed_make(detail::deadline_after(period), period, detail::site_of(where));
  }
  ticker(ticker&& o) noexcept : timed_(std::exchange(o.timed_, nullptr)) {}
  ticker& operator=(ticker&& o) noexcept {
    ticker old(std::move(o));
    std::swap(timed_, old.timed_);
    return *this;
  }
  ~ticker() {
    if (timed_ != nullptr) detail::timed_release(timed_);
  }

  [[nodiscard]] recv_chan<time_point> channel() const noexcept {
    if (timed_ == nullptr) return {};
    return detail::channel_access::share<recv_chan<time_point>>(detail::timed_core(timed_),
                                                                detail::one_recv_end);
  }
  /// No more ticks, also none that is waiting to be received. The channel is not closed.
  void stop() const noexcept {
    if (timed_ != nullptr) static_cast<void>(detail::timed_stop(timed_));
  }
  /// Ticks every `d` from now on.
  template <class Rep, class Period>
  void reset(std::chrono::duration<Rep, Period> d) const {
    const std::int64_t period = checked(d);
    if (timed_ == nullptr) return;
    static_cast<void>(detail::timed_reset(timed_, detail::deadline_after(period), period));
  }

 private:
  template <class Rep, class Period>
  static std::int64_t checked(std::chrono::duration<Rep, Period> d) {
    const std::int64_t period = detail::to_ns(d);
    if (period <= 0) detail::throw_bad_period();
    return period;
  }

  detail::timed_channel* timed_ = nullptr;
};

namespace detail {
[[nodiscard]] WEFT_EXPORT recv_chan<time_point> after_ns(std::int64_t d, const void* site);

/// A timer that starts a fiber, with the closure behind it (sync/timer_func.cpp).
struct timer_func : self_held_timer {
  std::atomic<std::uint32_t> refs{1};
  std::atomic<std::uint32_t> state{0};
  const void* site = nullptr;
  void (*run)(timer_func*) = nullptr;
  void (*destroy)(timer_func*) noexcept = nullptr;
};
template <class F>
struct timer_closure : timer_func {
  template <class G>
  explicit timer_closure(G&& g) : fn(std::forward<G>(g)) {}
  F fn;
};
[[nodiscard]] WEFT_EXPORT void* timer_func_alloc(std::size_t size, std::size_t align);
WEFT_EXPORT void timer_func_free(void* p, std::size_t size, std::size_t align) noexcept;
[[nodiscard]] WEFT_EXPORT after_func_handle timer_func_start(timer_func* t, std::int64_t when,
                                                             const void* site);
}  // namespace detail

/// A channel that delivers the time once, after `d`. Dropping the channel stops the timer.
template <class Rep, class Period>
[[nodiscard]] recv_chan<time_point> after(
    std::chrono::duration<Rep, Period> d,
    std::source_location where = std::source_location::current()) {
  return detail::after_ns(detail::to_ns(d), detail::site_of(where));
}

/// Runs `fn` in a fiber of its own after `d`. Dropping the handle stops it; detach() lets it run.
/// Where its runtime ends before that, it is not run, but destroyed, by the thread that ends the
/// runtime or with the handle.
template <class Rep, class Period, detail::held_function F>
[[nodiscard]] after_func_handle after_func(
    std::chrono::duration<Rep, Period> d, F&& fn,
    std::source_location where = std::source_location::current()) {
  using namespace detail;
  using closure = timer_closure<std::decay_t<F>>;
  void* block = timer_func_alloc(sizeof(closure), alignof(closure));
  closure* t;
  try {
    t = ::new (block) closure(std::forward<F>(fn));
  } catch (...) {
    timer_func_free(block, sizeof(closure), alignof(closure));
    throw;
  }
  t->run = [](timer_func* self) { static_cast<void>(static_cast<closure*>(self)->fn()); };
  t->destroy = [](timer_func* self) noexcept {
    static_cast<closure*>(self)->~closure();
    timer_func_free(self, sizeof(closure), alignof(closure));
  };
  return timer_func_start(t, deadline_in(d), site_of(where));
}

}  // namespace weft::inline v0
