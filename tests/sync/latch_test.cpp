// SPDX-License-Identifier: Apache-2.0
// latch::arrive_and_wait, also with a context. (The rest of latch is in group_test.cpp.)
#include <weft/latch.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <weft/context.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::background;

class Latch : public both_worlds {};
WEFT_BOTH_WORLDS(Latch);

static_assert(weft::latch::max() >= 1'000'000);

TEST_P(Latch, ArriveAndWaitLetsAllGoTogether) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(background());
    weft::latch l(6);
    std::atomic<int> arrived{0};
    crew crowd(in_fibers());
    for (int i = 0; i < 2; ++i) {
      crowd.start([&] {
        ++arrived;
        l.arrive_and_wait(2);
        EXPECT_EQ(arrived, 4);
      });
      crowd.start([&, &until = ctx] {
        ++arrived;
        EXPECT_TRUE(l.arrive_and_wait(until));
        EXPECT_EQ(arrived, 4);
      });
    }
    crowd.join();
    EXPECT_TRUE(l.try_wait());
  });
}

TEST_P(Latch, ArrivingForMoreThanIsMissingThrowsAndChangesNothing) {
  run([] {
    weft::latch l(2);
    EXPECT_THROW(l.arrive_and_wait(3), weft::logic_error);
    EXPECT_THROW(l.arrive_and_wait(-1), weft::logic_error);
    EXPECT_THROW((void)l.arrive_and_wait(background(), 3), weft::logic_error);
    EXPECT_TRUE(l.arrive_and_wait(background(), 2));
    l.arrive_and_wait(0);
  });
}

TEST_P(Latch, ADoneContextCountsNothing) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(background());
    cancel();
    weft::latch l(1);
    EXPECT_EQ(l.arrive_and_wait(ctx).error(), weft::errc::canceled);
    EXPECT_FALSE(l.try_wait());
    l.arrive_and_wait();
    EXPECT_EQ(l.arrive_and_wait(ctx, 0).error(), weft::errc::canceled) << "though it is open";
  });
}

TEST_P(Latch, AContextThatEndsMeanwhileTakesTheArrivalBack) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(background());
    weft::latch l(2);
    crew other(in_fibers());
    other.start(
        [&, &until = ctx] { EXPECT_EQ(l.arrive_and_wait(until).error(), weft::errc::canceled); });
    for (int i = 0; i < 20; ++i) weft::yield();
    cancel();
    other.join();
    auto [timed, cancel_timed] = weft::with_timeout(background(), 2ms);
    EXPECT_EQ(l.arrive_and_wait(timed).error(), weft::errc::deadline_exceeded);
    EXPECT_FALSE(l.try_wait());
    l.count_down(2);  // throws if one of them still counted
    EXPECT_TRUE(l.try_wait());
  });
}

// The context ends beside the last arrival: either this one is counted, or it is missing still.
TEST_P(Latch, GivingUpRacesTheLastArrivalStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 3000 : 300); ++i) {
      auto [ctx, cancel] = weft::with_cancel(background());
      weft::latch l(2);
      bool counted = false;
      crew quitter(in_fibers());
      crew others(in_fibers());
      quitter.start([&, &until = ctx] { counted = l.arrive_and_wait(until).has_value(); });
      others.start([&] { l.count_down(); });
      others.start([&stop = cancel] { stop(); });
      quitter.join();
      others.join();
      EXPECT_EQ(l.try_wait(), counted);
      if (!counted) l.count_down();
      EXPECT_TRUE(l.try_wait());
    }
  });
}

// It may go as soon as one of those who wait is let go: the others do not look at it again.
TEST_P(Latch, DestroyedAtOnceByOneOfThoseWhoArriveStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 3000 : 300); ++i) {
      auto [ctx, cancel] = weft::with_cancel(background());
      auto l = std::make_unique<weft::latch>(2);
      crew other(in_fibers());
      other.start([raw = l.get(), i, &until = ctx] {
        if (i % 2 == 0) {
          raw->arrive_and_wait();
        } else {
          EXPECT_TRUE(raw->arrive_and_wait(until));
        }
      });
      if (i % 3 == 0) {
        EXPECT_TRUE(l->arrive_and_wait(ctx));
      } else {
        l->arrive_and_wait();
      }
      l.reset();
    }
  });
}

}  // namespace
