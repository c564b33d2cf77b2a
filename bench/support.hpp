// SPDX-License-Identifier: Apache-2.0
// The frame of the Google Benchmark programs: a runtime around the work, a warm round before it,
// and allocs/op beside the time. support.cpp holds main(), which prints machine and WEFT_PROCS.
//
// Law: `work(n)` does n operations and leaves nothing behind; it is called on the main fiber. The
// warm round fills pools and stacks, so that what is counted is the steady state.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <functional>

namespace bench {

/// Calls `inside` as the main fiber of a runtime with `procs` workers (WEFT_PROCS overrides).
void in_runtime(std::int64_t procs, const std::function<void()>& inside);

/// Lets Google Benchmark choose n, runs work(n) once warm and once measured, on the calling fiber.
/// `items` is how many items one operation stands for; the rate is printed as items_per_second.
void measure(benchmark::State& state, const std::function<void(std::int64_t)>& work,
             std::int64_t items = 1);

/// in_runtime with the benchmark's first argument as procs, and measure in it.
void measure_in_runtime(benchmark::State& state, const std::function<void(std::int64_t)>& work,
                        std::int64_t items = 1);

/// Real memory of the process, page tables counted, and its mappings.
struct footprint {
  double rss_bytes = 0;
  double page_table_bytes = 0;
  double mappings = 0;
};
[[nodiscard]] footprint footprint_now();

}  // namespace bench

/// Registers a benchmark whose first argument is procs: on one worker and on two.
#define WEFT_BENCH_1P_2P(function) \
  BENCHMARK(function)->ArgName("procs")->Arg(1)->Arg(2)->UseRealTime()->MeasureProcessCPUTime()
/// The same for a question that a second worker does not change.
#define WEFT_BENCH_1P(function) \
  BENCHMARK(function)->ArgName("procs")->Arg(1)->UseRealTime()->MeasureProcessCPUTime()
