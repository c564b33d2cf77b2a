// SPDX-License-Identifier: Apache-2.0
// What does it cost to start a fiber and to wait for it, a thousand at a time, and a task of a
// fork-join tree?
#include <algorithm>
#include <weft/weft.hpp>

#include "support.hpp"

namespace {

void spawn_join(benchmark::State& state) {
  bench::measure_in_runtime(state, [](std::int64_t n) {
    constexpr std::int64_t batch = 1000;
    for (std::int64_t left = n; left > 0; left -= batch) {
      weft::wait_group wg;
      for (std::int64_t i = std::min(left, batch); i > 0; --i) wg.go([] {});
      wg.wait();
    }
  });
}
WEFT_BENCH_1P_2P(spawn_join);

/// One fiber at a time: start, wait, again.
void spawn_one(benchmark::State& state) {
  bench::measure_in_runtime(state, [](std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
      weft::wait_group wg;
      wg.go([] {});
      wg.wait();
    }
  });
}
WEFT_BENCH_1P_2P(spawn_one);

std::int64_t fib(std::int64_t n) {
  if (n < 2) return n;
  std::int64_t left = 0;
  weft::wait_group wg;
  wg.go([&left, n] { left = fib(n - 1); });
  const std::int64_t right = fib(n - 2);
  wg.wait();
  return left + right;
}

/// One operation is fib(20): 10,945 tasks.
void fork_join(benchmark::State& state) {
  bench::measure_in_runtime(
      state,
      [](std::int64_t n) {
        for (std::int64_t i = 0; i < n; ++i) benchmark::DoNotOptimize(fib(20));
      },
      10'945);
}
WEFT_BENCH_1P_2P(fork_join);

}  // namespace
