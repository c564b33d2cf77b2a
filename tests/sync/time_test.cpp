// SPDX-License-Identifier: Apache-2.0
// Sleeping, timers and tickers: the sentences of API.md and Go's time tests.
#include <weft/time.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <thread>
#include <vector>
#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/fiber.hpp>
#include <weft/run.hpp>
#include <weft/select.hpp>
#include <weft/stats.hpp>
#include <weft/wait_group.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::background;

class Time : public both_worlds {};
WEFT_BOTH_WORLDS(Time);

// weft::clock is a Clock.
static_assert(std::chrono::is_clock_v<weft::clock>);
static_assert(weft::clock::is_steady);
static_assert(std::is_same_v<weft::clock::time_point, weft::time_point>);

TEST(Durations, BecomeNanosecondsRoundedUpAndSaturated) {
  using namespace std::chrono;
  using weft::detail::to_ns;
  constexpr auto highest = std::numeric_limits<std::int64_t>::max();
  constexpr auto lowest = std::numeric_limits<std::int64_t>::min();
  EXPECT_EQ(to_ns(1ms), 1'000'000);
  EXPECT_EQ(to_ns(-1s), -1'000'000'000);
  EXPECT_EQ(to_ns(hours::max()), highest);
  EXPECT_EQ(to_ns(hours::min()), lowest);
  EXPECT_EQ(to_ns(duration<double>(1e-10)), 1);
  EXPECT_EQ(to_ns(duration<double>(0.5)), 500'000'000);
  EXPECT_EQ(to_ns(duration<double>(1e300)), highest);
  EXPECT_EQ(to_ns(duration<double>(-1e300)), lowest);
  EXPECT_EQ(to_ns(duration<double>(std::numeric_limits<double>::quiet_NaN())), 0);
  EXPECT_EQ(to_ns(duration<long, std::pico>(1500)), 2);
  EXPECT_EQ(to_ns(duration<std::uint64_t, std::nano>(~0ULL)), highest);
  EXPECT_EQ(to_ns(duration<int, std::ratio<60>>(2)), 120'000'000'000);
}

// TestSleep: not early
TEST_P(Time, SleepIsNotEarly) {
  run([] {
    const auto start = weft::clock::now();
    weft::sleep_for(15ms);
    EXPECT_GE(weft::clock::now() - start, 15ms);
    weft::sleep_until(start + 25ms);
    EXPECT_GE(weft::clock::now() - start, 25ms);
    const auto steady = std::chrono::steady_clock::now() + 5ms;
    weft::sleep_until(steady);
    EXPECT_GE(std::chrono::steady_clock::now(), steady);
    const auto system = std::chrono::system_clock::now() + 5ms;
    weft::sleep_until(system);
    EXPECT_GE(std::chrono::system_clock::now(), system);
  });
}

// TestSleepZeroDeadlock, TestOverflowSleep
TEST_P(Time, NoTimeIsNoSleep) {
  run([] {
    weft::sleep_for(0s);
    weft::sleep_for(-1s);
    weft::sleep_for(std::chrono::hours::min());
    weft::sleep_until(weft::clock::now() - 1s);
    weft::sleep_until(weft::time_point::min());
    EXPECT_TRUE(weft::sleep_for(background(), -1s));
  });
}

TEST_P(Time, SleepEndsWithTheContext) {
  run([] {
    EXPECT_TRUE(weft::sleep_for(background(), 1ms));
    auto [ctx, cancel] = weft::with_cancel(background());
    EXPECT_TRUE(weft::sleep_until(ctx, weft::clock::now() + 1ms));
    crew other(in_fibers());
    other.start([&, &until = ctx] {
      EXPECT_EQ(weft::sleep_for(until, std::chrono::hours::max()).error(), weft::errc::canceled);
    });
    for (int i = 0; i < 20; ++i) weft::yield();
    cancel();
    other.join();
    EXPECT_EQ(weft::sleep_for(ctx, 1h).error(), weft::errc::canceled);
    auto [timed, cancel_timed] = weft::with_timeout(background(), 2ms);
    EXPECT_EQ(weft::sleep_for(timed, 1h).error(), weft::errc::deadline_exceeded);
  });
}

TEST_P(Time, ManySleepers) {
  run([] {
    const int n = in_fibers() ? scaled(10000) : 50;
    std::atomic<int> early{0};
    crew crowd(in_fibers());
    for (int i = 0; i < n; ++i) {
      crowd.start([&, i] {
        const auto until = weft::clock::now() + std::chrono::microseconds(i % 20000);
        weft::sleep_until(until);
        if (weft::clock::now() < until) ++early;
      });
    }
    crowd.join();
    EXPECT_EQ(early, 0);
  });
}

// TestAfter, TestAfterTick
TEST_P(Time, AfterDeliversOnce) {
  run([] {
    const auto start = weft::clock::now();
    auto c = weft::after(10ms);
    const auto at = c.recv();
    ASSERT_TRUE(at);
    EXPECT_GE(*at - start, 10ms);
    EXPECT_TRUE(c.try_recv().empty());
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(weft::after(1ms).recv());
    EXPECT_TRUE(weft::after(0s).recv());
    EXPECT_TRUE(weft::after(-1s).recv());
    (void)weft::after(1h);  // dropped: stopped
    (void)weft::after(std::chrono::hours::max());
  });
}

// Receivers of timers that are due `step` after one another; how often one reported before another
// that was due earlier.
int inversions_at(std::chrono::milliseconds step, bool in_fibers) {
  constexpr std::array slots{5, 3, 6, 6, 6, 1, 1, 2, 7, 9, 4, 8, 0};
  auto result = weft::make_chan<int>(slots.size());
  crew crowd(in_fibers);
  const auto base = weft::clock::now() + step;
  for (const int slot : slots) {
    crowd.start([=] {
      const auto due = base + slot * step;
      const auto at = weft::after(due - weft::clock::now()).recv();
      EXPECT_GE(*at, due);
      result.send(slot);
    });
  }
  int last = -1;
  int inversions = 0;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const int slot = *result.recv();
    inversions += slot < last ? 1 : 0;
    last = slot;
  }
  return inversions;
}

// TestAfterQueuing: the order of due times. Receivers whose timers are due together race to report:
// where the machine stood still for more than a step, a longer one decides.
TEST_P(Time, AfterKeepsTheOrderOfDueTimes) {
  run([&] {
    int inversions = 0;
    for (const auto step : {4ms, 40ms, 400ms, 2000ms}) {
      inversions = inversions_at(step, in_fibers());
      if (inversions <= 3) break;
    }
    EXPECT_LE(inversions, 3);
  });
}

// TestAfterStop, TestReset
TEST_P(Time, StopAndResetTellWhetherItWasArmed) {
  run([] {
    weft::timer t{1h};
    EXPECT_TRUE(t.stop());
    EXPECT_FALSE(t.stop());
    EXPECT_FALSE(t.reset(1h));
    EXPECT_TRUE(t.reset(1ms));
    EXPECT_TRUE(t.channel().recv());
    EXPECT_FALSE(t.stop());  // fired and received
    EXPECT_FALSE(t.reset(1ms));
    EXPECT_TRUE(t.channel().recv());
    EXPECT_TRUE(t.channel().try_recv().empty());
  });
}

// Go 1.23 (issues 37196, 69312): after stop or reset no value from before is ever received.
TEST_P(Time, NoStaleValueAfterStopOrReset) {
  run([] {
    weft::timer t{1us};
    yield_until([&] { return t.channel().len() == 1; });
    EXPECT_TRUE(t.stop());  // it had fired, but nobody saw: taken back
    EXPECT_TRUE(t.channel().try_recv().empty());
    EXPECT_FALSE(t.reset(1us));
    yield_until([&] { return t.channel().len() == 1; });
    EXPECT_TRUE(t.reset(1h));
    EXPECT_TRUE(t.channel().try_recv().empty());
    EXPECT_TRUE(t.stop());
  });
}

TEST_P(Time, StopRacesFiringStress) {
  run([] {
    const int n = scaled(in_fibers() ? 3000 : 200);
    weft::timer t{1h};
    for (int i = 0; i < n; ++i) {
      (void)t.reset(std::chrono::microseconds(i % 50));
      if (i % 3 == 0) weft::yield();
      const auto reset_at = weft::clock::now();
      if (i % 2 == 0) {
        (void)t.stop();
        EXPECT_TRUE(t.channel().try_recv().empty());
      } else {
        (void)t.reset(200us);
        const auto at = t.channel().recv();
        EXPECT_GE(*at, reset_at + 200us);  // not the one of before
      }
    }
  });
}

TEST_P(Time, ConcurrentResetsKeepTheTimerWholeStress) {
  run([] {
    weft::timer t{1h};
    crew crowd(in_fibers());
    for (int k = 0; k < 3; ++k) {
      crowd.start([&, k] {
        for (int i = 0; i < scaled(1000); ++i) {
          (void)t.reset(std::chrono::microseconds((i * (k + 1)) % 30));
          if (i % 5 == 0) (void)t.stop();
          (void)t.channel().try_recv();
        }
      });
    }
    crowd.join();
    (void)t.reset(1ms);
    EXPECT_TRUE(t.channel().recv());
  });
}

TEST_P(Time, ATimersChannelOutlivesIt) {
  run([] {
    weft::recv_chan<weft::time_point> c;
    {
      weft::timer t{1ms};
      c = t.channel();
      EXPECT_EQ(c.cap(), 1U);
      weft::timer moved = std::move(t);
      EXPECT_TRUE(moved.stop());
    }
    EXPECT_TRUE(c.try_recv().empty());
    EXPECT_FALSE(c.recv_for(5ms));  // a dropped timer is stopped
  });
}

TEST_P(Time, ATimerThatWasMovedFromIsStopped) {
  run([] {
    weft::timer t{1h};
    weft::timer moved = std::move(t);
    EXPECT_FALSE(t.stop());
    EXPECT_FALSE(t.reset(1ms));
    EXPECT_FALSE(t.channel());
    const weft::recv_chan<weft::time_point> old = moved.channel();
    weft::timer other{1h};
    moved = std::move(other);  // what it was is dropped, and stopped, at once
    EXPECT_FALSE(other.stop());
    EXPECT_TRUE(old.try_recv().empty());
    EXPECT_TRUE(moved.stop());

    weft::ticker ticks{1h};
    const weft::ticker taken = std::move(ticks);
    ticks.stop();
    ticks.reset(1ms);
    EXPECT_FALSE(ticks.channel());
    EXPECT_TRUE(taken.channel());
  });
}

// Who waits on the channel already sees a stop and a reset in the same way.
TEST_P(Time, AParkedReceiverGetsOnlyTheValueOfTheLastReset) {
  run([] {
    weft::timer t{1h};
    crew other(in_fibers());
    weft::time_point due;
    other.start([&, c = t.channel()] {
      const auto at = c.recv();
      EXPECT_GE(*at, due);
    });
    yield_until([&] { return parked_receivers(t.channel()) == 1; });
    EXPECT_TRUE(t.stop());
    EXPECT_FALSE(t.stop());
    EXPECT_EQ(parked_receivers(t.channel()), 1U);  // a stop does not wake it
    EXPECT_FALSE(t.reset(1h));
    due = weft::clock::now() + 2ms;
    EXPECT_TRUE(t.reset(2ms));
    other.join();
    EXPECT_FALSE(t.stop());
  });
}

TEST_P(Time, DestroyedTheMomentItsValueArrivesStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 2000 : 200); ++i) {
      const auto brief = std::chrono::microseconds(i % 20);
      auto t = std::make_unique<weft::timer>(brief);
      const auto c = t->channel();
      EXPECT_TRUE(i % 2 == 0 ? c.recv().has_value() : c.recv_for(1h).has_value());
      t.reset();
      auto k = std::make_unique<weft::ticker>(brief + 1us);
      EXPECT_TRUE(k->channel().recv());
      k.reset();
      EXPECT_EQ(weft::select(weft::on_recv(weft::after(brief), [] {}), weft::on_timeout(1h)), 0U);
      auto ran = weft::make_chan<weft::unit>();
      {
        auto handle = weft::after_func(brief, [ran] { ran.send({}); });
        (void)ran.recv();
      }
    }
  });
}

