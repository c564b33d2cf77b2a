// SPDX-License-Identifier: Apache-2.0
// A fiber that computes or blocks holds nobody up, also with a single P.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <weft/detail/timer_node.hpp>
#include <weft/fiber.hpp>
#include <weft/run.hpp>
#include <weft/time.hpp>
#include <weft/wait_group.hpp>

namespace {

using namespace std::chrono_literals;

std::int64_t cpu_ns() {
  rusage u{};
  ::getrusage(RUSAGE_SELF, &u);
  return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1'000'000'000 +
         (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1'000;
}

// Ends when the others are through, so nothing here depends on how long anything takes.
TEST(Blocking, AHogDoesNotKeepOthersFromRunning) {
  weft::run(weft::options{.procs = 1}, [] {
    std::atomic<int> progress{0};
    auto hog = weft::spawn([&] {
      while (progress.load(std::memory_order_relaxed) < 20) {
      }
    });
    auto other = weft::spawn([&] {
      for (int i = 0; i < 20; ++i) {
        weft::sleep_for(1ms);
        progress.fetch_add(1);
      }
    });
    other.join();
    hog.join();
    if (weft::stats().procs == 1) {
      EXPECT_GE(weft::stats().handoffs, 1U);
    }
  });
}

TEST(Blocking, AReadThatBlocksDoesNotKeepOthersFromRunning) {
  weft::run(weft::options{.procs = 1}, [] {
    std::array<int, 2> fds{};
    ASSERT_EQ(::pipe(fds.data()), 0);
    char got = 0;
    auto reader = weft::spawn([&] { ASSERT_EQ(::read(fds[0], &got, 1), 1); });
    auto writer = weft::spawn([&] {
      for (int i = 0; i < 5; ++i) weft::sleep_for(1ms);
      ASSERT_EQ(::write(fds[1], "x", 1), 1);
    });
    reader.join();
    writer.join();
    EXPECT_EQ(got, 'x');
    ::close(fds[0]);
    ::close(fds[1]);
  });
}

TEST(Blocking, AnnouncedCallsRunOnTheSameThreadAndOverlap) {
  weft::run(weft::options{.procs = 1}, [] {
    constexpr int n = 8;
    // All of them must be in their blocking call at once for any to return.
    std::array<std::array<int, 2>, n> pipes{};
    for (auto& p : pipes) ASSERT_EQ(::pipe(p.data()), 0);
    std::atomic<int> inside{0};
    std::vector<weft::fiber> fibers;
    for (int i = 0; i < n; ++i) {
      fibers.push_back(weft::spawn([&, i] {
        const auto before = std::this_thread::get_id();
        weft::blocking([&] {
          EXPECT_EQ(std::this_thread::get_id(), before);
          if (inside.fetch_add(1) + 1 == n) {
            for (auto& p : pipes) EXPECT_EQ(::write(p[1], "x", 1), 1);
          }
          char c = 0;
          EXPECT_EQ(::read(pipes[static_cast<std::size_t>(i)][0], &c, 1), 1);
        });
      }));
    }
    for (auto& f : fibers) f.join();
    for (auto& p : pipes) {
      ::close(p[0]);
      ::close(p[1]);
    }
    EXPECT_EQ(weft::blocking([] { return 3; }), 3);
  });
}

TEST(Blocking, StressSectionsThatCallWeftInside) {
  weft::run([] {
    std::atomic<int> count{0};
    std::vector<weft::fiber> fibers;
    for (int i = 0; i < 16; ++i) {
      fibers.push_back(weft::spawn([&] {
        for (int k = 0; k < 200; ++k) {
          weft::blocking([&] {
            count.fetch_add(1);
            if (k % 5 == 0) weft::yield();
            if (k % 7 == 0) weft::spawn([&] { count.fetch_add(1); }).join();
            weft::blocking([&] { count.fetch_add(1); });
          });
          weft::yield();
        }
      }));
    }
    for (auto& f : fibers) f.join();
    EXPECT_EQ(count.load(), 16 * (200 * 2 + 29));
    // The thread of the last one may still be on its way back, and sysmon counts a thread before it
    // tries to take its P.
    const auto limit = std::chrono::steady_clock::now() + 10s;
    while (weft::stats().detached != 0 && std::chrono::steady_clock::now() < limit) weft::yield();
    EXPECT_EQ(weft::stats().detached, 0);
  });
}

// One that spins does so in every round; the first may still see the start of the Ms.
void expect_no_cpu_is_used() {
  // 2 % of one core is far above what is measured (0.0) and far below a spinning worker.
  constexpr std::int64_t limit = WEFT_TSAN || WEFT_ASAN ? 100'000'000 : 10'000'000;
  std::int64_t used = limit;
  for (int round = 0; round < 5 && used >= limit; ++round) {
    const std::int64_t before = cpu_ns();
    weft::sleep_for(500ms);
    used = cpu_ns() - before;
  }
  EXPECT_LT(used, limit);
}

TEST(Blocking, AnIdleRuntimeUsesNoCpu) {
  weft::run([] {
    weft::sleep_for(50ms);  // spinning has calmed down
    expect_no_cpu_is_used();
  });
}

// More threads than Ps are left, and none of them has anything to do. (They used to take idle Ps
// from each other, and to wake each other by that.)
TEST(Blocking, AnIdleRuntimeUsesNoCpuAfterBlockingCalls) {
  for (int run = 0; run < 3; ++run) {
    weft::run(weft::options{.procs = 8}, [] {
      weft::wait_group all;
      for (int i = 0; i < 12; ++i) {
        all.go([] {
          for (int k = 0; k < 20; ++k) weft::blocking([] { ::usleep(1000); });
        });
      }
      all.wait();
      expect_no_cpu_is_used();
    });
  }
}

}  // namespace
