// SPDX-License-Identifier: Apache-2.0
// rate_limiter: the tests of golang.org/x/time/rate, with times that are given, not waited for; and
// the queue: order, giving up, changes of rate. Waits that are ended by a change of rate stand at
// one token an hour before it.
#include <weft/rate_limiter.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>
#include <weft/context.hpp>
#include <weft/fiber.hpp>

#include "tests/chan/heap_count.hpp"
#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::background;
using weft::rate_limiter;
using weft::token_rate;

class RateLimiter : public both_worlds {};
WEFT_BOTH_WORLDS(RateLimiter);

constexpr auto hourly = [] { return token_rate::every(1h); };

/// A moment that the real clock does not reach during a test.
weft::time_point later() { return weft::clock::now() + 1h; }

// --- the bucket, at given times

// TestAllow, TestLimiterBurst1
TEST(RateLimiterBucket, TokensComeAtTheRateUpToTheBurst) {
  rate_limiter l(10, 3);
  const auto t = later();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(l.try_acquire_at(t));
  EXPECT_FALSE(l.try_acquire_at(t));
  EXPECT_FALSE(l.try_acquire_at(t + 99ms));
  EXPECT_TRUE(l.try_acquire_at(t + 100ms));  // exactly
  EXPECT_FALSE(l.try_acquire_at(t + 100ms));
  EXPECT_FALSE(l.try_acquire_at(t + 299ms, 2));
  EXPECT_TRUE(l.try_acquire_at(t + 300ms, 2));
  EXPECT_TRUE(l.try_acquire_at(t + 1h, 3));  // no more than the burst is kept
  EXPECT_FALSE(l.try_acquire_at(t + 1h));
  EXPECT_FALSE(l.try_acquire_at(t + 2h, 4));  // more than the burst, ever
  EXPECT_TRUE(l.try_acquire_at(t + 2h, 0));
  EXPECT_EQ(l.burst(), 3U);
  EXPECT_EQ(l.rate().per_second(), 10);
}

// TestLimiterJumpBackwards: time that goes back brings nothing, and takes nothing.
TEST(RateLimiterBucket, TimeDoesNotGoBack) {
  rate_limiter l(10, 3);
  const auto t = later();
  EXPECT_TRUE(l.try_acquire_at(t + 1s, 3));
  EXPECT_FALSE(l.try_acquire_at(t));
  EXPECT_FALSE(l.try_acquire_at(t - 2h));
  EXPECT_FALSE(l.try_acquire_at(t + 1s));
  EXPECT_TRUE(l.try_acquire_at(t + 1100ms));
  EXPECT_FALSE(l.try_acquire_at(t + 1s));
}

