// SPDX-License-Identifier: Apache-2.0
// parallel_for: each turn once, whatever the range, the grain and the caller.
#include <weft/parallel_for.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include <weft/weft.hpp>

#include "tests/chan/support.hpp"

namespace {

TEST(ParallelFor, DoesEachTurnOnceWhateverTheGrain) {
  weft::run([] {
    for (const std::uint64_t grain : {0U, 1U, 7U, 1000U, 5000U}) {
      std::vector<std::atomic<int>> turns(1000);
      weft::parallel_for(0, turns.size(), [&](std::size_t i) { turns[i].fetch_add(1); },
                         {.grain = grain});
      for (const auto& t : turns) EXPECT_EQ(t.load(), 1);
    }
  });
}

TEST(ParallelFor, TakesEmptyNegativeAndExtremeRanges) {
  weft::run([] {
    std::atomic<long> sum{0};
    weft::parallel_for(5, 5, [&](int) { sum = 1000; });
    weft::parallel_for(5, 3, [&](int) { sum = 1000; });
    EXPECT_EQ(sum.load(), 0);
    weft::parallel_for(-10, 11, [&](int i) { sum += i; });
    EXPECT_EQ(sum.load(), 0);
    constexpr auto most = std::numeric_limits<std::int64_t>::max();
    std::atomic<int> count{0};
    weft::parallel_for(most - 3, most, [&](std::int64_t i) { count += i >= most - 3 ? 1 : 0; });
    weft::parallel_for(std::int8_t{-128}, std::int8_t{127}, [&](int) { ++count; });
    EXPECT_EQ(count.load(), 3 + 255);
  });
}

struct [[nodiscard]] not_to_be_dropped {};

TEST(ParallelFor, DropsWhatTheFunctionReturns) {
  weft::run([] {
    std::atomic<int> turns{0};
    const auto turn = [&turns](int) {
      ++turns;
      return not_to_be_dropped{};
    };
    weft::parallel_for(0, 3, turn);
    EXPECT_TRUE(weft::parallel_for(weft::background(), 0, 3, turn));
    EXPECT_EQ(turns, 6);
  });
}

TEST(ParallelFor, WritesOfTheTurnsAreSeenAfterwards) {
  weft::run([] {
    std::vector<int> squares(10'000);
    weft::parallel_for(0, 10'000, [&](int i) { squares[static_cast<std::size_t>(i)] = i % 100; });
    EXPECT_EQ(std::accumulate(squares.begin(), squares.end(), 0), 100 * 4950);
  });
}

TEST(ParallelFor, NestsAndMayBlockInside) {
  weft::run([] {
    std::atomic<int> leaves{0};
    weft::parallel_for(0, 20, [&](int) {
      weft::parallel_for(0, 20, [&](int) {
        weft::yield();
        ++leaves;
      });
    });
    EXPECT_EQ(leaves.load(), 400);
  });
}

TEST(ParallelFor, TheFirstExceptionIsRethrownAndTheRestLeftOut) {
  weft::run([] {
    std::atomic<int> turns{0};
    EXPECT_THROW(weft::parallel_for(0, 1'000'000,
                                    [&](int) {
                                      ++turns;
                                      throw std::runtime_error("no");
                                    },
                                    {.grain = 1}),
                 std::runtime_error);
    EXPECT_LE(turns.load(), 64);  // one a helper
    EXPECT_GE(turns.load(), 1);
  });
}

TEST(ParallelFor, FromAPlainThreadItRunsOnTheWorkers) {
  weft::runtime rt{weft::options{.procs = 2}};
  std::atomic<int> in_fibers{0};
  weft::parallel_for(0, 100, [&](int) { in_fibers += weft::this_fiber::id() != 0 ? 1 : 0; });
  EXPECT_EQ(in_fibers.load(), 100);
}

TEST(ParallelFor, WithoutARuntimeItThrows) {
  EXPECT_THROW(weft::parallel_for(0, 10, [](int) {}), weft::no_runtime_error);
}

TEST(ParallelFor, StressManyLoopsAtOnce) {
  weft::run([] {
    // (Each loop starts a fiber for every P, and TSan takes 0.3 ms for a fiber.)
    constexpr int rounds = WEFT_TSAN ? 5 : 20;
    std::atomic<long> sum{0};
    weft::wait_group wg;
    for (int k = 0; k < 20; ++k) {
      wg.go([&] {
        for (int round = 0; round < rounds; ++round) {
          weft::parallel_for(0, 100, [&](int i) { sum += i; });
        }
      });
    }
    wg.wait();
    EXPECT_EQ(sum.load(), 20L * rounds * 4950);
  });
}

// --- with a context

class ParallelForUntil : public weft_test::both_worlds {};
WEFT_BOTH_WORLDS(ParallelForUntil);

TEST_P(ParallelForUntil, DoesEachTurnOnceWhileItsContextLasts) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    for (const std::uint64_t grain : {0U, 1U, 7U, 5000U}) {
      std::vector<std::atomic<int>> turns(1000);
      EXPECT_TRUE(weft::parallel_for(
          ctx, 0, turns.size(), [&](std::size_t i) { turns[i].fetch_add(1); }, {.grain = grain}));
      for (const auto& t : turns) EXPECT_EQ(t.load(), 1);
    }
    EXPECT_TRUE(weft::parallel_for(ctx, 5, 5, [](int) { FAIL(); }));
    EXPECT_TRUE(weft::parallel_for(weft::background(), 0, 10, [](int) {}));
  });
}

