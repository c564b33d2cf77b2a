// SPDX-License-Identifier: Apache-2.0
// circuit_breaker: each sentence of its header, by a clock that the tests set.
#include <weft/circuit_breaker.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#include <weft/fiber.hpp>

#include "tests/chan/heap_count.hpp"
#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::circuit_breaker;
using weft::circuit_options;
using weft::circuit_state;

const auto boom = std::make_error_code(std::errc::io_error);
const auto given_up = std::make_error_code(std::errc::operation_canceled);

std::atomic<std::int64_t> now_ns{0};
weft::time_point test_now() noexcept {
  return weft::time_point(weft::clock::duration(now_ns.load()));
}
void pass(std::chrono::nanoseconds d) { now_ns += d.count(); }

/// Half of at least four calls within a second; two seconds open.
circuit_options usual() {
  now_ns = 1'000'000'000'000;
  return {.min_calls = 4, .window = 1s, .open_for = 2s, .now = &test_now};
}

weft::result<int> fails() { return weft::failure(boom); }
weft::result<int> works() { return 1; }

void open(circuit_breaker& b) {
  while (b.state() == circuit_state::closed) (void)b.run(fails);
}

class CircuitBreaker : public both_worlds {};
WEFT_BOTH_WORLDS(CircuitBreaker);

TEST_P(CircuitBreaker, OpensAtTheRatioOfEnoughCalls) {
  run([] {
    circuit_breaker b(usual());
    for (int i = 0; i < 3; ++i) EXPECT_EQ(b.run(fails).error(), boom);
    EXPECT_EQ(b.state(), circuit_state::closed);  // three calls tell nothing
    EXPECT_EQ(b.run(works), 1);                   // four: three failures
    EXPECT_EQ(b.state(), circuit_state::open);
    bool called = false;
    EXPECT_EQ(b.run([&] { called = true; }).error(), weft::errc::circuit_open);
    EXPECT_FALSE(called);
    EXPECT_EQ(b.try_acquire().error(), weft::errc::circuit_open);
  });
}

TEST_P(CircuitBreaker, StaysClosedBelowTheRatio) {
  run([] {
    circuit_breaker b(usual());
    for (int i = 0; i < 50; ++i) {
      EXPECT_TRUE(b.run(works));
      EXPECT_TRUE(b.run(works));
      EXPECT_EQ(b.run(fails).error(), boom);
      pass(10ms);
    }
    EXPECT_EQ(b.state(), circuit_state::closed);
  });
}

TEST_P(CircuitBreaker, OldResultsDoNotCount) {
  run([] {
    circuit_breaker b(usual());
    for (int i = 0; i < 3; ++i) (void)b.run(fails);
    pass(1100ms);
    (void)b.run(works);
    (void)b.run(works);
    (void)b.run(works);
    (void)b.run(works);
    EXPECT_EQ(b.state(), circuit_state::closed);
    for (int i = 0; i < 3; ++i) {
      pass(300ms);
      (void)b.run(fails);
    }
    EXPECT_EQ(b.state(), circuit_state::closed);  // 3 of 7
    pass(200ms);                                  // the successes have gone
    EXPECT_EQ(b.run(fails).error(), boom);
    EXPECT_EQ(b.state(), circuit_state::open);
  });
}

TEST_P(CircuitBreaker, AfterItsTimeProbesDecide) {
  run([] {
    circuit_options o = usual();
    o.probes = 2;
    circuit_breaker b(std::move(o));
    open(b);
    pass(1999ms);
    EXPECT_EQ(b.run(works).error(), weft::errc::circuit_open);
    pass(1ms);
    EXPECT_EQ(b.state(), circuit_state::half_open);
    auto first = b.try_acquire();
    auto second = b.try_acquire();
    ASSERT_TRUE(first && second);
    EXPECT_EQ(b.try_acquire().error(), weft::errc::circuit_open);  // two at most
    first->success();
    EXPECT_EQ(b.state(), circuit_state::half_open);
    EXPECT_FALSE(b.try_acquire());
    second->success();
    EXPECT_EQ(b.state(), circuit_state::closed);
    for (int i = 0; i < 3; ++i) (void)b.run(fails);
    EXPECT_EQ(b.state(), circuit_state::closed);  // the window has begun anew

    open(b);
    pass(2s);
    EXPECT_TRUE(b.run(works));
    EXPECT_EQ(b.run(fails).error(), boom);
    EXPECT_EQ(b.state(), circuit_state::open);  // one failure is enough
    pass(1999ms);
    EXPECT_FALSE(b.try_acquire());
  });
}