// TestNoTruncationErrors, TestLongRunningQPS without the running.
TEST(RateLimiterBucket, NothingDrifts) {
  struct {
    token_rate rate;
    std::chrono::nanoseconds step;
    int steps;
    int expected;  // with the two that are there at first
  } const cases[] = {
      {token_rate::per(3, 1s), 1ms, 100'000, 302},
      {token_rate::per(7, 3s), 999'983ns, 90'000, 2 + 209},  // 89.99847 s
      {0.7, 1ms, 100'001, 72},
      {3.3, 1ms, 100'001, 332},
  };
  for (const auto& c : cases) {
    rate_limiter l(c.rate, 2);
    const auto t = later();
    int passed = 0;
    for (int i = 0; i < 2; ++i) passed += l.try_acquire_at(t) ? 1 : 0;
    for (int i = 1; i <= c.steps; ++i) passed += l.try_acquire_at(t + i * c.step) ? 1 : 0;
    EXPECT_EQ(passed, c.expected) << c.rate.per_second();
  }
}

TEST(RateLimiterBucket, RatesAreWhatWasSaid) {
  for (const double r : {0.0, 1e-3, 0.1, 1.0 / 3, 1.0, 2.5, 100.0, 12345.678, 1e9, 1e12, 1e18}) {
    EXPECT_NEAR(token_rate(r).per_second(), r, r * 1e-9) << r;
  }
  EXPECT_EQ(token_rate::per(5, 1min).per_second(), 5.0 / 60);
  EXPECT_EQ(token_rate::every(250ms).per_second(), 4);
  EXPECT_TRUE(token_rate::unlimited().is_unlimited());
  EXPECT_TRUE(token_rate(std::numeric_limits<double>::infinity()).is_unlimited());
  EXPECT_TRUE(std::isinf(token_rate::unlimited().per_second()));
  EXPECT_THROW((void)token_rate(-1), weft::logic_error);
  EXPECT_THROW((void)token_rate(std::nan("")), weft::logic_error);
  EXPECT_THROW((void)token_rate::every(0s), weft::logic_error);
  EXPECT_THROW((void)token_rate::per(1, -1s), weft::logic_error);
}

// TestLimiter_noTruncationErrors, TestZeroLimit, TestInfinite... and further out.
TEST(RateLimiterBucket, ExtremesDoNotOverflow) {
  constexpr auto most = std::numeric_limits<std::uint64_t>::max();
  constexpr auto end = weft::time_point::max();
  for (const token_rate r :
       {token_rate(0), token_rate(5e-324), token_rate(1e-9), token_rate(1e18), token_rate(1e300),
        token_rate::per(most, 1ns), token_rate::per(1, std::chrono::hours::max()),
        token_rate::per(most, std::chrono::hours::max()), token_rate::unlimited()}) {
    for (const std::uint64_t burst : {std::uint64_t{0}, std::uint64_t{1}, most}) {
      rate_limiter l(r, burst);
      const auto t = later();
      EXPECT_EQ(l.try_acquire_at(t), burst > 0 || r.is_unlimited());
      (void)l.try_acquire_at(t, l.burst());
      (void)l.try_acquire_at(t, most);
      for (int round = 0; round < 3; ++round) {
        std::vector<rate_limiter::reservation> kept;
        for (int i = 0; i < 4; ++i) {
          if (auto reserved = l.reserve_at(t, l.burst())) kept.push_back(std::move(*reserved));
        }
      }
      (void)l.try_acquire_at(end, l.burst());
      for (const token_rate other : {token_rate(1e300), token_rate(1), token_rate(1e-300),
                                     token_rate::unlimited(), token_rate(0)}) {
        l.set_rate(other);
        std::vector<rate_limiter::reservation> kept;
        for (int i = 0; i < 4; ++i) {
          if (auto reserved = l.reserve_at(end, l.burst())) kept.push_back(std::move(*reserved));
        }
        l.set_rate(r);
        l.set_burst(most - burst);
        (void)l.tokens();
      }
    }
  }
}

TEST(RateLimiterBucket, ARateOfZeroGivesTheBurstAndNoMore) {
  rate_limiter l(0, 2);
  EXPECT_TRUE(l.try_acquire(2));
  EXPECT_FALSE(l.try_acquire_at(weft::clock::now() + 24h));
  EXPECT_EQ(l.reserve().error(), weft::errc::quota_exceeded);  // it would never come
}

TEST(RateLimiterBucket, UnlimitedLetsEverythingThrough) {
  rate_limiter l(token_rate::unlimited(), 0);
  EXPECT_TRUE(l.try_acquire(1'000'000));
  l.acquire(1'000'000);
  EXPECT_TRUE(l.acquire(background(), 1'000'000));
  const auto r = l.reserve(1'000'000);
  ASSERT_TRUE(r);
  EXPECT_EQ(r->delay(), 0ns);
  EXPECT_TRUE(std::isinf(l.tokens()));
  l.set_burst(2);
  l.set_rate(hourly());  // full, then
  EXPECT_TRUE(l.try_acquire(2));
  EXPECT_FALSE(l.try_acquire());
}

// TestSimultaneousRequests
TEST(RateLimiterBucket, ChangesHoldFromThenOn) {
  rate_limiter l(10, 10);
  const auto t = later();
  EXPECT_TRUE(l.try_acquire_at(t, 10));
  EXPECT_TRUE(l.try_acquire_at(t + 100ms));
  l.set_rate(100);
  EXPECT_FALSE(l.try_acquire_at(t + 109ms));
  EXPECT_TRUE(l.try_acquire_at(t + 110ms));
  l.set_rate(token_rate::per(1, 10ms));  // the same, in other units
  EXPECT_TRUE(l.try_acquire_at(t + 120ms));
  EXPECT_TRUE(l.try_acquire_at(t + 1h, 5));
  l.set_burst(2);
  EXPECT_FALSE(l.try_acquire_at(t + 1h, 3));
  EXPECT_TRUE(l.try_acquire_at(t + 1h, 2));
  EXPECT_FALSE(l.try_acquire_at(t + 1h));
}

// --- reservations: TestSimpleReserve, TestMix, TestCancelInvalid, TestCancelLast,
// TestCancelTooLate, TestCancel0Tokens, TestCancel1Token, TestCancelMulti, TestReserveJumpBack

TEST(RateLimiterReserve, PlacesFollowEachOther) {
  rate_limiter l(10, 2);
  const auto t = later();
  auto a = l.reserve_at(t, 2);
  auto b = l.reserve_at(t, 2);
  auto c = l.reserve_at(t + 300ms, 2);
  ASSERT_TRUE(a && b && c);
  EXPECT_EQ(a->time(), t);
  EXPECT_EQ(b->time(), t + 200ms);
  EXPECT_EQ(c->time(), t + 400ms);
  EXPECT_EQ(b->delay_at(t), 200ms);
  EXPECT_EQ(b->delay_at(t + 1h), 0ms);
  EXPECT_FALSE(l.try_acquire_at(t + 400ms));  // it is c's
  EXPECT_EQ(l.reserve_at(t, 3).error(), weft::errc::quota_exceeded);
}

TEST(RateLimiterReserve, ACancelledOneGivesBackWhatNobodyRestsOn) {
  rate_limiter l(10, 2);
  const auto t = later();
  auto first = l.reserve_at(t, 2);
  auto last = l.reserve_at(t, 2);
  ASSERT_TRUE(first && last);
  last->cancel_at(t);
  auto again = l.reserve_at(t, 2);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->time(), t + 200ms);
  auto behind = l.reserve_at(t, 1);
  ASSERT_TRUE(behind);
  EXPECT_EQ(behind->time(), t + 300ms);
  again->cancel_at(t + 100ms);  // 2, of which `behind` needs one where it is
  auto gap = l.reserve_at(t + 100ms, 1);
  ASSERT_TRUE(gap);
  EXPECT_EQ(gap->time(), t + 300ms);
  behind->cancel_at(t + 1s);  // too late
  EXPECT_TRUE(l.try_acquire_at(t + 1s, 2));
  EXPECT_FALSE(l.try_acquire_at(t + 1s));
}

TEST(RateLimiterReserve, DroppingCancelsUnlessDetached) {
  rate_limiter l(10, 1);
  const auto t = later();
  EXPECT_TRUE(l.try_acquire_at(t));
  {
    const auto dropped = l.reserve_at(t);
  }
  auto r = l.reserve_at(t);
  ASSERT_TRUE(r);
  EXPECT_EQ(r->time(), t + 100ms);
  r->detach();
  auto next = l.reserve_at(t);
  ASSERT_TRUE(next);
  EXPECT_EQ(next->time(), t + 200ms);
  auto moved = std::move(*next);
  next->cancel_at(t);  // nothing left in it
  EXPECT_EQ(moved.time(), t + 200ms);
  EXPECT_EQ(l.reserve_at(t)->time(), t + 300ms);
}

// --- waiting

// TestWaitSimple
TEST_P(RateLimiter, WaitsForItsTokens) {
  run([] {
    rate_limiter l(token_rate::every(100us), 2);
    const auto start = weft::clock::now();
    for (int i = 0; i < 20; ++i) l.acquire();
    EXPECT_TRUE(l.acquire(background(), 2));
    EXPECT_TRUE(l.try_acquire_for(1h, 2));
    EXPECT_GE(weft::clock::now() - start, 22 * 100us);
    l.acquire(0);
  });
}

TEST_P(RateLimiter, MoreThanTheBurstFailsAtOnce) {
  run([] {
    rate_limiter l(10, 2);
    EXPECT_THROW(l.acquire(3), weft::logic_error);
    EXPECT_EQ(l.acquire(background(), 3).error(), weft::errc::quota_exceeded);
    EXPECT_FALSE(l.try_acquire_for(1h, 3));
    EXPECT_TRUE(l.try_acquire(2));  // nothing was taken
  });
}

// TestWaitTimeout: no waiting for what comes too late; those before are counted.
TEST_P(RateLimiter, AWaitThatCannotMakeItsDeadlineFailsAtOnce) {
  run([] {
    rate_limiter l(hourly(), 1);
    l.acquire();
    auto [soon, cancel_soon] = weft::with_timeout(background(), 30min);
    EXPECT_EQ(l.acquire(soon).error(), weft::errc::deadline_exceeded);
    EXPECT_FALSE(soon.err());  // it did not wait for that
    EXPECT_FALSE(l.try_acquire_for(30min));
    EXPECT_FALSE(l.try_acquire_for(-1h));

    auto [ctx, cancel] = weft::with_timeout(background(), 90min);
    crew crowd(in_fibers());
    crowd.start([&, &until = ctx] { EXPECT_EQ(l.acquire(until).error(), weft::errc::canceled); });
    yield_until([&] { return l.waiting() == 1; });
    auto [second, cancel_second] = weft::with_timeout(background(), 90min);
    EXPECT_EQ(l.acquire(second).error(), weft::errc::deadline_exceeded);  // its turn is in 2 h
    EXPECT_FALSE(second.err());
    EXPECT_LT(l.tokens(), 0);
    cancel();
    crowd.join();
    EXPECT_GE(l.tokens(), 0);
    crowd.start([&, &ctx = second] { EXPECT_FALSE(l.acquire(ctx)); });
    yield_until([&] { return l.waiting() == 1; });  // now it can
    cancel_second();
    crowd.join();
  });
}

TEST_P(RateLimiter, AContextThatIsDoneTakesNothing) {
  run([] {
    rate_limiter l(hourly(), 1);
    auto [ctx, cancel] = weft::with_cancel(background());
    cancel();
    EXPECT_EQ(l.acquire(ctx).error(), weft::errc::canceled);
    EXPECT_TRUE(l.try_acquire());
  });
}

// Neither a small request nor a newcomer goes first; the one at the front, giving up, lets them.
TEST_P(RateLimiter, ALargeRequestIsNotOvertaken) {
  run([] {
    rate_limiter l(hourly(), 5);
    l.acquire();
    auto [ctx, cancel] = weft::with_cancel(background());
    crew crowd(in_fibers());
    crowd.start(
        [&, &until = ctx] { EXPECT_EQ(l.acquire(until, 5).error(), weft::errc::canceled); });
    yield_until([&] { return l.waiting() == 1; });
    EXPECT_FALSE(l.try_acquire());
    crowd.start([&] { l.acquire(3); });
    yield_until([&] { return l.waiting() == 2; });
    crowd.start([&] { l.acquire(1); });
    yield_until([&] { return l.waiting() == 3; });
    cancel();
    crowd.join();  // without waiting for a token
    EXPECT_FALSE(l.try_acquire());
  });
}

TEST_P(RateLimiter, OneThatGivesUpInTheMiddleIsInNobodysWay) {
  run([] {
    rate_limiter l(hourly(), 5);
    l.acquire(5);
    auto [ctx, cancel] = weft::with_cancel(background());
    crew front(in_fibers());
    crew middle(in_fibers());
    front.start([&] { l.acquire(); });
    yield_until([&] { return l.waiting() == 1; });
    middle.start([&, &until = ctx] { EXPECT_FALSE(l.acquire(until, 4)); });
    yield_until([&] { return l.waiting() == 2; });
    EXPECT_FALSE(l.try_acquire_for(5h));  // 1 + 4 + 1
    cancel();
    middle.join();
    front.start([&] { EXPECT_TRUE(l.try_acquire_for(5h)); });
    yield_until([&] { return l.waiting() == 2; });
    l.set_rate(token_rate::unlimited());
  });
}

TEST_P(RateLimiter, AFasterRateServesThoseWhoWait) {
  run([] {
    for (const token_rate faster :
         {token_rate(1e6), token_rate::every(50us), token_rate::unlimited()}) {
      rate_limiter l(hourly(), 3);
      l.acquire(3);
      crew crowd(in_fibers());
      auto [ctx, cancel] = weft::with_timeout(background(), 24h);
      crowd.start([&] { l.acquire(3); });
      crowd.start([&, &until = ctx] { EXPECT_TRUE(l.acquire(until)); });
      crowd.start([&] { EXPECT_TRUE(l.try_acquire_for(24h, 2)); });
      crowd.start([&] { l.acquire(); });
      yield_until([&] { return l.waiting() == 4; });
      l.set_rate(faster);
      crowd.join();
      EXPECT_EQ(l.waiting(), 0U);
    }
  });
}

TEST_P(RateLimiter, ASlowerRateEndsTheWaitsThatBecomeHopeless) {
  run([] {
    rate_limiter l(hourly(), 1);
    l.acquire();
    auto [ctx, cancel] = weft::with_timeout(background(), 3h);
    auto [patient, cancel_patient] = weft::with_cancel(background());
    crew hopeless(in_fibers());
    crew hopeful(in_fibers());
    hopeless.start([&, &until = ctx] {
      EXPECT_EQ(l.acquire(until).error(), weft::errc::deadline_exceeded);
      EXPECT_FALSE(until.err());
    });
    yield_until([&] { return l.waiting() == 1; });
    hopeful.start([&, &ctx = patient] { EXPECT_EQ(l.acquire(ctx).error(), weft::errc::canceled); });
    yield_until([&] { return l.waiting() == 2; });
    hopeless.start([&] { EXPECT_FALSE(l.try_acquire_for(4h)); });
    yield_until([&] { return l.waiting() == 3; });
    l.set_rate(token_rate::every(24h));
    hopeless.join();
    EXPECT_EQ(l.waiting(), 1U);
    l.set_rate(0);  // waits for as long as it takes
    EXPECT_EQ(l.waiting(), 1U);
    cancel_patient();
  });
}

TEST_P(RateLimiter, ARateOfZeroIsAPause) {
  run([] {
    rate_limiter l(0, 1);
    l.acquire();
    EXPECT_FALSE(l.try_acquire_for(1h));
    crew crowd(in_fibers());
    for (int i = 0; i < 3; ++i) crowd.start([&] { l.acquire(); });
    yield_until([&] { return l.waiting() == 3; });
    l.set_rate(1e5);
    crowd.join();
  });
}

TEST_P(RateLimiter, ASmallerBurstStillServesThoseWhoWaitForMore) {
  run([] {
    rate_limiter l(hourly(), 5);
    l.acquire(5);
    crew crowd(in_fibers());
    crowd.start([&] { l.acquire(5); });
    yield_until([&] { return l.waiting() == 1; });
    l.set_burst(1);
    EXPECT_EQ(l.acquire(background(), 2).error(), weft::errc::quota_exceeded);
    l.set_rate(1e6);
    crowd.join();
  });
}

// A reservation has its place behind those who wait, and keeps it whatever they do.
TEST_P(RateLimiter, ReservationsAndWaitersShareOneOrder) {
  run([] {
    rate_limiter l(hourly(), 1);
    l.acquire();
    auto [ctx, cancel] = weft::with_cancel(background());
    crew front(in_fibers());
    crew behind(in_fibers());
    front.start([&, &until = ctx] { EXPECT_FALSE(l.acquire(until)); });
    yield_until([&] { return l.waiting() == 1; });
    auto r = l.reserve();  // in 2 h, less what has passed
    ASSERT_TRUE(r);
    EXPECT_GT(r->delay(), 90min);
    EXPECT_LE(r->delay(), 2h);
    EXPECT_FALSE(l.try_acquire_for(150min));  // in 3 h
    behind.start([&] { EXPECT_TRUE(l.try_acquire_for(4h)); });
    yield_until([&] { return l.waiting() == 2; });
    cancel();
    front.join();
    // The waiter behind it does not come before it, nor at its time: 3 h, as before.
    EXPECT_FALSE(l.try_acquire_for(210min));  // in 4 h
    l.set_rate(1e6);
    behind.join();
  });
}

// Reservations cancelled in any order move those behind them up, and nobody else.
TEST_P(RateLimiter, CancelledReservationsMakeRoomForThoseBehindThem) {
  run([] {
    rate_limiter l(hourly(), 5);
    l.acquire(5);
    crew crowd(in_fibers());
    crowd.start([&] { EXPECT_TRUE(l.try_acquire_for(24h)); });  // in 1 h
    yield_until([&] { return l.waiting() == 1; });
    auto a = l.reserve(5);  // in 6 h
    auto b = l.reserve(1);  // in 7 h
    ASSERT_TRUE(a && b);
    crowd.start([&] { EXPECT_TRUE(l.try_acquire_for(24h)); });  // in 8 h
    yield_until([&] { return l.waiting() == 2; });
    EXPECT_FALSE(l.try_acquire_for(510min));  // in 9 h
    a->cancel();                              // all but the one that b rests on
    EXPECT_FALSE(l.try_acquire_for(270min));  // in 5 h
    b->cancel();
    EXPECT_FALSE(l.try_acquire_for(210min));  // in 4 h: one is lost
    crowd.start([&] { EXPECT_TRUE(l.try_acquire_for(270min)); });
    yield_until([&] { return l.waiting() == 3; });
    l.set_rate(1e6);
    crowd.join();
    l.acquire(5);
  });
}

// Nobody is let through too early, everybody gets through, whatever ends whose wait.
TEST_P(RateLimiter, NoMoreThanTheRateStress) {
  run([] {
    const int n = scaled(in_fibers() ? 2000 : 400);
    constexpr double fastest = 1e6;
    rate_limiter l(fastest, 10);
    std::atomic<std::uint64_t> passed{0};
    const auto start = weft::clock::now();
    {
      crew crowd(in_fibers());
      for (int i = 0; i < 6; ++i) {
        crowd.start([&, i] {
          const auto units = static_cast<std::uint64_t>(1 + i % 3);
          for (int k = 0; k < n; ++k) {
            if (k % 5 == 0) {
              if (!l.try_acquire(units)) continue;
            } else if (k % 3 == 0) {
              if (!l.try_acquire_for(std::chrono::microseconds(i * 3), units)) continue;
            } else if (k % 7 == 0) {
              auto [ctx, cancel] =
                  weft::with_timeout(background(), std::chrono::microseconds(5 * i));
              if (!l.acquire(ctx, units)) continue;
            } else if (k % 11 == 0) {
              const auto r = l.reserve(units);  // cancelled, unless it is through
              if (!r || r->delay() > 0ns) continue;
            } else {
              l.acquire(units);
            }
            passed += units;
          }
        });
      }
      crowd.start([&] {
        for (int k = 0; k < n / 4; ++k) {
          l.set_rate(k % 3 == 0 ? token_rate(0) : token_rate(fastest / (1 + k % 5)));
          weft::yield();
          l.set_burst(static_cast<std::uint64_t>(3 + k % 8));
        }
        l.set_burst(10);
        l.set_rate(fastest);
      });
    }
    const std::chrono::duration<double> took = weft::clock::now() - start;
    EXPECT_LE(static_cast<double>(passed), 11 + fastest * took.count());
    EXPECT_EQ(l.waiting(), 0U);
    l.acquire(10);  // nothing was lost: the bucket fills again
  });
}

TEST_P(RateLimiter, GivingUpRacesBeingServedStress) {
  run([] {
    const int n = scaled(in_fibers() ? 2000 : 200);
    for (int i = 0; i < n; ++i) {
      rate_limiter l(hourly(), 2);
      l.acquire(2);
      auto [ctx, cancel] = weft::with_cancel(background());
      std::atomic<int> served{0};
      crew quitters(in_fibers());
      crew others(in_fibers());
      for (int k = 0; k < 2; ++k) {
        quitters.start([&, &until = ctx] { served += l.acquire(until) ? 1 : 0; });
        others.start([&] { l.acquire(); });
      }
      others.start([&stop = cancel] { stop(); });
      l.set_rate(1e6);
      quitters.join();
      others.join();
      EXPECT_EQ(l.waiting(), 0U);
      EXPECT_LE(served, 2);
    }
  });
}

TEST_P(RateLimiter, DestroyedAtOnceStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 3000 : 300); ++i) {
      auto l = std::make_unique<rate_limiter>(hourly(), 1);
      l->acquire();
      crew other(in_fibers());
      other.start([raw = l.get(), i] {
        raw->set_rate(i % 2 == 0 ? token_rate::unlimited() : token_rate(1e9));
      });
      if (i % 3 == 0) {
        EXPECT_TRUE(l->acquire(background()));
      } else if (i % 3 == 1) {
        EXPECT_TRUE(l->try_acquire_for(24h));
      } else {
        l->acquire();
      }
      l.reset();
    }
  });
}

