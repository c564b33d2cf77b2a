// SPDX-License-Identifier: Apache-2.0
// retry and backoff: each sentence of the header. Pauses are either a microsecond or an hour (and
// then ended, or refused); how long they are to be is read from on_retry, not measured.
#include <weft/retry.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>
#include <weft/circuit_breaker.hpp>
#include <weft/context.hpp>
#include <weft/fiber.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::background;
using weft::retry;
using weft::retry_options;

const auto boom = std::make_error_code(std::errc::io_error);
const auto other = std::make_error_code(std::errc::broken_pipe);

class Retry : public both_worlds {};
WEFT_BOTH_WORLDS(Retry);

/// Fails `failures` times, then gives 7.
struct flaky {
  int failures = 0;
  int calls = 0;
  weft::result<int> operator()() {
    if (++calls <= failures) return weft::failure(boom);
    return 7;
  }
};

retry_options quick(std::size_t attempts) {
  return {.max_attempts = attempts, .initial = 1us, .max_delay = 10us};
}

TEST_P(Retry, TriesUntilItSucceeds) {
  run([] {
    flaky f{.failures = 3};
    EXPECT_EQ(retry(quick(5), f), 7);
    EXPECT_EQ(f.calls, 4);
    flaky at_once;
    EXPECT_EQ(retry(background(), quick(5), at_once), 7);
    EXPECT_EQ(at_once.calls, 1);
  });
}

TEST_P(Retry, ReturnsTheLastResult) {
  run([] {
    int calls = 0;
    const auto fails = [&]() -> weft::result<int> {
      return weft::failure(++calls < 3 ? boom : other);
    };
    EXPECT_EQ(retry(quick(3), fails).error(), other);
    EXPECT_EQ(calls, 3);
    calls = 0;
    EXPECT_EQ(retry(quick(1), fails).error(), boom);  // the first is an attempt
    EXPECT_EQ(calls, 1);
  });
}

TEST_P(Retry, WithoutALimitItGoesOn) {
  run([] {
    flaky f{.failures = 50};
    EXPECT_EQ(retry(quick(0), f), 7);
    EXPECT_EQ(f.calls, 51);
  });
}

TEST_P(Retry, TakesEveryKindOfFunction) {
  run([] {
    int calls = 0;
    EXPECT_EQ(retry(quick(3),
                    [&]() -> std::error_code { return ++calls < 3 ? boom : std::error_code(); }),
              std::error_code());
    EXPECT_EQ(calls, 3);
    retry(quick(3), [&] {
      if (++calls < 5) throw std::runtime_error("not yet");
    });
    EXPECT_EQ(calls, 5);
    EXPECT_EQ(*retry(quick(3),
                     [&] {
                       if (++calls < 7) throw std::runtime_error("not yet");
                       return std::make_unique<int>(9);
                     }),
              9);
    EXPECT_EQ(retry(quick(3), [&]() -> int& { return calls; }), 7);
    // An outcome comes by value, also from a function that returns a reference.
    const std::error_code code_of_mine = boom;
    EXPECT_EQ(retry(quick(2), [&]() -> const std::error_code& { return code_of_mine; }), boom);
    weft::result<int> kept = 4;
    EXPECT_EQ(retry(quick(2), [&]() -> weft::result<int>& { return kept; }), 4);
    // With a context all of them become results.
    const auto ctx = background();
    const weft::result<void> nothing = retry(ctx, quick(2), [] {});
    EXPECT_TRUE(nothing);
    const weft::result<void> code = retry(ctx, quick(2), [] { return boom; });
    EXPECT_EQ(code.error(), boom);
    const weft::result<std::string> value = retry(ctx, quick(2), [] { return std::string("v"); });
    EXPECT_EQ(value, "v");
  });
}

TEST_P(Retry, TheLastExceptionIsRethrown) {
  run([] {
    int calls = 0;
    const auto throws = [&] { throw std::runtime_error(std::to_string(++calls)); };
    try {
      retry(quick(3), throws);
      FAIL();
    } catch (const std::runtime_error& e) {
      EXPECT_STREQ(e.what(), "3");
    }
    EXPECT_THROW((void)retry(background(), quick(2), throws), std::runtime_error);
    EXPECT_EQ(calls, 5);
  });
}

