// SPDX-License-Identifier: Apache-2.0
// What Go's tests of package time check and time_test.cpp does not. Each test names the one whose
// idea it is.
#include <weft/time.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <type_traits>
#include <vector>
#include <weft/chan.hpp>
#include <weft/fiber.hpp>
#include <weft/select.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;

class TimeConformance : public both_worlds {};
WEFT_BOTH_WORLDS(TimeConformance);

// Go: time/TestIssue5745, TestZeroTimerResetPanics, TestZeroTimerStopPanics,
// TestTickerStopWithDirectInitialization: there is no timer that nobody has started, and no second
// one of the same.
template <class T>
constexpr bool has_one_owner_who_started_it =
    !std::is_default_constructible_v<T> && !std::is_copy_constructible_v<T> &&
    !std::is_copy_assignable_v<T> && std::is_nothrow_move_constructible_v<T>;
static_assert(has_one_owner_who_started_it<weft::timer>);
static_assert(has_one_owner_who_started_it<weft::ticker>);

// Go: time/TestOverflowSleep: the longest times there are do not come round to the past, and the
// shortest are over at once.
TEST_P(TimeConformance, TheLongestTimesAreNotOverAndTheShortestAre) {
  run([] {
    constexpr auto longest = std::chrono::hours::max();
    constexpr auto most = std::chrono::nanoseconds::max();
    const weft::timer whole{longest};
    const weft::timer moved{1h};
    const weft::ticker ticks{most};
    const weft::ticker resumed{1h};
    std::vector<weft::recv_chan<weft::time_point>> all{whole.channel(), moved.channel(),
                                                       ticks.channel(), resumed.channel()};
    for (const auto d : {most, most - 1ns}) all.push_back(weft::after(d));
    all.push_back(weft::after(longest));
    EXPECT_TRUE(moved.reset(most));
    resumed.reset(longest);
    const auto never = weft::after_func(most, [] { FAIL(); });
    weft::sleep_for(20ms);
    for (const auto& c : all) EXPECT_TRUE(c.try_recv().empty());
    EXPECT_EQ(weft::select(weft::on_recv(all[0], [] {}), weft::on_timeout(longest),
                           weft::on_timeout(1ms)),
              2U);
    EXPECT_TRUE(never.stop());
    EXPECT_TRUE(whole.stop());
    EXPECT_TRUE(moved.stop());
    const weft::timer early{std::chrono::hours::min()};
    EXPECT_TRUE(early.channel().recv());
    EXPECT_TRUE(weft::after(std::chrono::nanoseconds::min()).recv());
    EXPECT_FALSE(early.reset(std::chrono::nanoseconds::min()));
    EXPECT_TRUE(early.channel().recv());
  });
}

// Go: time/TestAfterStress: ticks come through, however busy everybody is with something else.
TEST_P(TimeConformance, TicksComeThroughWhileFibersComeAndGoStress) {
  run([] {
    std::atomic<bool> stop{false};
    crew load(in_fibers());
    for (int i = 0; i < 3; ++i) {
      load.start([&] {
        while (!stop) weft::spawn([] { weft::yield(); }).join();
      });
    }
    {
      const weft::ticker t{1ns};
      const auto c = t.channel();
      for (int i = 0; i < 100; ++i) EXPECT_TRUE(c.recv());
      t.stop();
      EXPECT_TRUE(c.try_recv().empty());
    }
    stop = true;
  });
}

// Go: time/TestSleepZeroDeadlock: sleeps of nothing beside short ones.
TEST_P(TimeConformance, SleepsOfNothingBesideShortOnesEndStress) {
  run([] {
    crew crowd(in_fibers());
    for (int i = 0; i < 4; ++i) {
      crowd.start([i] {
        for (int k = 0; k < scaled(i % 2 == 0 ? 1000 : 50); ++k) {
          weft::sleep_for(std::chrono::nanoseconds(i % 2));
        }
      });
    }
  });
}

// Go: time/TestAdjustTimers: timers that are moved to and fro, stopped and started among others; in
// the end each comes once, and not too early.
TEST_P(TimeConformance, TimersMovedAboutAmongOthersLoseNothingStress) {
  run([] {
    const int each = scaled(in_fibers() ? 200 : 40);
    crew movers(in_fibers());
    for (unsigned seed = 1; seed <= 4; ++seed) {
      movers.start([each, state = seed * 2654435761U]() mutable {
        const auto draw = [&state](unsigned n) {
          state = state * 1664525U + 1013904223U;
          return (state >> 16) % n;
        };
        std::vector<weft::timer> timers;
        std::vector<weft::time_point> due;
        for (int i = 0; i < each; ++i) timers.emplace_back(1h);
        for (int move = 0; move < 10 * each; ++move) {
          const weft::timer& t = timers[draw(static_cast<unsigned>(each))];
          switch (draw(4)) {
            case 0:
              (void)t.stop();
              break;
            case 1:
              (void)t.reset(1h + std::chrono::seconds(draw(1000)));
              break;
            case 2:
              (void)t.reset(std::chrono::microseconds(draw(200)));
              break;
            default:
              (void)t.reset(0s);
              (void)t.reset(std::chrono::milliseconds(1 + draw(5)));
          }
        }
        for (const weft::timer& t : timers) {
          const auto wait = std::chrono::microseconds(draw(5000));
          due.push_back(weft::clock::now() + wait);
          (void)t.reset(wait);
        }
        for (std::size_t i = 0; i < timers.size(); ++i) {
          const auto at = timers[i].channel().recv();
          ASSERT_TRUE(at);
          EXPECT_GE(*at, due[i]);
          EXPECT_TRUE(timers[i].channel().try_recv().empty());
          EXPECT_FALSE(timers[i].stop());
        }
      });
    }
  });
}

}  // namespace