// TestZeroTimer: zero timers all fire
TEST_P(Time, ZeroTimersFire) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 5000 : 150); ++i) {
      weft::timer t{0s};
      ASSERT_TRUE(t.channel().recv());
    }
  });
}

// TestTimerModifiedEarlier
TEST_P(Time, MovingATimerForwardLosesNothing) {
  run([] {
    weft::timer t{std::chrono::hours::max()};
    for (int i = 0; i < 10; ++i) {
      (void)t.reset(1h);
      (void)t.reset(2ms);
      EXPECT_TRUE(t.channel().recv_for(10s));
    }
  });
}

// --- tickers

// TestTicker, TestTeardown, TestTickerStopWithDirectInitialization
TEST_P(Time, TickersTickWithoutDriftAndLoseTicksOfASlowReceiver) {
  run([] {
    const auto start = weft::clock::now();
    weft::ticker t{2ms};
    for (int i = 1; i <= 5; ++i) {
      const auto at = t.channel().recv();
      EXPECT_GE(*at - start, i * 2ms);
    }
    weft::sleep_for(20ms);
    yield_until([&] { return t.channel().len() == 1; });  // the sleeper may wake before the tick
    EXPECT_EQ(t.channel().cap(), 1U);                     // room for one: the others are lost
    t.stop();
    EXPECT_TRUE(t.channel().try_recv().empty());
    EXPECT_FALSE(t.channel().recv_for(6ms));
    t.reset(1ms);
    EXPECT_TRUE(t.channel().recv());
    EXPECT_TRUE(t.channel().recv());
    for (int i = 0; i < 3; ++i) {
      const weft::ticker brief{100ms};
    }
  });
}

