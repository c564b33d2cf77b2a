// SPDX-License-Identifier: Apache-2.0
// What does a switch between two ready fibers cost? One operation is one yield there and one back.
#include <weft/weft.hpp>

#include "support.hpp"

namespace {

void yield(benchmark::State& state) {
  bench::measure_in_runtime(
      state,
      [](std::int64_t n) {
        weft::wait_group wg;
        for (int fiber = 0; fiber < 2; ++fiber) {
          wg.go([n] {
            for (std::int64_t i = 0; i < n; ++i) weft::yield();
          });
        }
        wg.wait();
      },
      2);
}
WEFT_BENCH_1P(yield);

}  // namespace
