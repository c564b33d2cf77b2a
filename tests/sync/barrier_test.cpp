// SPDX-License-Identifier: Apache-2.0
// barrier in two steps: arriving now, waiting for the phase later, perhaps with a context. (What
// arrive_and_wait does is in group_test.cpp.)
#include <weft/barrier.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>
#include <weft/context.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::background;

class Barrier : public both_worlds {};
WEFT_BOTH_WORLDS(Barrier);

using token = weft::barrier<>::arrival_token;
static_assert(std::is_nothrow_move_constructible_v<token> &&
              std::is_nothrow_move_assignable_v<token> && !std::is_copy_constructible_v<token>);
static_assert(weft::barrier<>::max() >= 1'000'000);

TEST_P(Barrier, ArrivingAndWaitingAreTwoSteps) {
  run([] {
    std::atomic<int> completed{0};
    const auto completion = [&]() noexcept { ++completed; };
    weft::barrier b(2, completion);
    auto first = b.arrive();
    EXPECT_EQ(completed, 0);
    auto second = b.arrive();
    EXPECT_EQ(completed, 1) << "the last one to arrive runs it";
    b.wait(std::move(first));
    b.wait(std::move(second));
    crew other(in_fibers());
    std::atomic<bool> arrived{false};
    other.start([&] {
      arrived = true;
      (void)b.arrive();
    });
    b.wait(b.arrive());
    EXPECT_TRUE(arrived);
    EXPECT_EQ(completed, 2);
  });
}

TEST_P(Barrier, OneMayArriveForSeveral) {
  run([] {
    weft::barrier b(3);
    EXPECT_THROW((void)b.arrive(0), weft::logic_error);
    EXPECT_THROW((void)b.arrive(-1), weft::logic_error);
    EXPECT_THROW((void)b.arrive(4), weft::logic_error);
    (void)b.arrive(2);
    EXPECT_THROW((void)b.arrive(2), weft::logic_error);
    b.wait(b.arrive());
    b.wait(b.arrive(3));  // the next phase misses all three again
  });
}

TEST_P(Barrier, ThePhaseSeesWhatWasDoneBeforeArriving) {
  run([] {
    const int n = 4;
    const int phases = scaled(200);
    weft::barrier b(n);
    std::vector<int> at(n);
    crew crowd(in_fibers());
    for (int i = 0; i < n; ++i) {
      crowd.start([&, i] {
        for (int p = 1; p <= phases; ++p) {
          at[static_cast<std::size_t>(i)] = p;
          auto t = b.arrive();
          weft::yield();
          b.wait(std::move(t));
          for (const int a : at) EXPECT_EQ(a, p);
          b.arrive_and_wait();  // so that nobody runs ahead of the check
        }
      });
    }
  });
}

TEST_P(Barrier, ADoneContextIsAnErrorAndTheTokenStaysGood) {
  run([] {
    weft::barrier b(2);
    auto [ctx, cancel] = weft::with_cancel(background());
    cancel();
    auto t = b.arrive();
    EXPECT_EQ(b.wait(ctx, t).error(), weft::errc::canceled);
    (void)b.arrive();  // the last one: the first arrival stands
    EXPECT_EQ(b.wait(ctx, t).error(), weft::errc::canceled) << "though the phase is complete";
    EXPECT_TRUE(b.wait(background(), t));
    b.wait(std::move(t));
  });
}

TEST_P(Barrier, AContextThatEndsMeanwhileLeavesTheArrival) {
  run([] {
    weft::barrier b(2);
    auto [ctx, cancel] = weft::with_cancel(background());
    auto t = b.arrive();
    crew other(in_fibers());
    other.start([&, &until = ctx] { EXPECT_EQ(b.wait(until, t).error(), weft::errc::canceled); });
    for (int i = 0; i < 20; ++i) weft::yield();
    cancel();
    other.join();
    auto [timed, cancel_timed] = weft::with_timeout(background(), 2ms);
    EXPECT_EQ(b.wait(timed, t).error(), weft::errc::deadline_exceeded);
    auto last = b.arrive();
    b.wait(std::move(t));
    b.wait(std::move(last));
  });
}

// The context ends beside the last arrival: no arrival is lost, none is counted twice.
TEST_P(Barrier, GivingUpTheWaitRacesTheLastArrivalStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 3000 : 300); ++i) {
      std::atomic<int> completed{0};
      const auto completion = [&]() noexcept { ++completed; };
      weft::barrier b(2, completion);
      auto [ctx, cancel] = weft::with_cancel(background());
      auto t = b.arrive();
      crew others(in_fibers());
      others.start([&] { (void)b.arrive(); });
      others.start([&stop = cancel] { stop(); });
      const auto r = b.wait(ctx, t);
      if (r) {
        EXPECT_EQ(completed, 1);
      } else {
        EXPECT_EQ(r.error(), weft::errc::canceled);
        b.wait(std::move(t));
      }
      others.join();
      EXPECT_EQ(completed, 1);
    }
  });
}

// It may go as soon as a wait has returned, whoever is still on the way out of arrive().
TEST_P(Barrier, DestroyedAtOnceStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 3000 : 300); ++i) {
      auto [ctx, cancel] = weft::with_cancel(background());
      auto b = std::make_unique<weft::barrier<>>(2);
      crew other(in_fibers());
      other.start([raw = b.get()] { (void)raw->arrive(); });
      if (i % 2 == 0) {
        b->wait(b->arrive());
      } else {
        EXPECT_TRUE(b->wait(ctx, b->arrive()));
      }
      b.reset();
    }
  });
}

}  // namespace