TEST_P(Time, ATickersChannelOutlivesItAndADroppedTickerIsStopped) {
  run([] {
    weft::recv_chan<weft::time_point> c;
    {
      weft::ticker t{1ms};
      c = t.channel();
      EXPECT_EQ(c.cap(), 1U);
      EXPECT_TRUE(c.recv());
      yield_until([&] { return c.len() == 1; });
      const weft::ticker moved = std::move(t);
      EXPECT_TRUE(moved.channel() == c);
    }
    EXPECT_TRUE(c.try_recv().empty());  // also the tick that nobody had taken
    EXPECT_FALSE(c.recv_for(5ms));
  });
}

TEST_P(Time, AResetTickerGivesNoTickOfBefore) {
  run([] {
    weft::ticker t{1ms};
    for (int i = 0; i < 5; ++i) {
      yield_until([&] { return t.channel().len() == 1; });
      const auto start = weft::clock::now();
      t.reset(3ms);
      EXPECT_GE(*t.channel().recv(), start + 3ms);
      EXPECT_GE(*t.channel().recv(), start + 6ms);  // the new period goes on
      t.reset(1ms);
    }
    yield_until([&] { return t.channel().len() == 1; });
    t.reset(1h);
    EXPECT_TRUE(t.channel().try_recv().empty());
  });
}

