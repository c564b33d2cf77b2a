// SPDX-License-Identifier: Apache-2.0
// Callbacks on a context, after Go's TestAfterFunc*, and the bridges to std::stop_token.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <stop_token>
#include <string>
#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/fiber.hpp>
#include <weft/run.hpp>
#include <weft/stats.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::after_func;
using weft::background;
using weft::with_cancel;
using weft::with_timeout;

class AfterFunc : public both_worlds {};
WEFT_BOTH_WORLDS(AfterFunc);

// TestAfterFuncCalledAfterCancel, ...CalledAsynchronously: in a fiber of its own.
TEST_P(AfterFunc, RunsAfterCancelInAFiberOfItsOwn) {
  run([] {
    auto [ctx, cancel] = with_cancel(background());
    auto ran = weft::make_chan<std::uint64_t>();
    auto handle = after_func(ctx, [=] { ran.send(weft::this_fiber::id()); });
    EXPECT_TRUE(ran.try_recv().empty());
    cancel();  // does not wait for it: the send below needs us
    const auto id = *ran.recv();
    EXPECT_NE(id, 0U);
    EXPECT_NE(id, weft::this_fiber::id());
    EXPECT_FALSE(handle.stop());
  });
}

// TestAfterFuncCalledAfterTimeout
TEST_P(AfterFunc, RunsAfterATimeout) {
  run([] {
    auto [ctx, cancel] = with_timeout(background(), 3ms);
    auto ran = weft::make_chan<weft::unit>(1);
    auto handle = after_func(ctx, [=] { ran.send({}); });
    EXPECT_TRUE(ran.recv());
  });
}

// TestAfterFuncCalledImmediately
TEST_P(AfterFunc, RunsAtOnceOnADoneContext) {
  run([] {
    auto [ctx, cancel] = with_cancel(background());
    cancel();
    auto ran = weft::make_chan<weft::unit>(1);
    auto handle = after_func(ctx, [=] { ran.send({}); });
    EXPECT_FALSE(handle.stop());
    EXPECT_TRUE(ran.recv());
  });
}

// TestAfterFuncNotCalledAfterStop
TEST_P(AfterFunc, DoesNotRunAfterStop) {
  run([] {
    auto [ctx, cancel] = with_cancel(background());
    std::atomic<bool> ran{false};
    auto handle = after_func(ctx, [&] { ran = true; });
    EXPECT_TRUE(handle.stop());
    EXPECT_FALSE(handle.stop());  // only one call prevented it
    cancel();
    for (int i = 0; i < 50; ++i) weft::yield();
    EXPECT_FALSE(ran);
  });
}

TEST_P(AfterFunc, DroppingTheHandleStops) {
  run([] {
    auto [ctx, cancel] = with_cancel(background());
    std::atomic<bool> ran{false};
    {
      auto handle = after_func(ctx, [&] { ran = true; });
    }
    auto second = after_func(ctx, [&] { ran = true; });
    second = after_func(background(), [] {});
    EXPECT_TRUE(second.stop());
    cancel();
    for (int i = 0; i < 50; ++i) weft::yield();
    EXPECT_FALSE(ran);
  });
}

TEST_P(AfterFunc, DetachLetsItRun) {
  run([] {
    auto [ctx, cancel] = with_cancel(background());
    auto ran = weft::make_chan<move_only>(1);
    {
      auto handle =
          after_func(ctx, [=, v = std::make_unique<int>(4)]() mutable { ran.send(std::move(v)); });
      handle.detach();
      EXPECT_FALSE(handle.stop());
    }
    after_func(background(), [] {}).detach();  // never: nothing is left behind
    cancel();
    EXPECT_EQ(**ran.recv(), 4);
  });
}

TEST_P(AfterFunc, LargeClosures) {
  run([] {
    auto [ctx, cancel] = with_cancel(background());
    auto ran = weft::make_chan<int>(1);
    auto handle = after_func(ctx, [=, l = large(9)] { ran.send(l.values[500]); });
    cancel();
    EXPECT_EQ(ran.recv(), 9);
  });
}

