// SPDX-License-Identifier: Apache-2.0
// What does lock and unlock cost, alone and among eight fibers?
#include <mutex>
#include <weft/weft.hpp>

#include "support.hpp"

namespace {

void mutex_alone(benchmark::State& state) {
  bench::measure_in_runtime(state, [](std::int64_t n) {
    weft::mutex mu;
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const std::lock_guard lock(mu);
      benchmark::DoNotOptimize(++count);
    }
  });
}
WEFT_BENCH_1P(mutex_alone);

/// One operation is a lock and unlock by each of eight fibers.
void mutex_contended(benchmark::State& state) {
  constexpr int fibers = 8;
  bench::measure_in_runtime(
      state,
      [](std::int64_t n) {
        weft::mutex mu;
        std::int64_t count = 0;
        weft::wait_group wg;
        for (int f = 0; f < fibers; ++f) {
          wg.go([&mu, &count, n] {
            for (std::int64_t i = 0; i < n; ++i) {
              const std::lock_guard lock(mu);
              ++count;
            }
          });
        }
        wg.wait();
        benchmark::DoNotOptimize(count);
      },
      fibers);
}
WEFT_BENCH_1P_2P(mutex_contended);

}  // namespace
