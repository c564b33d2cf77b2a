// SPDX-License-Identifier: Apache-2.0
// What does a round trip over two rendezvous channels cost?
#include <weft/weft.hpp>

#include "support.hpp"

namespace {

void ping_pong(benchmark::State& state) {
  bench::in_runtime(state.range(0), [&state] {
    const auto there = weft::make_chan<std::int64_t>();
    const auto back = weft::make_chan<std::int64_t>();
    weft::wait_group wg;
    wg.go([there, back] {
      while (const auto v = there.recv()) back.send(*v);
    });
    bench::measure(state, [&](std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) {
        there.send(i);
        benchmark::DoNotOptimize(back.recv());
      }
    });
    there.close();
    wg.wait();
  });
}
WEFT_BENCH_1P_2P(ping_pong);

}  // namespace
