// SPDX-License-Identifier: Apache-2.0
// The frame of every C++ peer program of the comparison: `peer <workload> <procs> <n>` enters the
// peer's runtime once, does the work three times and prints one line `name[.metric] value unit` for
// every figure of every round. The third round counts (caches and pools are warm then, as in a
// server), the first is kept to show what a cold start costs.
//
// Law: a round checks its own answer and ends the process with code 3 when it is wrong; nothing in
// here knows any peer; the text format is shared with go/main.go and read by compare.py.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

namespace bench {

/// One call of the work: what compare.py asked for, and which of the three rounds this is.
struct job {
  std::string_view name;
  int procs = 1;
  std::int64_t n = 0;
  int round = 1;
  [[nodiscard]] bool last() const noexcept { return round == 3; }
};

struct workload {
  std::string_view name;
  void (*round)(const job&);
};

/// Starts the peer's runtime on `procs` workers, calls the function inside, and stops it.
using entry = void (*)(int procs, const std::function<void()>& inside);

/// Parses the command line, finds the workload, runs it three times. The value is the exit code.
[[nodiscard]] int run_peer(int argc, char** argv, std::span<const workload> workloads, entry enter);

void report(const job& j, double value, std::string_view unit);
void report(const job& j, std::string_view metric, double value, std::string_view unit);

/// Ends the process with code 3 unless the answer is right.
void expect(const job& j, bool right, std::string_view what);

class stopwatch {
 public:
  [[nodiscard]] double ns() const noexcept {
    return std::chrono::duration<double, std::nano>(clock::now() - start_).count();
  }
  [[nodiscard]] double ns_per(std::int64_t ops) const noexcept {
    return ns() / static_cast<double>(ops);
  }

 private:
  using clock = std::chrono::steady_clock;
  clock::time_point start_ = clock::now();
};

/// CPU time of the whole process so far.
[[nodiscard]] double cpu_ns() noexcept;

/// What the process holds of real memory: resident pages and the page tables that map them. Page
/// tables are counted because a runtime with sparse stacks pays there what RSS does not show.
struct memory {
  double rss_bytes = 0;
  double page_table_bytes = 0;
  [[nodiscard]] double total() const noexcept { return rss_bytes + page_table_bytes; }
};
[[nodiscard]] memory memory_now();
/// The same, taken before the runtime started.
[[nodiscard]] memory memory_at_start() noexcept;

/// Reports p50, p99 and max in ms of lateness given in microseconds; reorders the samples.
void report_lateness(const job& j, std::span<std::int32_t> late_us);

/// How long sleeper `i` sleeps: 0 to 1,000 ms, evenly spread, the same in every peer.
[[nodiscard]] inline std::chrono::microseconds nap(std::int64_t i) noexcept {
  const auto mixed = static_cast<std::uint64_t>(i) * 0x9E37'79B9'7F4A'7C15u;
  return std::chrono::microseconds((mixed >> 33) % 1'000'000);
}

[[nodiscard]] std::int64_t nth_prime(std::int64_t n);
[[nodiscard]] std::int64_t fibonacci(std::int64_t n) noexcept;
/// Calls of fib that start a task: all with an argument of 2 or more.
[[nodiscard]] inline std::int64_t fib_forks(std::int64_t n) noexcept {
  return fibonacci(n + 1) - 1;
}
/// 0 + 1 + ... + (n - 1)
[[nodiscard]] constexpr std::int64_t sum_below(std::int64_t n) noexcept { return n * (n - 1) / 2; }

}  // namespace bench