TEST_P(ParallelForUntil, ADoneContextLeavesEverythingOut) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    cancel();
    const auto r = weft::parallel_for(ctx, 0, 1000, [](int) { FAIL(); });
    ASSERT_FALSE(r);
    EXPECT_EQ(r.error(), weft::errc::canceled);
    EXPECT_FALSE(weft::parallel_for(ctx, 5, 5, [](int) {})) << "also if there is nothing to do";
  });
}

TEST_P(ParallelForUntil, TheEndOfItsContextLeavesOutWhatHasNotBegun) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    std::atomic<int> turns{0};
    const auto r = weft::parallel_for(ctx, 0, 1'000'000,
                                      [&turns, &stop = cancel](int) {
                                        ++turns;
                                        stop();
                                      },
                                      {.grain = 1});
    ASSERT_FALSE(r);
    EXPECT_EQ(r.error(), weft::errc::canceled);
    EXPECT_LE(turns, 256);  // one a helper
    EXPECT_GE(turns, 1);
  });
}

TEST_P(ParallelForUntil, WhatHasBegunEndsBeforeItReturns) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    std::atomic<int> begun{0};
    std::atomic<int> ended{0};
    weft_test::crew other(in_fibers());
    other.start([&begun, &stop = cancel] {
      weft_test::yield_until([&] { return begun != 0; });
      stop();
    });
    const auto r = weft::parallel_for(ctx, 0, 1000,
                                      [&, &until = ctx](int) {
                                        ++begun;
                                        (void)until.done().recv();
                                        weft::yield();
                                        ++ended;
                                      },
                                      {.grain = 1});
    ASSERT_FALSE(r);
    EXPECT_EQ(r.error(), weft::errc::canceled);
    EXPECT_EQ(begun, ended);
    EXPECT_LT(ended, 1000);
  });
}

TEST_P(ParallelForUntil, AnEndThatComesTooLateIsNoError) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    EXPECT_TRUE(weft::parallel_for(ctx, 0, 1, [&stop = cancel](int) { stop(); }));
    EXPECT_TRUE(ctx.err());
  });
}

TEST_P(ParallelForUntil, AnExceptionGoesBeforeTheContextsError) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    EXPECT_THROW((void)weft::parallel_for(ctx, 0, 1000,
                                          [&stop = cancel](int) {
                                            stop();
                                            throw std::runtime_error("no");
                                          },
                                          {.grain = 1}),
                 std::runtime_error);
  });
}

TEST_P(ParallelForUntil, AnEndThatRacesTheTurnsStress) {
  run([] {
    const int size = 64;
    for (int i = 0; i < weft_test::scaled(in_fibers() ? 1000 : 200); ++i) {
      auto [ctx, cancel] = weft::with_cancel(weft::background());
      std::vector<std::atomic<int>> turns(size);
      weft_test::crew other(in_fibers());
      other.start([&stop = cancel] { stop(); });
      const auto r = weft::parallel_for(
          ctx, 0, size, [&](int k) { turns[static_cast<std::size_t>(k)].fetch_add(1); },
          {.grain = 3});
      int done = 0;
      for (const auto& t : turns) {
        EXPECT_LE(t.load(), 1);
        done += t.load();
      }
      if (r) {
        EXPECT_EQ(done, size);
      } else {
        EXPECT_EQ(r.error(), weft::errc::canceled);
        EXPECT_LT(done, size);
        EXPECT_EQ(done % 3, 0) << "a piece was begun and not ended";
      }
    }
  });
}

TEST(ParallelFor, WithAContextAndWithoutARuntimeItSaysSo) {
  const auto r = weft::parallel_for(weft::background(), 0, 10, [](int) { FAIL(); });
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error(), weft::errc::no_runtime);
}

}  // namespace
