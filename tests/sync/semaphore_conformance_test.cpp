// SPDX-License-Identifier: Apache-2.0
// What the tests of golang.org/x/sync/semaphore check and group_test.cpp does not. Each test names
// the one whose idea it is.
#include <weft/semaphore.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/fiber.hpp>
#include <weft/run.hpp>
#include <weft/stats.hpp>
#include <weft/wait_group.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::background;
using weft::errc;

class SemaphoreConformance : public both_worlds {};
WEFT_BOTH_WORLDS(SemaphoreConformance);

// Go: x/sync/semaphore TestWeightedAcquireCanceled: with a context that is done nothing is taken,
// however much is free.
TEST_P(SemaphoreConformance, ADoneContextTakesNoUnits) {
  run([] {
    weft::semaphore s(2);
    auto [canceled, cancel] = weft::with_cancel(background());
    cancel();
    auto [late, cancel_late] = weft::with_timeout(background(), -1s);
    for (const std::size_t n : {1U, 2U, 3U}) {
      EXPECT_EQ(s.acquire(canceled, n).error(), errc::canceled);
      EXPECT_EQ(s.acquire(late, n).error(), errc::deadline_exceeded);
    }
    EXPECT_EQ(s.available(), 2U);
    EXPECT_TRUE(s.try_acquire(2));  // nobody stands in the line either
    EXPECT_EQ(s.acquire(canceled).error(), errc::canceled);
    s.release(2);
    EXPECT_EQ(s.available(), 2U);
  });
}

// Go: x/sync/semaphore TestWeightedAcquireCanceled, TestAllocCancelDoesntStarve: a release beside a
// cancellation: the units are the waiter's, or the next one's, and all come back.
TEST_P(SemaphoreConformance, ACancellationRacesAReleaseWithExactBooksStress) {
  run([] {
    weft::semaphore s(3);
    std::atomic<int> held{0};
    const auto use = [&](int units) {
      EXPECT_LE(held += units, 3);
      weft::yield();
      held -= units;
      s.release(static_cast<std::size_t>(units));
    };
    for (int i = 0; i < scaled(in_fibers() ? 3000 : 200); ++i) {
      auto [ctx, cancel] = weft::with_cancel(background());
      s.acquire(3);
      crew crowd(in_fibers());
      crowd.start([&, &until = ctx] {
        if (s.acquire(until, 3)) use(3);
      });
      if (i % 2 == 0) weft::yield();
      crowd.start([&] {  // before or behind the other one; nobody cancels it
        s.acquire(2);
        use(2);
      });
      if (i % 4 < 2) weft::yield();
      crowd.start([&, &stop = cancel] { stop(); });
      s.release(1);
      s.release(2);
      crowd.join();
      ASSERT_EQ(s.available(), 3U) << "round " << i;
    }
  });
}

// Go: x/sync/semaphore, its list of waiters: whatever they want, they are served in the order in
// which they came, each when its units are complete, and nobody takes from those who wait.
TEST(SemaphoreOrder, WaitersOfAllWeightsAreServedInTurn) {
  (void)weft::run([] {
    constexpr std::array<std::size_t, 6> wanted{3, 1, 4, 2, 1, 1};
    weft::semaphore s(12);
    auto served = weft::make_chan<std::size_t>(wanted.size());
    s.acquire(12);
    weft::wait_group all;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      all.go([&, i] {
        s.acquire(wanted[i]);
        served.send(i);
      });
      // It counts as waiting from within the semaphore, so it stands in the line when we have been
      // there as well.
      yield_until([&] { return weft::stats().waiting == static_cast<std::int64_t>(i) + 1; });
      EXPECT_EQ(s.available(), 0U);
    }
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (wanted[i] > 1) {
        s.release(wanted[i] - 1);
        EXPECT_EQ(s.available(), wanted[i] - 1);  // those behind would be content with less
        EXPECT_FALSE(s.try_acquire());
        EXPECT_FALSE(s.try_acquire_for(100us));
        EXPECT_EQ(served.len(), 0U);
      }
      s.release(1);
      EXPECT_EQ(served.recv(), i);
      EXPECT_EQ(s.available(), 0U);
    }
    all.wait();
    s.release(12);
    EXPECT_EQ(s.available(), 12U);
  });
}

}  // namespace
