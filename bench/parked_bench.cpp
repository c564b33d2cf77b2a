// SPDX-License-Identifier: Apache-2.0
// What does a fiber cost that waits: bytes of real memory each, page tables counted, and mappings
// in all? The argument is how many fibers are parked on one channel.
#include <atomic>
#include <weft/weft.hpp>

#include "alloc_count.hpp"
#include "support.hpp"

namespace {

struct parked_cost {
  bench::footprint added;
  std::uint64_t allocations = 0;
};

/// Parks that many, looks, wakes them all.
parked_cost park(std::int64_t fibers) {
  const auto gate = weft::make_chan<weft::unit>();
  std::atomic<std::int64_t> arrived{0};
  weft::wait_group wg;
  const bench::footprint before = bench::footprint_now();
  const bench::alloc_counts allocs = bench::alloc_counts_now();
  for (std::int64_t i = 0; i < fibers; ++i) {
    wg.go([&] {
      arrived.fetch_add(1);
      benchmark::DoNotOptimize(gate.recv());
    });
  }
  while (arrived.load() != fibers) weft::yield();
  parked_cost cost;
  cost.allocations = bench::alloc_counts_now().allocations() - allocs.allocations();
  const bench::footprint now = bench::footprint_now();
  cost.added = {.rss_bytes = now.rss_bytes - before.rss_bytes,
                .page_table_bytes = now.page_table_bytes - before.page_table_bytes,
                .mappings = now.mappings};
  gate.close();
  wg.wait();
  return cost;
}

void parked(benchmark::State& state) {
  const std::int64_t fibers = state.range(0);
  parked_cost cost;
  for (auto _ : state) {
    bench::in_runtime(2, [&] { cost = park(fibers); });
  }
  const auto n = static_cast<double>(fibers);
  state.counters["RSS_B/fiber"] = cost.added.rss_bytes / n;
  state.counters["PTE_B/fiber"] = cost.added.page_table_bytes / n;
  state.counters["mappings"] = cost.added.mappings;
  state.counters["allocs/op"] = static_cast<double>(cost.allocations) / n;
  state.SetItemsProcessed(fibers);
}
BENCHMARK(parked)->ArgName("fibers")->Arg(10'000)->Arg(100'000)->Iterations(1)->UseRealTime()->Unit(
    benchmark::kMillisecond);

}  // namespace
