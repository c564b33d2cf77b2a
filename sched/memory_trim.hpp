// SPDX-License-Identifier: Apache-2.0
// Giving memory back after a burst, for sysmon, in slices that do not keep it from its other work:
// idle stacks and fibers that nobody has wanted for a period (stack_pool.hpp, fiber_pool.hpp), and
// what parked fibers have below their stack pointers. The Ps give theirs to the pools when they
// have slept for a period (idle.cpp). The period is trim_period_ns().
#pragma once

#include <cstdint>

#include "sched/parked_stacks.hpp"

namespace weft::inline v0::detail {

class memory_trim {
 public:
  explicit memory_trim(const runtime_state* rt) noexcept : parked_(rt) {}

  /// A slice, if one is due. True: there is more to do, and soon.
  [[nodiscard]] bool look(std::int64_t now) noexcept;

  /// When there will be something to do, if nothing happens until then; `never`: nothing.
  [[nodiscard]] std::int64_t due() const noexcept;

 private:
  parked_stacks parked_;
  bool more_ = false;
};

}  // namespace weft::inline v0::detail
