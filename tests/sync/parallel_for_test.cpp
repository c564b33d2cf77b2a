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
    std::atomic<long> sum{0};
    weft::wait_group wg;
    for (int k = 0; k < 20; ++k) {
      wg.go([&] {
        for (int round = 0; round < 20; ++round) {
          weft::parallel_for(0, 100, [&](int i) { sum += i; });
        }
      });
    }
    wg.wait();
    EXPECT_EQ(sum.load(), 20L * 20 * 4950);
  });
}

}  // namespace
