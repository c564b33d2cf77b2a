// SPDX-License-Identifier: Apache-2.0
// What does a get and put cost, alone and on all Ps, and what does a request's worth of memory from
// an arena? (Go: BenchmarkPool of sync.Pool, `go test -bench Pool sync`.)
#include <memory_resource>
#include <vector>
#include <weft/weft.hpp>

#include "support.hpp"

namespace {

void pool_get_put(benchmark::State& state) {
  bench::measure_in_runtime(state, [](std::int64_t n) {
    weft::pool<std::int64_t> p;
    for (std::int64_t i = 0; i < n; ++i) {
      auto h = p.get();
      benchmark::DoNotOptimize(++*h);
    }
  });
}
WEFT_BENCH_1P(pool_get_put);

/// One operation is a get and put by each of eight fibers.
void pool_get_put_among_eight(benchmark::State& state) {
  constexpr int fibers = 8;
  bench::measure_in_runtime(
      state,
      [](std::int64_t n) {
        weft::pool<std::int64_t> p;
        weft::wait_group wg;
        for (int f = 0; f < fibers; ++f) {
          wg.go([&p, n] {
            for (std::int64_t i = 0; i < n; ++i) {
              auto h = p.get();
              benchmark::DoNotOptimize(++*h);
            }
          });
        }
        wg.wait();
      },
      fibers);
}
WEFT_BENCH_1P_2P(pool_get_put_among_eight);

/// One operation is an arena of a pool, 32 allocations of 64 bytes, and its reset.
void arena_request(benchmark::State& state) {
  bench::measure_in_runtime(state, [](std::int64_t n) {
    weft::pool<weft::arena> arenas({.reset = [](weft::arena& a) { a.reset(); }});
    for (std::int64_t i = 0; i < n; ++i) {
      auto a = arenas.get();
      for (int k = 0; k < 32; ++k) benchmark::DoNotOptimize(a->allocate(64, 8));
    }
  });
}
WEFT_BENCH_1P(arena_request);

/// One operation is a task through a worker_pool, and its result.
void worker_pool_async(benchmark::State& state) {
  bench::measure_in_runtime(state, [](std::int64_t n) {
    weft::worker_pool p({.min_workers = 1, .max_workers = 2});
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      auto f = p.async([i] { return i; });
      if (f) sum += f->get();
    }
    benchmark::DoNotOptimize(sum);
  });
}
WEFT_BENCH_1P_2P(worker_pool_async);

}  // namespace
