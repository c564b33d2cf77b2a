// SPDX-License-Identifier: Apache-2.0
// Does the memory of a burst of fibers go back while the runtime goes on, how much stays, and how
// long does it take? Once for fibers that are all parked at a time, once for fibers that are all
// started before the first one runs. The first argument is how many. The bar: what stays is at most
// a twentieth of the peak. (Memory: resident, with page tables.)
#include <atomic>
#include <chrono>
#include <weft/weft.hpp>

#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

double memory_now() {
  const bench::footprint now = bench::footprint_now();
  return now.rss_bytes + now.page_table_bytes;
}

// The peak.
double park(std::int64_t fibers) {
  const auto gate = weft::make_chan<weft::unit>();
  std::atomic<std::int64_t> arrived{0};
  weft::wait_group wg;
  for (std::int64_t i = 0; i < fibers; ++i) {
    wg.go([&] {
      arrived.fetch_add(1);
      benchmark::DoNotOptimize(gate.recv());
    });
  }
  while (arrived.load() != fibers) weft::yield();
  const double peak = memory_now();
  gate.close();
  wg.wait();
  return peak;
}

double start(std::int64_t fibers) {
  weft::wait_group wg;
  for (std::int64_t i = 0; i < fibers; ++i) {
    wg.go([&wg] { benchmark::DoNotOptimize(&wg); });
  }
  const double peak = memory_now();
  wg.wait();
  return peak;
}

void burst(benchmark::State& state, double (*work)(std::int64_t fibers)) {
  constexpr double mib = 1 << 20;
  for (auto _ : state) {
    bench::in_runtime(2, [&] {
      static_cast<void>(work(1000));  // threads and pools
      const double before = memory_now();
      const double peak = work(state.range(0));
      const auto over = steady::now();
      double after = memory_now();
      double seconds = -1;
      while (steady::now() - over < 40s) {
        weft::sleep_for(100ms);
        after = memory_now();
        if (seconds < 0 && after <= before + peak / 20) {
          seconds = std::chrono::duration<double>(steady::now() - over).count();
        }
      }
      state.counters["before_MiB"] = before / mib;
      state.counters["peak_MiB"] = peak / mib;
      state.counters["after_MiB"] = after / mib;
      state.counters["stays_%"] = (after - before) / peak * 100;
      state.counters["back_s"] = seconds;
    });
  }
}

BENCHMARK_CAPTURE(burst, parked, &park)
    ->ArgName("fibers")
    ->Arg(100'000)
    ->Arg(1'000'000)
    ->Iterations(1)
    ->UseRealTime()
    ->Unit(benchmark::kSecond);
BENCHMARK_CAPTURE(burst, started, &start)
    ->ArgName("fibers")
    ->Arg(1'000'000)
    ->Iterations(1)
    ->UseRealTime()
    ->Unit(benchmark::kSecond);

}  // namespace
