// SPDX-License-Identifier: Apache-2.0
// Ready fibers do not wait where nobody looks: behind a fiber that computes, beside an idle P, in
// a chain of fibers that end.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>

#include <weft/chan.hpp>
#include <weft/fiber.hpp>
#include <weft/mutex.hpp>
#include <weft/run.hpp>
#include <weft/stats.hpp>
#include <weft/time.hpp>
#include <weft/wait_group.hpp>
#include "tests/chan/support.hpp"

namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

// Computes until `done`, but not for ever: false.
[[nodiscard]] bool compute_until(const std::atomic<bool>& done) {
  const auto limit = steady_clock::now() + 10s;
  while (!done.load(std::memory_order_relaxed) && steady_clock::now() < limit) {
  }
  return done.load();
}

// One that was woken sits in runnext, which nobody else takes from. When its waker starts another
// fiber and computes on, it must be taken all the same, by an idle P and not by way of sysmon,
// which takes the P of a hog. (Five times in 50 are enough: the machine may be too busy to give the
// idle P a core in time. Once is not: now and then sysmon is about to take the P anyway.)
TEST(WakeUp, AnIdleProcessorTakesTheWokenOneWhenItsWakerStartsAnother) {
  constexpr int enough = 5;
  int without_handoff = 0;
  weft::run(weft::options{.procs = 2}, [&] {
    if (weft::stats().procs < 2) {
      without_handoff = enough;  // WEFT_PROCS=1
      return;
    }
    for (int round = 0; round < 50 && without_handoff < enough; ++round) {
      const auto c = weft::make_chan<int>();
      std::atomic<bool> ran{false};
      auto woken = weft::spawn([&] {
        static_cast<void>(c.recv());
        ran = true;
      });
      while (weft_test::parked_receivers(c) == 0) weft::yield();
      const auto before = weft::stats().handoffs;
      c.send(1);
      weft::fiber other = weft::spawn([] {});
      EXPECT_TRUE(compute_until(ran));
      without_handoff += weft::stats().handoffs == before ? 1 : 0;
      woken.join();
      other.join();
    }
  });
  EXPECT_EQ(without_handoff, enough);
}

// A lone child of a fiber that goes on to compute: sysmon tells an idle P of it.
TEST(WakeUp, ALoneChildDoesNotWaitForItsParent) {
  weft::run(weft::options{.procs = 2}, [] {
    for (int round = 0; round < 5; ++round) {
      std::atomic<bool> ran{false};
      weft::fiber child = weft::spawn([&] { ran = true; });
      EXPECT_TRUE(compute_until(ran));
      child.join();
    }
  });
}

// The same, when the parent leaves for somebody else who computes.
TEST(WakeUp, ALoneChildDoesNotWaitForWhoeverItsParentLeftFor) {
  weft::run(weft::options{.procs = 2}, [] {
    for (int round = 0; round < 5; ++round) {
      const auto c = weft::make_chan<int>();
      std::atomic<bool> ran{false};
      auto woken = weft::spawn([&] {
        static_cast<void>(c.recv());
        EXPECT_TRUE(compute_until(ran));
      });
      while (weft_test::parked_receivers(c) == 0) weft::yield();
      weft::fiber child = weft::spawn([&] { ran = true; });
      c.send(1);
      woken.join();
      child.join();
    }
  });
}

// Each fiber of the chain wakes the next and ends. A timer that falls due meanwhile comes through.
// (Once in 20 is enough: the kernel may take the core away at the wrong moment.)
TEST(WakeUp, AChainOfEndingFibersLetsATimerThrough) {
  constexpr int length = WEFT_TSAN || WEFT_ASAN ? 2000 : 20'000;
  bool through = false;
  weft::run(weft::options{.procs = 1}, [&] {
    for (int round = 0; round < 20 && !through; ++round) {
      weft::mutex m;
      std::atomic<int> arrived{0};
      std::atomic<int> ended{0};
      int when_woken = -1;
      weft::wait_group all;
      m.lock();
      for (int i = 0; i < length; ++i) {
        all.go([&] {
          ++arrived;
          m.lock();
          ++ended;
          m.unlock();
        });
      }
      while (arrived < length) weft::yield();
      all.go([&] {
        weft::sleep_for(200us);
        when_woken = ended;
      });
      weft::yield();  // now it sleeps
      m.unlock();
      all.wait();
      through = when_woken > 0 && when_woken < length;
    }
  });
  EXPECT_TRUE(through);
}

}  // namespace
