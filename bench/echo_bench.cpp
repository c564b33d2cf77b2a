// SPDX-License-Identifier: Apache-2.0
// What does an echo of 64 bytes over loopback cost, with 64 connections and with one? The client is
// in this process, on a thread that weft::blocking gives it: its CPU is in the CPU column, and the
// comparison with other servers is compare.py's, which keeps the two apart.
#include <weft/weft.hpp>

#include "echo/load.hpp"
#include "echo/weft_server.hpp"
#include "support.hpp"

namespace {

void echo(benchmark::State& state) {
  const auto connections = static_cast<int>(state.range(1));
  bench::in_runtime(state.range(0), [&] {
    auto listener = weft::net::listen("tcp4", "127.0.0.1:0");
    if (!listener) return state.SkipWithError("cannot listen");
    weft::wait_group wg;
    wg.go([&] { bench::serve_echo(*listener); });
    weft::blocking([&] {
      bench::echo_load load(listener->addr().port(), connections, 64, 0);
      bench::measure(state, [&load](std::int64_t n) { load.run(n); });
    });
    listener->close();
    wg.wait();
  });
}
BENCHMARK(echo)
    ->ArgNames({"procs", "connections"})
    ->Args({1, 64})
    ->Args({1, 1})
    ->UseRealTime()
    ->MeasureProcessCPUTime();

}  // namespace
