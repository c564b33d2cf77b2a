// SPDX-License-Identifier: Apache-2.0
// After a burst its memory goes back to the kernel while the runtime goes on: stacks, their arenas,
// fibers, closures, and what idle Ps keep.
#include "sched/memory_trim.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
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
#elif WEFT_ASAN || WEFT_EMULATED
constexpr int burst = 5'000;
#else
constexpr int burst = 30'000;
#endif

// Memory of the process that is no file's, and its page tables, in KiB. Sanitizers and emulators
// keep their own for what is gone.
std::int64_t memory_kib() {
  std::ifstream status("/proc/self/status");
  std::int64_t sum = 0;
  for (std::string line; std::getline(status, line);) {
    for (const char* key : {"RssAnon:", "VmPTE:"}) {
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

// What is no burst's: a page here and there; threads that have come, of each P.
constexpr std::int64_t slack_kib = 1024;
constexpr std::int64_t slack_of_p_kib = 64;
// What a P that is never idle for long keeps: 64 stacks.
constexpr std::int64_t spares_of_p_kib = 64 * 16;

enum class others : std::uint8_t { idle, at_work };

bool is_back(const usage& start, const usage& peak, const usage& now, others are) {
  const std::int64_t procs = weft::stats().procs;
  std::int64_t slack = slack_kib + slack_of_p_kib * procs;
  if (are == others::at_work) slack += spares_of_p_kib * procs;
  const auto back = [](std::int64_t s, std::int64_t p, std::int64_t n, std::int64_t more) {
    return n <= s + p / 20 + more;  // all but a twentieth
  };
#if !(WEFT_ASAN || WEFT_TSAN || WEFT_EMULATED)
  if (!back(start.process_kib, peak.process_kib, now.process_kib, slack)) return false;
#endif
  // One arena is kept to carve from. (A single stack in use keeps its arena.)
  constexpr std::int64_t arena_kib = 64 << 10;
  return back(start.stacks_kib, peak.stacks_kib, now.stacks_kib, slack) &&
         (are == others::at_work ||
          back(start.arenas_kib, peak.arenas_kib, now.arenas_kib, 2 * arena_kib));
}

void wait_until_back(const usage& start, const usage& peak, others are) {
  const auto end = std::chrono::steady_clock::now() + patience;
  for (usage now; !is_back(start, peak, now, are); now = usage{}) {
    if (std::chrono::steady_clock::now() > end) {
      std::fprintf(stderr, "process, stacks, arenas in KiB: at start, at the peak, now\n");
      for (const usage& u : {start, peak, now}) {
        std::fprintf(stderr, "%lld %lld %lld\n", static_cast<long long>(u.process_kib),
                     static_cast<long long>(u.stacks_kib), static_cast<long long>(u.arenas_kib));
      }
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
        wait_until_back(start, peak, others::idle);
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
      wait_until_back(start, peak, others::idle);
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
      wait_until_back(start, peak, others::at_work);
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