TEST_P(CircuitBreaker, ADroppedPermitCountsForNothing) {
  run([] {
    circuit_breaker b(usual());
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(b.try_acquire());
    open(b);
    pass(2s);
    for (int i = 0; i < 3; ++i) {
      auto p = b.try_acquire();
      ASSERT_TRUE(p);
      auto moved = std::move(*p);
      EXPECT_FALSE(b.try_acquire());
      *p = std::move(moved);
    }
    EXPECT_EQ(b.state(), circuit_state::half_open);
    EXPECT_TRUE(b.run(works));
    EXPECT_EQ(b.state(), circuit_state::closed);
  });
}

TEST_P(CircuitBreaker, AResultCountsOnlyInTheStateInWhichItsCallBegan) {
  run([] {
    circuit_breaker b(usual());
    auto slow = b.try_acquire();
    auto slower = b.try_acquire();
    ASSERT_TRUE(slow && slower);
    open(b);
    slow->failure();
    pass(2s);
    auto probe = b.try_acquire();
    ASSERT_TRUE(probe);
    slower->failure();
    EXPECT_EQ(b.state(), circuit_state::half_open);
    probe->success();
    probe->failure();  // only the first word counts
    EXPECT_EQ(b.state(), circuit_state::closed);
  });
}

TEST_P(CircuitBreaker, ProbesThatAreNotHeardOfHaveFailed) {
  run([] {
    circuit_breaker b(usual());
    open(b);
    pass(2s);
    auto lost = b.try_acquire();
    ASSERT_TRUE(lost);
    pass(2s);
    EXPECT_FALSE(b.try_acquire());
    EXPECT_EQ(b.state(), circuit_state::open);
    pass(2s);
    EXPECT_TRUE(b.run(works));
    EXPECT_EQ(b.state(), circuit_state::closed);
    lost->failure();
    EXPECT_EQ(b.state(), circuit_state::closed);
  });
}

TEST_P(CircuitBreaker, WhatCountsAsFailure) {
  run([] {
    circuit_breaker b(usual());
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(b.run([] { return given_up; }).error(), given_up);  // the caller's own doing
    }
    EXPECT_EQ(b.state(), circuit_state::closed);
    for (int i = 0; i < 4; ++i) {
      EXPECT_THROW((void)b.run([]() -> int { throw std::runtime_error("no"); }),
                   std::runtime_error);
    }
    EXPECT_EQ(b.state(), circuit_state::open);

    circuit_options o = usual();
    o.is_failure = [](std::error_code e) { return e != boom; };
    circuit_breaker other(std::move(o));
    for (int i = 0; i < 20; ++i) (void)other.run(fails);
    EXPECT_EQ(other.state(), circuit_state::closed);
    for (int i = 0; i < 4; ++i) (void)other.run([] { return given_up; });
    EXPECT_EQ(other.state(), circuit_state::open);
  });
}

TEST_P(CircuitBreaker, RunTakesEveryKindOfFunction) {
  run([] {
    circuit_breaker b(usual());
    EXPECT_TRUE(b.run([] {}));
    EXPECT_TRUE(b.run([] { return std::error_code{}; }));
    EXPECT_EQ(b.run([] { return std::string("x"); }), "x");
    EXPECT_EQ(*b.run([] { return std::make_unique<int>(7); }).value(), 7);
    int value = 3;
    EXPECT_EQ(b.run([&]() -> int& { return value; }), 3);
    const weft::result<std::unique_ptr<int>> r =
        b.run([]() -> weft::result<std::unique_ptr<int>> { return std::make_unique<int>(8); });
    EXPECT_EQ(**r, 8);
  });
}

TEST_P(CircuitBreaker, TellsOfItsChanges) {
  run([] {
    std::vector<std::string> told;
    circuit_options o = usual();
    circuit_breaker* self = nullptr;
    o.on_change = [&](const weft::circuit_change& c) {
      told.push_back(std::string(to_string(c.from)) + " -> " + to_string(c.to));
      EXPECT_EQ(c.at, test_now());
      (void)self->state();  // no lock is held
    };
    circuit_breaker b(std::move(o));
    self = &b;
    open(b);
    pass(2s);
    EXPECT_FALSE(b.run(fails));
    pass(2s);
    EXPECT_TRUE(b.run(works));
    b.trip();
    b.trip();
    b.reset();
    b.reset();
    const std::vector<std::string> expected{
        "closed -> open",      "open -> half-open", "half-open -> open", "open -> half-open",
        "half-open -> closed", "closed -> open",    "open -> closed"};
    EXPECT_EQ(told, expected);
  });
}