TEST_P(AfterFunc, StopRacesCancelStress) {
  run([] {
    const int rounds = scaled(in_fibers() ? 5000 : 500);
    std::atomic<int> runs{0};
    int stops = 0;
    for (int i = 0; i < rounds; ++i) {
      auto [ctx, cancel] = with_cancel(background());
      auto ran = weft::make_chan<weft::unit>(1);
      auto handle = after_func(ctx, [&, ran] {
        ++runs;
        ran.send({});
      });
      crew other(in_fibers());
      other.start([&, &stop = cancel] { stop(); });
      if (handle.stop()) {
        ++stops;
      } else {
        EXPECT_TRUE(ran.recv());  // false: it has run or will
      }
    }
    EXPECT_EQ(runs + stops, rounds);
  });
}

TEST(AfterFuncWithoutRuntime, RunsInTheCancellingThread) {
  auto [ctx, cancel] = with_cancel(background());
  bool ran = false;
  auto handle = after_func(ctx, [&] { ran = true; });
  cancel();
  EXPECT_TRUE(ran);
}

// Its fiber is queued when the main fiber returns, and does not begin any more. (Nearly always: a
// round in which it does is void.)
TEST(AfterFuncAtTheEnd, WhatHasNotBegunIsDestroyed) {
  const auto owned = std::make_shared<int>(1);
  const auto before = weft::stats().live.contexts;
  for (int round = 0; round < 20; ++round) {
    weft::run(weft::options{.procs = 1}, [&] {
      auto [ctx, cancel] = with_cancel(background());
      after_func(ctx, [owned] {}).detach();
      cancel();
    });
    EXPECT_EQ(owned.use_count(), 1);
    EXPECT_EQ(weft::stats().live.contexts, before);
  }
}

// The same of the fiber that cancels what lies below a context whose deadline has passed.
TEST(AfterFuncAtTheEnd, ADeadlineThatPassedLastLeavesNothing) {
  const auto before = weft::stats().live.contexts;
  for (int round = 0; round < 20; ++round) {
    weft::run(weft::options{.procs = 1}, [] {
      auto [above, cancel_above] = with_timeout(background(), 200us);
      auto [below, cancel_below] = with_cancel(above);
      while (!above.err()) weft::yield();
    });
    EXPECT_EQ(weft::stats().live.contexts, before);
  }
}

TEST_P(AfterFunc, AStopTokenCancelsAContext) {
  run([] {
    std::stop_source source;
    auto [ctx, cancel] = weft::with_stop_token(background(), source.get_token());
    EXPECT_FALSE(ctx.err());
    (void)source.request_stop();
    EXPECT_EQ(ctx.err(), weft::errc::canceled);
    auto [born, cancel_born] = weft::with_stop_token(background(), source.get_token());
    EXPECT_EQ(born.err(), weft::errc::canceled);
    std::stop_source late;
    {
      auto [gone, cancel_gone] = weft::with_stop_token(background(), late.get_token());
    }
    (void)late.request_stop();  // nobody listens any more
  });
}

TEST_P(AfterFunc, AContextStopsAStopSource) {
  run([] {
    auto [ctx, cancel] = with_cancel(background());
    const weft::stop_bridge bridge(ctx);
    const std::stop_token token = bridge.get_token();
    EXPECT_FALSE(token.stop_requested());
    cancel();
    yield_until([&] { return token.stop_requested(); });
    const weft::stop_bridge born(ctx);
    EXPECT_TRUE(born.get_token().stop_requested());
  });
}

TEST_P(AfterFunc, StopRequestRacesCancelStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 1000 : 200); ++i) {
      std::stop_source source;
      crew other(in_fibers());
      other.start([&] { (void)source.request_stop(); });
      auto [ctx, cancel] = weft::with_stop_token(background(), source.get_token());
      cancel();
      EXPECT_TRUE(ctx.err());
    }
  });
}

}  // namespace
