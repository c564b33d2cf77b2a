// SPDX-License-Identifier: Apache-2.0
// After a burst its memory goes back to the kernel while the runtime goes on: stacks, their arenas,
// fibers, closures, and what idle Ps keep.
#include "sched/memory_trim.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include <weft/weft.hpp>
#include "tests/support/child.hpp"

namespace {

using namespace std::chrono_literals;

constexpr auto patience = 90s;  // for a machine that stands still
#if WEFT_TSAN
constexpr int burst = 1'000;
#elif WEFT_ASAN
constexpr int burst = 5'000;
#else
constexpr int burst = 30'000;
#endif

// Memory and page tables of the process, in KiB. Sanitizers keep their own for what is gone.
std::int64_t memory_kib() {
  std::ifstream status("/proc/self/status");
  std::int64_t sum = 0;
  for (std::string line; std::getline(status, line);) {
    for (const char* key : {"VmRSS:", "VmPTE:"}) {
      if (line.rfind(key, 0) == 0) sum += std::atoll(line.c_str() + std::strlen(key));
    }
  }
  return sum;
}

struct usage {
  std::int64_t process_kib = memory_kib();
  std::int64_t stacks_kib = static_cast<std::int64_t>(weft::stats().stack_bytes_resident >> 10);
  std::int64_t arenas_kib = static_cast<std::int64_t>(weft::stats().stack_bytes_mapped >> 10);
};

// All but a twentieth. (And what is no burst's: a page here and there, threads that have come.)
constexpr std::int64_t slack_kib = 1024;

bool is_back(const usage& start, const usage& peak, const usage& now, std::int64_t spare_kib) {
  const auto back = [=](std::int64_t s, std::int64_t p, std::int64_t n) {
    return n <= s + p / 20 + slack_kib + spare_kib;
  };
#if !(WEFT_ASAN || WEFT_TSAN)
  if (!back(start.process_kib, peak.process_kib, now.process_kib)) return false;
#endif
  return back(start.stacks_kib, peak.stacks_kib, now.stacks_kib);
}

void wait_until_back(const usage& start, const usage& peak, std::int64_t spare_kib = 0) {
  const auto end = std::chrono::steady_clock::now() + patience;
  for (usage now; !is_back(start, peak, now, spare_kib); now = usage{}) {
    if (std::chrono::steady_clock::now() > end) {
      std::fprintf(
          stderr, "KiB at start %lld + %lld, at the peak %lld + %lld, now %lld + %lld\n",
          static_cast<long long>(start.process_kib), static_cast<long long>(start.stacks_kib),
          static_cast<long long>(peak.process_kib), static_cast<long long>(peak.stacks_kib),
          static_cast<long long>(now.process_kib), static_cast<long long>(now.stacks_kib));
      ::_exit(3);
    }
    weft::sleep_for(20ms);
  }
}

// Starts a burst of fibers that all wait for one thing; what is in use then.
template <class F>
usage burst_of(F make) {
  auto gate = weft::make_chan<int>();
  std::atomic<int> there{0};
  weft::wait_group all;
  for (int i = 0; i < burst; ++i) make(all, gate, there);
  while (there.load() < burst) weft::yield();
  const usage peak;
  gate.close();
  all.wait();
  return peak;
}

TEST(MemoryTrim, StacksAndFibersOfABurstGoBackWhileTheRuntimeIsIdle) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "trim=10ms", 1);
    weft::run([] {
      weft::sleep_for(1ms);
      const usage start;
      for (int round = 0; round < 2; ++round) {
        const usage peak = burst_of(
            [](weft::wait_group& all, const weft::chan<int>& gate, std::atomic<int>& there) {
              all.go([&there, gate] {
                there.fetch_add(1);
                static_cast<void>(gate.recv());
              });
            });
        wait_until_back(start, peak);
      }
    });
  });
  EXPECT_EQ(r.code, 0) << r.error;
}

TEST(MemoryTrim, FibersThatNeverHadAStackAndTheirClosuresGoBack) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "trim=10ms", 1);
    weft::run(weft::options{.procs = 1}, [] {
      weft::sleep_for(1ms);
      const usage start;
      weft::wait_group all;
      struct large {
        char bytes[800] = {};
      };
      for (int i = 0; i < 4 * burst; ++i) {
        all.go([closure = large{}] { static_cast<void>(closure); });
      }
      const usage peak;
      all.wait();
      wait_until_back(start, peak);
    });
  });
  EXPECT_EQ(r.code, 0) << r.error;
}

TEST(MemoryTrim, GoesOnWhileOthersWork) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "trim=10ms", 1);
    weft::run([] {
      weft::sleep_for(1ms);
      const usage start;
      std::atomic<bool> done{false};
      weft::wait_group workers;
      for (int i = 0; i < 4; ++i) {
        workers.go([&done] {
          while (!done.load()) {
            weft::spawn([] {}).join();
            weft::sleep_for(100us);
          }
        });
      }
      const usage peak =
          burst_of([](weft::wait_group& all, const weft::chan<int>& gate, std::atomic<int>& there) {
            all.go([&there, gate] {
              there.fetch_add(1);
              static_cast<void>(gate.recv());
            });
          });
      // Ps that are never idle for long keep up to 64 stacks each.
      wait_until_back(start, peak, weft::stats().procs * 64 * 16);
      done.store(true);
      workers.wait();
    });
  });
  EXPECT_EQ(r.code, 0) << r.error;
}

TEST(MemoryTrim, NothingIsGivenBackWhenItIsTurnedOff) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "trim=0", 1);
    weft::run([] {
      const usage peak =
          burst_of([](weft::wait_group& all, const weft::chan<int>& gate, std::atomic<int>& there) {
            all.go([&there, gate] {
              there.fetch_add(1);
              static_cast<void>(gate.recv());
            });
          });
      weft::sleep_for(50ms);
      if (usage{}.stacks_kib < peak.stacks_kib) ::_exit(3);
    });
  });
  EXPECT_EQ(r.code, 0) << r.error;
}

}  // namespace
