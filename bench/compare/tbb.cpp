// SPDX-License-Identifier: Apache-2.0
// The oneTBB peer: tasks without stacks, so only the workloads that start work and wait for it.
#include <tbb/global_control.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

#include <array>
#include <utility>
#include <vector>

#include "compare/harness.hpp"

namespace {

using bench::job;
using bench::stopwatch;

void enter(int procs, const std::function<void()>& inside) {
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism,
                                  static_cast<std::size_t>(procs));
  tbb::task_arena arena(procs);
  arena.execute(inside);
}

void spawn_join(const job& j) {
  constexpr std::int64_t batch = 1000;
  std::array<std::int64_t, batch> slots{};
  std::int64_t sum = 0;
  const stopwatch time;
  for (std::int64_t done = 0; done < j.n; done += batch) {
    tbb::task_group tasks;
    for (std::size_t i = 0; i < batch; ++i) {
      tasks.run([&slots, i] { slots[i] = static_cast<std::int64_t>(i); });
    }
    tasks.wait();
    for (std::int64_t& s : slots) sum += std::exchange(s, 0);
  }
  bench::report(j, time.ns_per(j.n), "ns/fiber");
  bench::expect(j, sum == j.n / batch * bench::sum_below(batch), "sum of the slots");
}

void spawn_outstanding(const job& j) {
  std::vector<std::uint8_t> seen(static_cast<std::size_t>(j.n));
  const stopwatch time;
  tbb::task_group tasks;
  for (std::uint8_t& mine : seen) tasks.run([&mine] { mine = 1; });
  const double peak = bench::memory_now().total() - bench::memory_at_start().total();
  tasks.wait();
  bench::report(j, time.ns_per(j.n), "ns/fiber");
  bench::report(j, "memory", peak / static_cast<double>(j.n), "B/fiber");
  std::int64_t ran = 0;
  for (const std::uint8_t s : seen) ran += s;
  bench::expect(j, ran == j.n, "tasks that ran");
}

std::int64_t fib(std::int64_t n) {
  if (n < 2) return n;
  std::int64_t left = 0;
  tbb::task_group tasks;
  tasks.run([&left, n] { left = fib(n - 1); });
  const std::int64_t right = fib(n - 2);
  tasks.wait();
  return left + right;
}

void fib_fork_join(const job& j) {
  const stopwatch time;
  const std::int64_t got = fib(j.n);
  bench::report(j, time.ns_per(bench::fib_forks(j.n)), "ns/task");
  bench::expect(j, got == bench::fibonacci(j.n), "fib");
}

constexpr std::array workloads{
    bench::workload{"spawn_join", spawn_join},
    bench::workload{"spawn_outstanding", spawn_outstanding},
    bench::workload{"fib", fib_fork_join},
};

}  // namespace

int main(int argc, char** argv) { return bench::run_peer(argc, argv, workloads, enter); }
