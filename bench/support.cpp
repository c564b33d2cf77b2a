// SPDX-License-Identifier: Apache-2.0
// main() of every Google Benchmark program and the frame around the work, see support.hpp.
#include "support.hpp"

#include <sched.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <weft/weft.hpp>

#include "alloc_count.hpp"

namespace bench {

namespace {

/// The text behind the colon of the first line that starts so.
std::string field_of(const char* path, const char* name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (!line.starts_with(name) || colon == std::string::npos) continue;
    const std::size_t first = line.find_first_not_of(" \t", colon + 1);
    return first == std::string::npos ? std::string() : line.substr(first);
  }
  return {};
}

void describe_machine() {
  utsname system{};
  uname(&system);
  cpu_set_t cores;
  sched_getaffinity(0, sizeof cores, &cores);
  const char* procs = std::getenv("WEFT_PROCS");
  benchmark::AddCustomContext("cpu", field_of("/proc/cpuinfo", "model name"));
  benchmark::AddCustomContext("cores allowed", std::to_string(CPU_COUNT(&cores)));
  benchmark::AddCustomContext("kernel", system.release);
  benchmark::AddCustomContext("compiler", __VERSION__);
  benchmark::AddCustomContext("WEFT_PROCS", procs == nullptr ? "not set: as in the name" : procs);
}

}  // namespace

void in_runtime(std::int64_t procs, const std::function<void()>& inside) {
  const int rc =
      weft::run(weft::options{.procs = static_cast<int>(procs)}, [&inside] { inside(); });
  if (rc != 0) throw std::runtime_error("weft::run did not return 0");
}

void measure(benchmark::State& state, const std::function<void(std::int64_t)>& work,
             std::int64_t items) {
  const std::int64_t n = state.max_iterations;
  work(std::min<std::int64_t>(n, 1000));
  const alloc_counts before = alloc_counts_now();
  while (state.KeepRunningBatch(n)) work(n);
  const std::uint64_t made = alloc_counts_now().allocations() - before.allocations();
  state.counters["allocs/op"] = static_cast<double>(made) / static_cast<double>(n);
  state.SetItemsProcessed(n * items);
}

void measure_in_runtime(benchmark::State& state, const std::function<void(std::int64_t)>& work,
                        std::int64_t items) {
  in_runtime(state.range(0), [&] { measure(state, work, items); });
}

footprint footprint_now() {
  const auto bytes = [](const char* name) {
    return 1024.0 * std::strtod(field_of("/proc/self/status", name).c_str(), nullptr);
  };
  std::ifstream maps("/proc/self/maps");
  const auto lines = std::count(std::istreambuf_iterator<char>(maps), {}, '\n');
  return {.rss_bytes = bytes("VmRSS"),
          .page_table_bytes = bytes("VmPTE"),
          .mappings = static_cast<double>(lines)};
}

}  // namespace bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 64;
  bench::describe_machine();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
