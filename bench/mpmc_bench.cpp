// SPDX-License-Identifier: Apache-2.0
// What does a message cost when four fibers send and four receive on one channel that holds 128?
// One operation is four messages, one of each sender.
#include <weft/weft.hpp>

#include "support.hpp"

namespace {

void mpmc(benchmark::State& state) {
  constexpr int sides = 4;
  bench::in_runtime(state.range(0), [&state] {
    const auto c = weft::make_chan<std::int64_t>(128);
    bench::measure(
        state,
        [&c](std::int64_t n) {
          weft::wait_group wg;
          for (int side = 0; side < sides; ++side) {
            wg.go([&c, n] {
              for (std::int64_t i = 0; i < n; ++i) c.send(i);
            });
            wg.go([&c, n] {
              for (std::int64_t i = 0; i < n; ++i) benchmark::DoNotOptimize(c.recv());
            });
          }
          wg.wait();
        },
        sides);
  });
}
WEFT_BENCH_1P_2P(mpmc);

}  // namespace
