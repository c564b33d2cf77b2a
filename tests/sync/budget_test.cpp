// SPDX-License-Identifier: Apache-2.0
// budget: never more fibers than it says, places that come back, and the work done or refused.
#include <weft/budget.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/fiber.hpp>
#include <weft/log.hpp>

#include "tests/chan/heap_count.hpp"
#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::background;

class Budget : public both_worlds {};
WEFT_BOTH_WORLDS(Budget);

TEST_P(Budget, AStrictOneRefusesBeyondItsLimit) {
  run([] {
    weft::budget b(3, weft::budget::strict);
    weft::chan<int> gate = weft::make_chan<int>();
    std::atomic<int> ran{0};
    const auto task = [&] {
      static_cast<void>(gate.recv());
      ++ran;
    };
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(b.go(task));
    const auto refused = b.go(task);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error(), weft::errc::quota_exceeded);
    EXPECT_EQ(b.stats().in_use, 3U);
    EXPECT_EQ(b.stats().refused, 1U);
    gate.close();
    b.wait();
    EXPECT_EQ(ran, 3);
    EXPECT_EQ(b.stats().in_use, 0U);
    EXPECT_TRUE(b.go(task));  // there is room again
    b.wait();
    EXPECT_EQ(b.stats().started, 4U);
    EXPECT_EQ(b.stats().peak, 3U);
    EXPECT_EQ(b.limit(), 3U);
  });
}

TEST_P(Budget, ARefusedFunctionIsUntouched) {
  run([] {
    weft::budget b(0);
    auto task = [owned = std::make_unique<int>(5)] { static_cast<void>(*owned); };
    EXPECT_EQ(b.go(std::move(task)).error(), weft::errc::quota_exceeded);
    weft::budget roomy(1);
    EXPECT_TRUE(roomy.go(std::move(task)));  // NOLINT(bugprone-use-after-move): that is the point
    roomy.wait();
  });
}

TEST_P(Budget, AnAdaptiveOneRunsInline) {
  run([] {
    weft::budget b(1, weft::budget::adaptive);
    auto gate = weft::make_chan<int>();
    EXPECT_TRUE(b.go([&] { static_cast<void>(gate.recv()); }));
    const auto self = weft::this_fiber::id();
    const auto thread = std::this_thread::get_id();
    bool ran = false;
    EXPECT_TRUE(b.go([&] {
      ran = true;
      EXPECT_EQ(weft::this_fiber::id(), self);
      if (!in_fibers()) {
        EXPECT_EQ(std::this_thread::get_id(), thread);
      }
    }));
    EXPECT_TRUE(ran);
    EXPECT_EQ(b.stats().ran_inline, 1U);
    gate.close();
    b.wait();
  });
}

// The tree of calls starts as many fibers as there is room for, and all of its leaves are done.
int tree(const weft::context& ctx, int depth) {
  if (depth == 0) return 1;
  int left = 0;
  int right = 0;
  weft::wait_group both;
  both.add(2);
  for (int* side : {&left, &right}) {
    EXPECT_TRUE(weft::go_within(ctx, [side, depth, &both](const weft::context& c) {
      *side = tree(c, depth - 1);
      both.done();
    }));
  }
  both.wait();
  return left + right;
}

TEST_P(Budget, TravelsInItsContext) {
  run([] {
    for (const std::size_t limit : {0U, 1U, 5U, 1000U}) {
      weft::budget b(limit, weft::budget::adaptive);
      EXPECT_EQ(weft::budget::of(b.context()), &b);
      auto [below, cancel] = weft::with_cancel(b.context());
      EXPECT_EQ(weft::budget::of(below), &b);
      EXPECT_EQ(tree(below, 6), 64);
      b.wait();
      EXPECT_LE(b.stats().peak, limit);
      EXPECT_EQ(b.stats().started + b.stats().ran_inline, 126U);
    }
    EXPECT_EQ(weft::budget::of(background()), nullptr);
    weft::wait_group wg;
    wg.add(2);
    EXPECT_TRUE(weft::go_within(background(), [&] { wg.done(); }));
    EXPECT_TRUE(weft::go_within(background(), [&](const weft::context& c) {
      EXPECT_EQ(weft::budget::of(c), nullptr);
      wg.done();
    }));
    wg.wait();
  });
}

TEST_P(Budget, TheNearestOneCounts) {
  run([] {
    weft::budget outer(5);
    weft::budget inner(outer.context(), 2);
    EXPECT_EQ(weft::budget::of(inner.context()), &inner);
    bool seen = false;
    EXPECT_TRUE(inner.go([&](const weft::context& c) { seen = weft::budget::of(c) == &inner; }));
    inner.wait();
    EXPECT_TRUE(seen);
    EXPECT_EQ(outer.stats().started, 0U);
  });
}

