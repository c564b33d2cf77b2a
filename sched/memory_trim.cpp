// SPDX-License-Identifier: Apache-2.0
#include "sched/memory_trim.hpp"

#include <algorithm>
#include <atomic>

#include <weft/detail/timer_node.hpp>
#include "runtime/fiber_pool.hpp"
#include "runtime/stack_pool.hpp"

namespace weft::inline v0::detail {
namespace {

// Short beside the 10 ms after which sysmon has to take a P from a hog; long beside its own pauses,
// or a million stacks would take half a minute to go.
constexpr std::int64_t slice_ns = 500'000;

// The pools are of the process, so its runtimes share the clock.
std::atomic<std::int64_t> period_end{0};

bool ends_period(std::int64_t now) noexcept {
  std::int64_t end = period_end.load(std::memory_order_relaxed);
  return now >= end &&
         period_end.compare_exchange_strong(end, now + trim_period_ns(), std::memory_order_relaxed);
}

}  // namespace

bool memory_trim::look(std::int64_t now) noexcept {
  if (trim_period_ns() == never) return false;
  bool over = ends_period(now);
  if (over || more_) {
    do {
      more_ = stack_pool_trim(over);
      more_ |= fiber_pool_trim(over);
      over = false;
    } while (more_ && now_ns() < now + slice_ns);
  }
  parked_.look(now);
  return more_;
}

std::int64_t memory_trim::due() const noexcept {
  if (trim_period_ns() == never) return never;
  if (more_) return 0;
  const bool later = stack_pool_can_shrink() || fiber_pool_can_shrink();
  return std::min(parked_.due(), later ? period_end.load(std::memory_order_relaxed) : never);
}

}  // namespace weft::inline v0::detail
