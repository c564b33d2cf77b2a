// SPDX-License-Identifier: Apache-2.0
// A process that has worked and now only waits, on weft: what does it cost?
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <weft/weft.hpp>

#include "compare/weft_workloads.hpp"

namespace bench {

namespace {

using namespace std::chrono_literals;

constexpr std::int64_t workers = 10'000;
constexpr std::int64_t parked_fibers = 1'000;

void work(const job& j) {
  std::atomic<std::int64_t> ran{0};
  weft::wait_group wg;
  for (std::int64_t i = 0; i < workers; ++i) {
    wg.go([&ran] {
      weft::yield();
      ran.fetch_add(1, std::memory_order_relaxed);
    });
  }
  wg.wait();
  expect(j, ran == workers, "fibers that ran");
}

/// Time that the machine's cores were idle while somebody waited for a disk, or for a ring: an
/// io_uring that is waited on may count, and then an idle process looks busy in every monitor.
double iowait_ns() {
  std::FILE* f = std::fopen("/proc/stat", "re");
  if (f == nullptr) return 0;
  unsigned long long ticks = 0;
  if (std::fscanf(f, "cpu %*u %*u %*u %*u %llu", &ticks) != 1) ticks = 0;
  std::fclose(f);
  return 1e9 * static_cast<double>(ticks) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

void report_idle(const job& j) {
  weft::sleep_for(1s);  // the last spinner has gone to sleep by then
  const stopwatch time;
  const double cpu = cpu_ns();
  const double waited = iowait_ns();
  weft::sleep_for(std::chrono::seconds(j.n));
  const double used = cpu_ns() - cpu;
  report(j, "cpu", 100 * used / time.ns(), "%");
  report(j, "iowait", 100 * (iowait_ns() - waited) / time.ns(), "%");
}

}  // namespace

// Only the last round waits and measures; the others are what the process has done before.
void idle(const job& j) {
  work(j);
  const auto listener = weft::net::listen("tcp4", "127.0.0.1:0");
  expect(j, listener.has_value(), "listen");
  const auto gate = weft::make_chan<std::int64_t>();
  auto in_an_hour = weft::after_func(1h, [] {});
  std::atomic<std::int64_t> woken{0};
  weft::wait_group parked;
  parked.go([&] {
    if (!listener->accept()) woken.fetch_add(1);
  });
  for (std::int64_t i = 0; i < parked_fibers; ++i) {
    parked.go([&] {
      if (!gate.recv()) woken.fetch_add(1);
    });
  }
  if (j.last()) report_idle(j);
  expect(j, woken == 0 && in_an_hour.stop(), "something that was to wait has not waited");
  listener->close();
  gate.close();
  parked.wait();
  expect(j, woken == parked_fibers + 1, "fibers woken at the end");
}

}  // namespace bench
