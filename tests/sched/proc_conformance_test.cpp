// SPDX-License-Identifier: Apache-2.0
// What Go's runtime/proc_test.go checks, is seen by users, and the other files here do not check:
// who is always ready starves nobody, and a burst after a rest is spread out. Each test names the
// one whose idea it is. All end when everybody has come through; how long that takes does not
// matter.
#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>

#include <weft/chan.hpp>
#include <weft/fiber.hpp>
#include <weft/run.hpp>
#include <weft/select.hpp>
#include <weft/stats.hpp>
#include <weft/time.hpp>
#include <weft/wait_group.hpp>

namespace {

using namespace std::chrono_literals;

// Go: runtime/TestPingPongHog: two that wake each other without end, one that only yields, and one
// that computes, on one P.
TEST(ProcConformance, APairThatKeepsWakingEachOtherLetsOthersThroughAndIsLetThrough) {
  weft::run(weft::options{.procs = 1}, [] {
    const auto ping = weft::make_chan<int>();
    const auto pong = weft::make_chan<int>();
    std::atomic<bool> stop{false};
    std::atomic<int> exchanged{0};
    auto echo = weft::spawn([=] {
      for (const int v : ping) pong.send(v);
    });
    auto caller = weft::spawn([&] {
      for (int i = 0; !stop; i = (i + 1) % 1000) {
        ping.send(i);
        EXPECT_EQ(pong.recv(), i);
        ++exchanged;
      }
      ping.close();
    });
    weft::spawn([] {
      for (int i = 0; i < 200; ++i) weft::yield();
    }).join();
    weft::spawn([&] {
      const int before = exchanged;
      while (exchanged < before + 100) {
      }
    }).join();
    stop = true;
    caller.join();
    echo.join();
  });
}

// Go: runtime/TestTimerFairness, TestTimerFairness2: fibers that yield, ask without waiting, call
// the kernel, or wake each other, all without end.
TEST(ProcConformance, FibersThatAreAlwaysReadyDoNotKeepTimersFromFiring) {
  weft::run(weft::options{.procs = 1}, [] {
    std::atomic<bool> stop{false};
    const auto never = weft::make_chan<int>();
    const auto pair = weft::make_chan<int>();
    weft::wait_group busy;
    busy.go([&] {
      while (!stop) weft::yield();
    });
    busy.go([&] {
      while (!stop) (void)weft::select(weft::on_recv(never, [] {}), weft::otherwise());
    });
    busy.go([&] {
      while (!stop) weft::blocking([] { ::sched_yield(); });
    });
    busy.go([&] {
      while (!stop) pair.send(1);
      pair.close();
    });
    busy.go([&] {
      while (pair.recv()) {
      }
    });
    for (int i = 0; i < 3; ++i) {
      const auto start = weft::clock::now();
      weft::sleep_for(1ms);
      EXPECT_GE(weft::clock::now() - start, 1ms);
      EXPECT_TRUE(weft::after(1ms).recv());
    }
    const weft::ticker ticks{1ms};
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(ticks.channel().recv());
    stop = true;
    busy.wait();
  });
}

// Go: runtime/TestGoroutineParallelism, TestGoroutineParallelism2: as many as there are Ps wait for
// each other without parking, right after a time in which all Ps were idle.
TEST(ProcConformance, ABurstAfterARestRunsOnAllProcessors) {
  weft::run(weft::options{.procs = 4}, [] {
    const int n = weft::stats().procs;  // WEFT_PROCS may say otherwise
    for (int round = 0; round < 3; ++round) {
      weft::sleep_for(1ms);
      std::atomic<int> here{0};
      weft::wait_group all;
      for (int i = 0; i < n; ++i) {
        all.go([&] {
          ++here;
          while (here < n) ::sched_yield();
        });
      }
      all.wait();
      EXPECT_EQ(here, n);
    }
  });
}

}  // namespace