TEST_P(Budget, CarriesTheRequestsContext) {
  run([] {
    auto [request, cancel] = weft::with_cancel(background());
    weft::budget b(request, 4);
    EXPECT_TRUE(b.go([](const weft::context& c) {
      static_cast<void>(c.done().recv());
      EXPECT_EQ(c.err(), weft::errc::canceled);
    }));
    cancel();
    b.wait();
  });
}

TEST_P(Budget, WhatATaskOwnedIsGoneWhenItsPlaceIs) {
  const int before = counted::alive;
  run([before] {
    weft::budget b(1);
    for (int i = 0; i < scaled(200); ++i) {
      EXPECT_TRUE(b.go([c = std::make_unique<counted>(i)] {}));
      b.wait();
      EXPECT_EQ(counted::alive, before);
      EXPECT_EQ(b.stats().in_use, 0U);
    }
  });
}

TEST_P(Budget, WaitRethrowsTheFirstExceptionWhereverItRan) {
  run([] {
    for (const std::size_t limit : {0U, 2U}) {
      weft::budget b(limit, weft::budget::adaptive);
      EXPECT_TRUE(b.go([] { throw std::runtime_error("first"); }));
      EXPECT_THROW(b.wait(), std::runtime_error);
      b.wait();  // once
      EXPECT_TRUE(b.go([] { throw 5; }));
      EXPECT_THROW(static_cast<void>(b.wait(background())), int);
    }
  });
}

TEST_P(Budget, AnExceptionThatNobodyWaitsForIsLogged) {
  run([] {
    std::mutex lock;
    std::string text;
    weft::set_log_sink([&](std::string_view line) {
      const std::lock_guard hold(lock);
      text += line;
    });
    {
      weft::budget b(2);
      EXPECT_TRUE(b.go([] { throw std::runtime_error("nobody waits for me"); }));
    }
    weft::set_log_sink({});
    EXPECT_NE(text.find("nobody waits for me"), std::string::npos) << text;
  });
}

TEST_P(Budget, WaitEndsWithItsContext) {
  run([] {
    weft::budget b(1);
    auto gate = weft::make_chan<int>();
    EXPECT_TRUE(b.go([&] { static_cast<void>(gate.recv()); }));
    auto [ctx, cancel] = weft::with_cancel(background());
    cancel();
    EXPECT_EQ(b.wait(ctx).error(), weft::errc::canceled);
    gate.close();
    EXPECT_TRUE(b.wait(background()));
  });
}

TEST(BudgetAlone, SaysThatThereIsNoRuntime) {
  weft::budget b(2, weft::budget::adaptive);
  EXPECT_EQ(b.go([] {}).error(), weft::errc::no_runtime);
  EXPECT_EQ(weft::go_within(b.context(), [] {}).error(), weft::errc::no_runtime);
  EXPECT_EQ(weft::go_within(background(), [] {}).error(), weft::errc::no_runtime);
  b.wait();
}

TEST_P(Budget, TheLimitHoldsAtEveryMomentStress) {
  run([] {
    constexpr int limit = 3;
    for (const auto mode : {weft::budget_mode::strict, weft::budget_mode::adaptive}) {
      weft::budget b(limit, mode);
      std::atomic<int> running{0};
      std::atomic<int> ran{0};
      std::atomic<int> accepted{0};
      crew users(in_fibers());
      for (int u = 0; u < 6; ++u) {
        users.start([&] {
          for (int i = 0; i < scaled(1000); ++i) {
            const auto self = weft::this_fiber::id();
            const bool ok = b.go([&, self] {
                               const bool here = weft::this_fiber::id() == self;
                               if (!here) {
                                 EXPECT_LE(++running, limit);
                               }
                               weft::yield();
                               ++ran;
                               if (!here) --running;
                             }).has_value();
            if (ok) ++accepted;
            if (!ok || i % 8 == 0) weft::yield();
          }
        });
      }
      users.join();
      b.wait();
      EXPECT_EQ(ran, accepted);
      EXPECT_EQ(b.stats().in_use, 0U);
      EXPECT_LE(b.stats().peak, std::size_t{limit});
    }
  });
}

TEST_P(Budget, DestroyedAtOnceStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 3000 : 300); ++i) {
      std::atomic<int> ran{0};
      {
        auto b = std::make_unique<weft::budget>(2, weft::budget::adaptive);
        for (int k = 0; k < 4; ++k) EXPECT_TRUE(b->go([&] { ++ran; }));
      }
      EXPECT_EQ(ran, 4);
    }
  });
}

TEST_P(Budget, GoTakesNothingFromTheHeap) {
  run([] {
    weft::budget b(4, weft::budget::adaptive);
    std::atomic<int> ran{0};
    const auto use = [&] {
      for (int i = 0; i < 200; ++i) static_cast<void>(b.go([&ran] { ++ran; }));
      b.wait();
    };
    use();
    long least = -1;
    for (int k = 0; k < 10 && least != 0; ++k) {
      const long taken = heap_blocks_of(use);
      least = least < 0 || taken < least ? taken : least;
    }
    EXPECT_EQ(least, 0);
  });
}

}  // namespace
