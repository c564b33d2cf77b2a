// SPDX-License-Identifier: Apache-2.0
#include "sched/memory_trim.hpp"

#include <algorithm>
#include <atomic>

#include <weft/detail/timer_node.hpp>
#include "runtime/fiber_pool.hpp"
#include "runtime/stack_pool.hpp"

namespace weft::inline v0::detail {
namespace {

// The pools are of the process, so its runtimes share the clock.
std::atomic<std::int64_t> period_end{0};

bool ends_period(std::int64_t now) noexcept {
  std::int64_t end = period_end.load(std::memory_order_relaxed);
  return now >= end &&
         period_end.compare_exchange_strong(end, now + trim_period_ns(), std::memory_order_relaxed);
}

}  // namespace

void memory_trim::look(std::int64_t now) noexcept {
  if (trim_period_ns() == never) return;
  if (const bool over = ends_period(now); over || more_) {
    more_ = stack_pool_trim(over);
    more_ |= fiber_pool_trim(over);
  }
  parked_.look(now);
}

std::int64_t memory_trim::due() const noexcept {
  if (trim_period_ns() == never) return never;
  if (more_) return 0;
  const bool later = stack_pool_can_shrink() || fiber_pool_can_shrink();
  return std::min(parked_.due(), later ? period_end.load(std::memory_order_relaxed) : never);
}

}  // namespace weft::inline v0::detail
