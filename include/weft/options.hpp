// SPDX-License-Identifier: Apache-2.0
// How a runtime and a fiber are configured.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string_view>

#include <weft/detail/config.hpp>

namespace weft::inline v0 {

/// Options of a runtime. The environment overrides: WEFT_PROCS, WEFT_DEBUG.
struct options {
  /// Ps, i.e. fibers that run at the same time; 0 = the cores that affinity and cgroup quota allow.
  int procs = 0;
  /// Virtual size of a fiber's stack in bytes, rounded up to 16 K, 64 K, 256 K or 1 M (16 KiB of it
  /// are guard, 4 KiB in the smallest class; on aarch64 a guard of 64 KiB is added); 0 = 64 KiB,
  /// 256 KiB under sanitizers and at -O0.
  /// What is needed: WEFT_DEBUG=stacks=1 (stack_use.hpp).
  std::size_t stack_size = 0;
  /// How long other fibers may go on after the main fiber has returned.
  std::chrono::nanoseconds drain{0};
  /// How long to wait for fibers that are in user code or a blocking call at the end; then the
  /// process ends with code 2. Zero: for ever (a stall report is logged after one second).
  std::chrono::nanoseconds stop_wait{0};
  /// At most this many OS threads.
  int max_threads = 10'000;
  /// Run on each worker thread as it starts and before it ends.
  std::function<void()> on_worker_start{};
  std::function<void()> on_worker_stop{};
};

/// Options of one fiber.
struct fiber_options {
  /// Shown in dumps; the characters must outlive the fiber (a literal).
  std::string_view name{};
  /// As options::stack_size; 0 = the runtime's.
  std::size_t stack_size = 0;
};

}  // namespace weft::inline v0
