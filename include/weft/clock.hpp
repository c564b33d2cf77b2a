// SPDX-License-Identifier: Apache-2.0
// weft's clock, and how durations of any type become the int64 nanoseconds of the core.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include <weft/detail/config.hpp>
#include <weft/detail/timer_node.hpp>

namespace weft::inline v0 {

/// CLOCK_MONOTONIC as a std Clock; its epoch is that of std::chrono::steady_clock on Linux.
struct clock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<clock>;
  static constexpr bool is_steady = true;

  [[nodiscard]] static time_point now() noexcept { return time_point(duration(detail::now_ns())); }
};

/// A moment of weft::clock.
using time_point = clock::time_point;

namespace detail {

/// `d` in nanoseconds, rounded up (a sleep is never short), saturating at both ends; NaN is 0.
template <class Rep, class Period>
[[nodiscard]] constexpr std::int64_t to_ns(std::chrono::duration<Rep, Period> d) noexcept {
  constexpr std::int64_t highest = std::numeric_limits<std::int64_t>::max();
  constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
  using ratio = std::ratio_divide<Period, std::nano>;
  if constexpr (std::is_integral_v<Rep> && ratio::den == 1) {
    std::int64_t ticks = 0;
    std::int64_t ns = 0;
    if (__builtin_add_overflow(d.count(), 0, &ticks) ||
        __builtin_mul_overflow(ticks, static_cast<std::int64_t>(ratio::num), &ns)) {
      return d.count() < 0 ? lowest : highest;
    }
    return ns;
  } else {
    const auto ns = std::chrono::duration<long double, std::nano>(d).count();
    if (ns != ns) return 0;
    if (ns >= static_cast<long double>(highest)) return highest;
    if (ns <= static_cast<long double>(lowest)) return lowest;
    const auto whole = static_cast<std::int64_t>(ns);
    return static_cast<long double>(whole) < ns ? whole + 1 : whole;
  }
}

/// The moment `d` from now, as the core counts it; `never` if it is beyond the end of time.
template <class Rep, class Period>
[[nodiscard]] inline std::int64_t deadline_in(std::chrono::duration<Rep, Period> d) noexcept {
  return deadline_after(to_ns(d));
}

template <class Duration>
[[nodiscard]] inline std::int64_t deadline_at(
    std::chrono::time_point<clock, Duration> at) noexcept {
  return to_ns(at.time_since_epoch());
}

/// The same for a moment of another clock, by the difference between the two now.
template <class Clock, class Duration>
[[nodiscard]] inline std::int64_t deadline_at(
    std::chrono::time_point<Clock, Duration> at) noexcept {
  return deadline_in(at - Clock::now());
}

}  // namespace detail
}  // namespace weft::inline v0
