// SPDX-License-Identifier: Apache-2.0
// The scheduler's workloads on weft: yield, spawn, fork-join, skynet, sleepers, hogs, parked
// memory.
#include <array>
#include <atomic>
#include <chrono>
#include <utility>
#include <vector>
#include <weft/weft.hpp>

#include "compare/weft_cost.hpp"
#include "compare/weft_workloads.hpp"

namespace bench {

void yield(const job& j) {
  std::array<std::int64_t, 2> turns{};
  weft::wait_group wg;
  const cost spent;
  for (std::int64_t& mine : turns) {
    wg.go([&mine, n = j.n] {
      for (std::int64_t i = 0; i < n; ++i) {
        weft::yield();
        ++mine;
      }
    });
  }
  wg.wait();
  spent.report(j, 2 * j.n, "ns/switch");
  expect(j, turns[0] == j.n && turns[1] == j.n, "turns");
}

void spawn_join(const job& j) {
  constexpr std::int64_t batch = 1000;
  std::array<std::int64_t, batch> slots{};
  std::int64_t sum = 0;
  const cost spent;
  for (std::int64_t done = 0; done < j.n; done += batch) {
    weft::wait_group wg;
    for (std::size_t i = 0; i < batch; ++i) {
      wg.go([&slots, i] { slots[i] = static_cast<std::int64_t>(i); });
    }
    wg.wait();
    for (std::int64_t& s : slots) sum += std::exchange(s, 0);
  }
  spent.report(j, j.n, "ns/fiber");
  expect(j, sum == j.n / batch * sum_below(batch), "sum of the slots");
}

void spawn_outstanding(const job& j) {
  std::vector<std::uint8_t> seen(static_cast<std::size_t>(j.n));
  weft::wait_group wg;
  const cost spent;
  for (std::uint8_t& mine : seen) wg.go([&mine] { mine = 1; });
  const double peak = memory_now().total() - memory_at_start().total();
  wg.wait();
  spent.report(j, j.n, "ns/fiber");
  report(j, "memory", peak / static_cast<double>(j.n), "B/fiber");
  std::int64_t ran = 0;
  for (const std::uint8_t s : seen) ran += s;
  expect(j, ran == j.n, "fibers that ran");
}

namespace {

std::int64_t fib(std::int64_t n) {
  if (n < 2) return n;
  std::int64_t left = 0;
  weft::wait_group wg;
  wg.go([&left, n] { left = fib(n - 1); });
  const std::int64_t right = fib(n - 2);
  wg.wait();
  return left + right;
}

/// How many stacks the work needed at its peak: a tree that is walked well needs few.
void report_stacks(const job& j) {
  report(j, "stacks", static_cast<double>(weft::stats().stacks), "stacks");
}

using channel = weft::channel<std::int64_t, 0>;

void skynet_node(const channel& up, std::int64_t first, std::int64_t leaves) {
  if (leaves == 1) {
    up.send(first);
    return;
  }
  channel down;
  for (std::int64_t i = 0; i < 10; ++i) {
    weft::go([&down, first = first + i * (leaves / 10), leaves = leaves / 10] {
      skynet_node(down, first, leaves);
    });
  }
  std::int64_t sum = 0;
  for (int i = 0; i < 10; ++i) sum += down.recv().value();
  up.send(sum);
}

}  // namespace

void fib_fork_join(const job& j) {
  const cost spent;
  const std::int64_t got = fib(j.n);
  spent.report(j, fib_forks(j.n), "ns/task");
  report_stacks(j);
  expect(j, got == fibonacci(j.n), "fib");
}

void skynet(const job& j) {
  const cost spent;
  channel c;
  weft::go([&c, n = j.n] { skynet_node(c, 0, n); });
  const std::int64_t sum = c.recv().value();
  spent.report(j, j.n, "ns/leaf");
  report_stacks(j);
  expect(j, sum == sum_below(j.n), "sum of the leaves");
}

void sleepers(const job& j) {
  using clock = std::chrono::steady_clock;
  std::vector<std::int32_t> late(static_cast<std::size_t>(j.n));
  weft::wait_group wg;
  const cost spent;
  const double cpu = cpu_ns();
  for (std::int64_t i = 0; i < j.n; ++i) {
    wg.go([&late, i] {
      const auto wake = clock::now() + nap(i);
      weft::sleep_for(nap(i));
      late[static_cast<std::size_t>(i)] =
          static_cast<std::int32_t>((clock::now() - wake) / std::chrono::microseconds(1));
    });
  }
  wg.wait();
  report(j, (cpu_ns() - cpu) / static_cast<double>(j.n), "CPU-ns/fiber");
  report(j, "beyond", spent.ns() / 1e6 - 1000, "ms");
  spent.report_allocs(j, j.n);
  for (const std::int32_t us : late) expect(j, us >= 0, "woken too early");
  report_lateness(j, late);
}

void hogs(const job& j) {
  using clock = std::chrono::steady_clock;
  std::vector<std::int32_t> late(static_cast<std::size_t>(j.n));
  std::atomic<bool> stop{false};
  weft::wait_group wg;
  const cost spent;
  for (int h = 0; h < 4; ++h) {
    wg.go([&stop] {
      while (!stop.load(std::memory_order_relaxed)) {
      }
    });
  }
  for (std::int32_t& us : late) {
    const auto wake = clock::now() + std::chrono::milliseconds(1);
    weft::sleep_for(std::chrono::milliseconds(1));
    us = static_cast<std::int32_t>((clock::now() - wake) / std::chrono::microseconds(1));
  }
  stop.store(true, std::memory_order_relaxed);
  wg.wait();
  spent.report_allocs(j, j.n);
  for (const std::int32_t us : late) expect(j, us >= 0, "woken too early");
  report_lateness(j, late);
}

namespace {

void report_memory(const job& j, const memory& peak) {
  const memory base = memory_at_start();
  const auto n = static_cast<double>(j.n);
  report(j, (peak.total() - base.total()) / n, "B/fiber");
  report(j, "rss", (peak.rss_bytes - base.rss_bytes) / n, "B/fiber");
  report(j, "page_tables", (peak.page_table_bytes - base.page_table_bytes) / n, "B/fiber");
  if (!j.last()) return;
  weft::sleep_for(std::chrono::seconds(3));  // what idle workers give back, they have by then
  const double kept = memory_now().total() - base.total();
  report(j, "kept", 100 * kept / (peak.total() - base.total()), "%");
}

}  // namespace

void parked(const job& j) {
  const auto gate = weft::make_chan<std::int64_t>();
  std::atomic<std::int64_t> arrived{0};
  std::atomic<std::int64_t> woken{0};
  weft::wait_group wg;
  const cost spent;
  for (std::int64_t i = 0; i < j.n; ++i) {
    wg.go([&] {
      arrived.fetch_add(1);
      if (!gate.recv().has_value()) woken.fetch_add(1);
    });
  }
  while (arrived.load() != j.n) weft::yield();
  report(j, "create", spent.ns_per(j.n), "ns/fiber");
  const memory peak = memory_now();
  const stopwatch wake;
  gate.close();
  wg.wait();
  report(j, "wake", wake.ns_per(j.n), "ns/fiber");
  spent.report_allocs(j, j.n);
  expect(j, woken == j.n, "fibers woken");
  report_memory(j, peak);
}

}  // namespace bench