// TestNewTickerLtZeroDuration, TestTickerResetLtZeroDuration
TEST_P(Time, APeriodMustBePositive) {
  run([] {
    EXPECT_THROW(weft::ticker{0s}, weft::logic_error);
    EXPECT_THROW(weft::ticker{-1s}, weft::logic_error);
    weft::ticker t{1h};
    EXPECT_THROW(t.reset(0s), weft::logic_error);
    const weft::ticker longest{std::chrono::hours::max()};
  });
}

// --- after_func

// TestAfterFunc: a timer function that starts timers
TEST_P(Time, AfterFuncRunsInAFiber) {
  run([] {
    auto done = weft::make_chan<std::uint64_t>(1);
    weft::after_func(1ms, [=] {
      weft::after_func(1ms, [=] { done.send(weft::this_fiber::id()); }).detach();
    }).detach();
    EXPECT_NE(done.recv(), 0U);
    auto handle = weft::after_func(
        0s, [=, v = std::make_unique<int>(7)] { done.send(static_cast<std::uint64_t>(*v)); });
    EXPECT_EQ(done.recv(), 7U);
    EXPECT_FALSE(handle.stop());
  });
}

TEST_P(Time, AfterFuncStops) {
  run([] {
    std::atomic<bool> ran{false};
    auto handle = weft::after_func(1h, [&] { ran = true; });
    EXPECT_TRUE(handle.stop());
    EXPECT_FALSE(handle.stop());
    auto big = weft::after_func(1h, [&, l = large(1)] { ran = l.values[0] != 0; });
    EXPECT_TRUE(big.stop());
    EXPECT_FALSE(ran);
  });
}

TEST_P(Time, AfterFuncStopsWhenItsHandleIsDropped) {
  run([] {
    for (bool in_time = false; !in_time;) {
      auto ran = std::make_shared<std::atomic<bool>>(false);
      const auto due = weft::clock::now() + 2ms;
      {
        auto dropped = weft::after_func(2ms, [=] { *ran = true; });
      }
      in_time = weft::clock::now() < due;  // else it may have fired first, and the round is void
      weft::sleep_for(6ms);
      if (in_time) {
        EXPECT_FALSE(*ran);
      }
    }
  });
}

TEST_P(Time, AfterFuncStopRacesFiringStress) {
  run([] {
    const int n = scaled(in_fibers() ? 3000 : 200);
    std::atomic<int> runs{0};
    int stops = 0;
    for (int i = 0; i < n; ++i) {
      auto handle = weft::after_func(std::chrono::microseconds(i % 20), [&] { ++runs; });
      if (i % 2 == 0) weft::yield();
      if (handle.stop()) ++stops;
    }
    yield_until([&] { return runs + stops == n; });
  });
}

