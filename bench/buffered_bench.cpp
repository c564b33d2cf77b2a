// SPDX-License-Identifier: Apache-2.0
// What does a message cost from one fiber to another over a channel that holds 128?
#include <weft/weft.hpp>

#include "support.hpp"

namespace {

void buffered(benchmark::State& state) {
  bench::in_runtime(state.range(0), [&state] {
    const auto c = weft::make_chan<std::int64_t>(128);
    bench::measure(state, [&c](std::int64_t n) {
      weft::go([c, n] {
        for (std::int64_t i = 0; i < n; ++i) c.send(i);
      });
      std::int64_t sum = 0;
      for (std::int64_t i = 0; i < n; ++i) sum += c.recv().value();
      benchmark::DoNotOptimize(sum);
    });
  });
}
WEFT_BENCH_1P_2P(buffered);

}  // namespace