TEST(RateLimiterMixed, FibersAndThreadsWaitInOneQueueStress) {
  (void)weft::run(weft::options{}, [] {
    rate_limiter l(1e5, 3);
    const int n = scaled(500);
    crew fibers(true);
    crew threads(false);
    for (int i = 0; i < 3; ++i) {
      const auto body = [&] {
        for (int k = 0; k < n; ++k) l.acquire(static_cast<std::uint64_t>(1 + k % 3));
      };
      fibers.start(body);
      threads.start(body);
    }
    fibers.join();
    threads.join();
  });
}

TEST_P(RateLimiter, WaitingTakesNothingFromTheHeap) {
  run([] {
    rate_limiter l(1e5, 2);
    const auto use = [&] {
      for (int i = 0; i < 50; ++i) {
        l.acquire();
        EXPECT_TRUE(l.acquire(background(), 2));
        EXPECT_TRUE(l.try_acquire_for(1h));
        (void)l.try_acquire();
        const auto r = l.reserve();
      }
    };
    use();
    long least = -1;
    for (int k = 0; k < 5 && least != 0; ++k) {
      const long taken = heap_blocks_of(use);
      least = least < 0 || taken < least ? taken : least;
    }
    EXPECT_EQ(least, 0);
  });
}

TEST(RateLimiterAlone, AThreadWaitsWithoutARuntime) {
  rate_limiter l(token_rate::every(1ms), 1);
  l.acquire();
  l.acquire();
  EXPECT_TRUE(l.try_acquire_for(1h));
}

}  // namespace
