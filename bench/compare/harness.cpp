// SPDX-License-Identifier: Apache-2.0
// The peers' frame, see harness.hpp. Runs on the main thread or, where the peer's entry does so, on
// its main fiber: nothing here may block or keep much on the stack.
#include "compare/harness.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace bench {

namespace {

memory start_memory;

/// The figure of a line such as `VmRSS:     1234 kB`, in bytes; 0 when the field is missing.
double status_field(const char* text, const char* field) {
  const char* at = std::strstr(text, field);
  return at == nullptr ? 0 : 1024.0 * std::strtod(at + std::strlen(field), nullptr);
}

}  // namespace

memory memory_now() {
  char text[4096];
  std::FILE* f = std::fopen("/proc/self/status", "re");
  if (f == nullptr) return {};
  const std::size_t got = std::fread(text, 1, sizeof text - 1, f);
  std::fclose(f);
  text[got] = '\0';
  return {.rss_bytes = status_field(text, "VmRSS:"),
          .page_table_bytes = status_field(text, "VmPTE:")};
}

memory memory_at_start() noexcept { return start_memory; }

double cpu_ns() noexcept {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return 1e9 * static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec);
}

void report(const job& j, double value, std::string_view unit) { report(j, {}, value, unit); }

void report(const job& j, std::string_view metric, double value, std::string_view unit) {
  std::string name(j.name);
  if (!metric.empty()) name.append(".").append(metric);
  std::printf("%s %.4g %s\n", name.c_str(), value, std::string(unit).c_str());
  std::fflush(stdout);
}

void expect(const job& j, bool right, std::string_view what) {
  if (right) return;
  std::fprintf(stderr, "%s: wrong answer: %s\n", std::string(j.name).c_str(),
               std::string(what).c_str());
  std::_Exit(3);
}

void report_lateness(const job& j, std::span<std::int32_t> late_us) {
  std::sort(late_us.begin(), late_us.end());
  const auto at = [&](double share) {
    const auto last = static_cast<double>(late_us.size() - 1);
    return late_us[static_cast<std::size_t>(share * last)] / 1000.0;
  };
  report(j, "late_p50", at(0.50), "ms");
  report(j, "late_p99", at(0.99), "ms");
  report(j, "late_max", at(1.00), "ms");
}

std::int64_t nth_prime(std::int64_t n) {
  std::vector<std::int64_t> primes;
  for (std::int64_t v = 2; static_cast<std::int64_t>(primes.size()) < n; ++v) {
    const auto divides = [v](std::int64_t p) { return v % p == 0; };
    if (std::none_of(primes.begin(), primes.end(), divides)) primes.push_back(v);
  }
  return primes.back();
}

std::int64_t fibonacci(std::int64_t n) noexcept {
  std::int64_t a = 0;
  std::int64_t b = 1;
  for (; n > 0; --n) {
    const std::int64_t next = a + b;
    a = b;
    b = next;
  }
  return a;
}

int run_peer(int argc, char** argv, std::span<const workload> workloads, entry enter) {
  if (argc == 2 && std::string_view(argv[1]) == "list") {
    for (const workload& w : workloads) std::printf("%s\n", std::string(w.name).c_str());
    return 0;
  }
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s <workload> <procs> <n>, or: %s list\n", argv[0], argv[0]);
    return 64;
  }
  start_memory = memory_now();
  job j{.name = argv[1], .procs = std::atoi(argv[2]), .n = std::strtoll(argv[3], nullptr, 10)};
  const auto found = std::find_if(workloads.begin(), workloads.end(),
                                  [&](const workload& w) { return w.name == j.name; });
  if (found == workloads.end() || j.procs <= 0 || j.n <= 0) {
    std::fprintf(stderr, "%s: no such workload, or procs or n is not positive\n", argv[1]);
    return 64;
  }
  enter(j.procs, [&] {
    for (j.round = 1; j.round <= 3; ++j.round) found->round(j);
  });
  return 0;
}

}  // namespace bench