TEST_P(Retry, WhatIsWorthAnotherAttempt) {
  run([] {
    int calls = 0;
    const auto count = [&](auto fail) {
      calls = 0;
      try {
        (void)retry(quick(3), [&]() -> weft::result<int> {
          ++calls;
          return fail();
        });
      } catch (...) {
      }
      return calls;
    };
    using weft::failure;
    EXPECT_EQ(count([] { return failure(boom); }), 3);
    EXPECT_EQ(count([] { return failure(weft::errc::canceled); }), 1);
    EXPECT_EQ(count([]() -> weft::result<int> { throw std::runtime_error(""); }), 3);
    EXPECT_EQ(count([]() -> weft::result<int> { throw 1; }), 3);
    EXPECT_EQ(count([]() -> weft::result<int> { throw std::system_error(boom); }), 3);
    EXPECT_EQ(count([]() -> weft::result<int> {
                throw std::system_error(make_error_code(weft::errc::canceled));
              }),
              1);
    EXPECT_EQ(count([]() -> weft::result<int> { throw weft::logic_error("a bug"); }), 1);

    retry_options o = quick(5);
    o.retryable = [](std::error_code e) { return e == other; };
    calls = 0;
    EXPECT_EQ(retry(o, [&]() -> std::error_code { return ++calls < 3 ? other : boom; }), boom);
    EXPECT_EQ(calls, 3);
    o.retryable_exception = [](const std::exception_ptr& x) {
      try {
        std::rethrow_exception(x);
      } catch (const std::logic_error&) {
        return true;
      } catch (...) {
        return false;
      }
    };
    calls = 0;
    EXPECT_THROW(retry(o,
                       [&] {
                         if (++calls < 4) throw std::logic_error("again");
                         throw std::runtime_error("enough");
                       }),
                 std::runtime_error);
    EXPECT_EQ(calls, 4);
  });
}

TEST_P(Retry, WhatThePredicatesThrowGoesStraightOut) {
  run([] {
    retry_options o = quick(5);
    int calls = 0;
    o.retryable = [](std::error_code) -> bool { throw std::out_of_range("predicate"); };
    EXPECT_THROW((void)retry(o, [&] { return ++calls, boom; }), std::out_of_range);
    EXPECT_EQ(calls, 1);
  });
}

TEST_P(Retry, ACancelledContextEndsThePause) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(background());
    std::atomic<bool> pausing{false};
    retry_options o{.initial = 1h, .max_delay = 1h, .jitter = 0};
    o.on_retry = [&](const weft::retry_event&) { pausing = true; };
    crew other_one(in_fibers());
    int calls = 0;
    other_one.start([&, &until = ctx] {
      EXPECT_EQ(retry(until, o, [&] { return ++calls, boom; }).error(), boom);  // the last result
    });
    yield_until([&] { return pausing.load(); });
    cancel();
    other_one.join();
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(retry(ctx, o, [&] { return ++calls, boom; }).error(), weft::errc::canceled);
    EXPECT_EQ(calls, 1);  // no attempt begins in a context that is done
    auto [late, cancel_late] = weft::with_cancel(background());
    EXPECT_EQ(retry(late, o,
                    [&] {
                      ++calls;
                      cancel_late();
                      return boom;
                    })
                  .error(),
              boom);
    EXPECT_EQ(calls, 2);
  });
}

TEST_P(Retry, NoPauseThatEndsAfterTheDeadline) {
  run([] {
    retry_options o{.initial = 1h, .max_delay = 1h, .jitter = 0};
    int pauses = 0;
    o.on_retry = [&](const weft::retry_event&) { ++pauses; };
    auto [ctx, cancel] = weft::with_timeout(background(), 30min);
    EXPECT_EQ(retry(ctx, o, [] { return boom; }).error(), boom);
    EXPECT_FALSE(ctx.err());  // at once
    o.timeout = 30min;
    EXPECT_EQ(retry(o, [] { return boom; }), boom);
    EXPECT_EQ(retry(background(), o, [] { return boom; }).error(), boom);
    EXPECT_EQ(pauses, 0);
  });
}

TEST_P(Retry, TheFunctionMayTakeTheContext) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(background());
    int calls = 0;
    EXPECT_EQ(retry(ctx, quick(2),
                    [&, &until = ctx](const weft::context& c) -> weft::result<int> {
                      EXPECT_EQ(c, until);
                      EXPECT_FALSE(c.deadline());
                      return ++calls;
                    }),
              1);
    retry_options o = quick(2);
    o.timeout = 1h;
    EXPECT_EQ(retry(ctx, o,
                    [&](const weft::context& c) {
                      EXPECT_TRUE(c.deadline());  // of all attempts together
                      cancel();
                      EXPECT_EQ(c.err(), weft::errc::canceled);
                      return ++calls;
                    }),
              2);
  });
}

TEST_P(Retry, TellsOfEachPause) {
  run([] {
    std::vector<std::size_t> attempts;
    retry_options o{.max_attempts = 5, .initial = 1us, .max_delay = 4us, .jitter = 0};
    std::vector<std::chrono::nanoseconds> delays;
    o.on_retry = [&](const weft::retry_event& e) {
      attempts.push_back(e.attempt);
      delays.push_back(e.delay);
      EXPECT_EQ(e.error, boom);
      EXPECT_EQ(e.exception != nullptr, e.attempt == 2);
    };
    int calls = 0;
    (void)retry(o, [&]() -> weft::result<void> {
      if (++calls == 2) throw std::system_error(boom);
      return weft::failure(boom);
    });
    EXPECT_EQ(attempts, (std::vector<std::size_t>{1, 2, 3, 4}));
    EXPECT_TRUE((delays == std::vector<std::chrono::nanoseconds>{1us, 2us, 4us, 4us}));
  });
}