// Nobody holds it but the timers of its runtime, wherever it lies there: in the heap, or (of many)
// in the buckets behind it.
TEST(AfterFuncAtTheEnd, WhatIsPendingIsDestroyed) {
  const auto owned = std::make_shared<int>(1);
  const auto before = weft::stats().live.timers;
  for (const int n : {1, 2000}) {
    weft::run([&] {
      for (int i = 0; i < n; ++i) weft::after_func(1h + 1s * i, [owned] {}).detach();
    });
    EXPECT_EQ(owned.use_count(), 1);
    EXPECT_EQ(weft::stats().live.timers, before);
  }
}

TEST(AfterFuncAtTheEnd, WhatAPlainThreadHasLeftIsDestroyed) {
  const auto owned = std::make_shared<int>(1);
  {
    const weft::runtime rt(weft::options{.procs = 1});
    weft::after_func(1h, [owned] {}).detach();
  }
  EXPECT_EQ(owned.use_count(), 1);
}

TEST(AfterFuncAtTheEnd, StressWhatIsPendingWhilePsComeAndGoIsDestroyed) {
  const auto owned = std::make_shared<int>(1);
  for (int round = 0; round < scaled(100); ++round) {
    weft::run(weft::options{.procs = 4}, [&] {
      weft::wait_group all;
      for (int f = 0; f < 16; ++f) {
        all.go([&] {
          for (int i = 0; i < 20; ++i) {
            weft::after_func(1h, [owned] {}).detach();
            weft::yield();
          }
        });
      }
      EXPECT_TRUE(weft::set_procs(1 + round % 4));
      all.wait();
    });
    EXPECT_EQ(owned.use_count(), 1);
  }
}

// Its fiber is queued when the main fiber returns, and does not begin any more. (Nearly always: a
// round in which it does is void.)
TEST(AfterFuncAtTheEnd, WhatHasFiredAndNotBegunIsDestroyed) {
  const auto owned = std::make_shared<int>(1);
  for (int round = 0; round < 20; ++round) {
    weft::run(weft::options{.procs = 1}, [&] {
      weft::after_func(0s, [owned] {}).detach();
      const weft::timer after_it(1us);
      const auto due = weft::clock::now() + 10us;
      while (weft::clock::now() < due) {
      }
      yield_until([&] { return after_it.channel().len() == 1; });  // both fire in one go
    });
    EXPECT_EQ(owned.use_count(), 1);
  }
}

TEST(AfterFuncAtTheEnd, AHandleMayOutliveItsRuntime) {
  const auto owned = std::make_shared<int>(1);
  weft::after_func_handle handle;
  weft::run([&] { handle = weft::after_func(1h, [owned] {}); });
  EXPECT_FALSE(handle.stop()) << "it was the runtime's end that prevented it";
  handle = weft::after_func_handle();
  EXPECT_EQ(owned.use_count(), 1);
}

TEST(AfterFuncAtTheEnd, StressStoppingRacesTheEnd) {
  const auto owned = std::make_shared<int>(1);
  for (int round = 0; round < scaled(300); ++round) {
    weft::after_func_handle handle;
    std::atomic<bool> there{false};
    std::thread stopper([&] {
      while (!there) std::this_thread::yield();
      (void)handle.stop();
      handle = weft::after_func_handle();
    });
    weft::run(weft::options{.procs = 1}, [&] {
      handle = weft::after_func(1h, [owned] {});
      there = true;
    });
    stopper.join();
    EXPECT_EQ(owned.use_count(), 1);
  }
}

TEST(TimeWithoutRuntime, TimersNeedOneSleepDoesNot) {
  const auto before = weft::stats().live.timers;
  EXPECT_THROW(weft::timer{1h}, weft::no_runtime_error);
  EXPECT_THROW(weft::ticker{1h}, weft::no_runtime_error);
  EXPECT_THROW((void)weft::after(1h), weft::no_runtime_error);
  EXPECT_THROW(weft::after_func(1h, [] {}).detach(), weft::no_runtime_error);
  const auto start = weft::clock::now();
  weft::sleep_for(3ms);
  EXPECT_GE(weft::clock::now() - start, 3ms);
  auto c = weft::make_chan<int>();
  EXPECT_EQ(c.recv_for(3ms).error(), weft::errc::deadline_exceeded);
  EXPECT_EQ(weft::stats().live.timers, before);
}

}  // namespace
