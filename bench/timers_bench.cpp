// SPDX-License-Identifier: Apache-2.0
// What do timers cost: one that is made and stopped, one that is reset, and a fiber that sleeps?
#include <chrono>
#include <weft/weft.hpp>

#include "support.hpp"

namespace {

using namespace std::chrono_literals;

void after_func_stop(benchmark::State& state) {
  bench::measure_in_runtime(state, [](std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
      auto t = weft::after_func(1h, [] {});
      benchmark::DoNotOptimize(t.stop());
    }
  });
}
WEFT_BENCH_1P(after_func_stop);

/// A deadline that moves with every request, as a connection has it.
void timer_reset(benchmark::State& state) {
  bench::in_runtime(state.range(0), [&state] {
    weft::timer t(1h);
    bench::measure(state, [&t](std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) benchmark::DoNotOptimize(t.reset(1h));
    });
    (void)t.stop();
  });
}
WEFT_BENCH_1P(timer_reset);

/// A thousand fibers sleep 0 to 10 ms at once; the figure to read is CPU, the wall only waits.
void sleepers(benchmark::State& state) {
  constexpr std::int64_t fibers = 1000;
  bench::measure_in_runtime(
      state,
      [](std::int64_t n) {
        for (std::int64_t round = 0; round < n; ++round) {
          weft::wait_group wg;
          for (std::int64_t i = 0; i < fibers; ++i) {
            wg.go([i] { weft::sleep_for(std::chrono::microseconds(i * 7919 % 10'000)); });
          }
          wg.wait();
        }
      },
      fibers);
}
WEFT_BENCH_1P_2P(sleepers);

}  // namespace