TEST(RetryAlone, AThreadNeedsARuntimeForAContextWithATimeoutOnly) {
  flaky f{.failures = 2};
  EXPECT_EQ(retry(background(), quick(3), f), 7);
  retry_options o = quick(3);
  o.timeout = 1h;
  f.calls = 0;
  EXPECT_EQ(retry(background(), o, f), 7);
  const auto fetch = [](const weft::context&) { return 1; };
  EXPECT_EQ(retry(background(), quick(3), fetch), 1);
  EXPECT_EQ(retry(background(), o, fetch).error(), weft::errc::no_runtime);
}

TEST(Backoff, CeilingsGrowUpToTheHighest) {
  weft::backoff b({.initial = 10ms, .max_delay = 1s, .multiplier = 3});
  for (const auto ceiling : {10ms, 30ms, 90ms, 270ms, 810ms, 1000ms, 1000ms}) {
    EXPECT_EQ(b.ceiling(), ceiling);
    const auto d = b.next();
    EXPECT_GE(d, 0ns);
    EXPECT_LE(d, ceiling);
  }
  b.reset();
  EXPECT_EQ(b.ceiling(), 10ms);
  weft::backoff low({.initial = 1min, .max_delay = 1s});
  EXPECT_EQ(low.ceiling(), 1s);
}

TEST(Backoff, JitterIsUniformOverItsShare) {
  weft::backoff full({.initial = 1s, .max_delay = 1s});
  weft::backoff equal({.initial = 1s, .max_delay = 1s, .jitter = 0.5});
  weft::backoff none({.initial = 1s, .max_delay = 1s, .jitter = 0});
  int quarters[4] = {};
  constexpr int n = 4000;
  for (int i = 0; i < n; ++i) {
    ++quarters[std::min<std::int64_t>(3, full.next() / 250ms)];
    const auto d = equal.next();
    EXPECT_GE(d, 500ms);
    EXPECT_LE(d, 1s);
    EXPECT_EQ(none.next(), 1s);
  }
  // 1,000 each, with a deviation of 27: this is 11 of them.
  for (const int q : quarters) EXPECT_NEAR(q, n / 4, 300);
}

TEST(Backoff, ExtremesDoNotOverflow) {
  constexpr auto most = std::chrono::nanoseconds::max();
  weft::backoff b({.initial = most, .max_delay = most, .multiplier = 1e300});
  weft::backoff grows({.initial = 1ns, .max_delay = most, .multiplier = 1e300, .jitter = 0.999});
  weft::backoff zero({.initial = 0ns, .max_delay = 0ns});
  for (int i = 0; i < 10; ++i) {
    EXPECT_GE(b.next(), 0ns);
    EXPECT_GE(grows.next(), 0ns);
    EXPECT_EQ(zero.next(), 0ns);
  }
}

TEST(Backoff, SenselessOptionsAreRefused) {
  EXPECT_THROW(weft::backoff({.initial = -1ns}), weft::logic_error);
  EXPECT_THROW(weft::backoff({.max_delay = -1ns}), weft::logic_error);
  EXPECT_THROW(weft::backoff({.multiplier = 0.5}), weft::logic_error);
  EXPECT_THROW(weft::backoff({.jitter = 1.5}), weft::logic_error);
  EXPECT_THROW(weft::backoff({.multiplier = std::numeric_limits<double>::quiet_NaN()}),
               weft::logic_error);
  EXPECT_THROW(retry({.timeout = -1s}, [] {}), weft::logic_error);
}

// The two together: an open circuit is an error like others, worth a pause.
TEST_P(Retry, AroundACircuitBreaker) {
  run([] {
    weft::circuit_breaker breaker({.min_calls = 1, .open_for = 1ns});
    flaky f{.failures = 2};
    EXPECT_EQ(retry(quick(0), [&] { return breaker.run(f); }), 7);
  });
}

TEST_P(Retry, ManyAtOnceStress) {
  run([] {
    const int n = scaled(in_fibers() ? 300 : 50);
    std::atomic<int> sum{0};
    crew crowd(in_fibers());
    for (int i = 0; i < 6; ++i) {
      crowd.start([&, i] {
        for (int k = 0; k < n; ++k) {
          flaky f{.failures = (i + k) % 4};
          auto [ctx, cancel] = weft::with_timeout(background(), 1h);
          sum += retry(ctx, quick(4), f).value_or(-1000000);
        }
      });
    }
    crowd.join();
    EXPECT_EQ(sum, 6 * n * 7);
  });
}

}  // namespace
