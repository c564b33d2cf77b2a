// SPDX-License-Identifier: Apache-2.0
// The clock: CLOCK_MONOTONIC in nanoseconds, saturating arithmetic on it.
#include <time.h>

#include <weft/detail/timer_node.hpp>

namespace weft::inline v0::detail {

std::int64_t now_ns() noexcept {
  timespec ts{};
  ::clock_gettime(CLOCK_MONOTONIC, &ts);
  return ts.tv_sec * 1'000'000'000 + ts.tv_nsec;
}

std::int64_t deadline_after(std::int64_t d_ns) noexcept {
  const std::int64_t now = now_ns();
  if (d_ns <= 0) return now;
  return d_ns > never - now ? never : now + d_ns;
}

}  // namespace weft::inline v0::detail