TEST_P(CircuitBreaker, ByHand) {
  run([] {
    circuit_breaker b(usual());
    b.trip();
    EXPECT_FALSE(b.try_acquire());
    pass(1s);
    b.trip();  // from now
    pass(1500ms);
    EXPECT_FALSE(b.try_acquire());
    b.reset();
    EXPECT_TRUE(b.run(works));
  });
}

TEST_P(CircuitBreaker, ATimeThatGoesBackIsBorne) {
  run([] {
    circuit_breaker b(usual());
    (void)b.run(fails);
    pass(-500ms);
    (void)b.run(fails);
    now_ns = -5;
    (void)b.run(fails);
    (void)b.run(fails);
    EXPECT_EQ(b.state(), circuit_state::open);
    now_ns = std::numeric_limits<std::int64_t>::max();
    EXPECT_EQ(b.run(works), 1);
    EXPECT_EQ(b.state(), circuit_state::closed);
  });
}

TEST(CircuitBreakerOptions, SenselessOnesAreRefused) {
  const auto refuses = [](const auto& spoil) {
    circuit_options o;
    spoil(o);
    EXPECT_THROW(circuit_breaker{o}, weft::logic_error);
  };
  refuses([](auto& o) { o.failure_ratio = 0; });
  refuses([](auto& o) { o.failure_ratio = 1.1; });
  refuses([](auto& o) { o.failure_ratio = std::numeric_limits<double>::quiet_NaN(); });
  refuses([](auto& o) { o.min_calls = 0; });
  refuses([](auto& o) { o.probes = 0; });
  refuses([](auto& o) { o.window = 0s; });
  refuses([](auto& o) { o.open_for = -1s; });
  refuses([](auto& o) { o.now = nullptr; });
  circuit_breaker usable;  // the defaults, by the real clock
  EXPECT_TRUE(usable.run([] {}));
}

// Many callers and a clock that runs: never more probes than allowed, and it closes in the end.
TEST_P(CircuitBreaker, ProbesAreLimitedStress) {
  run([] {
    circuit_options o = usual();
    o.probes = 2;
    o.open_for = 20ms;
    circuit_breaker b(std::move(o));
    std::atomic<bool> healthy{false};
    std::atomic<int> calls{0};
    const int n = scaled(in_fibers() ? 5000 : 1000);
    crew crowd(in_fibers());
    for (int i = 0; i < 6; ++i) {
      crowd.start([&, i] {
        for (int k = 0; k < n; ++k) {
          if (i == 0) pass(1ms);
          if (k == n / 2) healthy = true;
          auto p = b.try_acquire();
          if (!p) {
            weft::yield();
            continue;
          }
          ++calls;
          if (k % 3 == 0) weft::yield();
          if (k % 10 == 0) continue;
          healthy ? p->success() : p->failure();
        }
      });
    }
    crowd.join();
    EXPECT_GT(calls, 0);
    // Nothing hangs over: from whatever state, it closes when calls succeed.
    for (int i = 0; i < 10 && b.state() != circuit_state::closed; ++i) {
      pass(20ms);
      for (int k = 0; k < 2; ++k) (void)b.run(works);
    }
    EXPECT_EQ(b.state(), circuit_state::closed);
    b.trip();
    pass(20ms);
    auto first = b.try_acquire();
    auto second = b.try_acquire();
    EXPECT_TRUE(first && second);
    EXPECT_FALSE(b.try_acquire());
  });
}

TEST_P(CircuitBreaker, CallsTakeNothingFromTheHeap) {
  run([] {
    circuit_breaker b(usual());
    long least = -1;
    for (int k = 0; k < 5 && least != 0; ++k) {
      const long taken = heap_blocks_of([&] {
        for (int i = 0; i < 100; ++i) {
          (void)b.run(works);
          (void)b.run(fails);
          pass(500ms);
        }
      });
      least = least < 0 || taken < least ? taken : least;
    }
    EXPECT_EQ(least, 0);
  });
}

}  // namespace
