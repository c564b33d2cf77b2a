// SPDX-License-Identifier: Apache-2.0
// singleflight: the tests of golang.org/x/sync/singleflight (TestDo, DoErr, DoDupSuppress, Forget,
// PanicDo, PanicErrorUnwrap; DoChan is async here), and callers that leave by their contexts.
#include <weft/singleflight.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/fiber.hpp>
#include <weft/latch.hpp>
#include <weft/time.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::background;

class SingleFlight : public both_worlds {};
WEFT_BOTH_WORLDS(SingleFlight);

using flights = weft::singleflight<std::string, std::string>;

TEST_P(SingleFlight, ReturnsTheValue) {
  run([] {
    flights f;
    const auto [value, shared] = f.do_("key", [] { return "bar"; });
    EXPECT_EQ(value, "bar");
    EXPECT_FALSE(shared);
    const auto r = f.do_(background(), "key", [] { return "baz"; });
    ASSERT_TRUE(r);
    EXPECT_EQ(r->first, "baz");
    EXPECT_FALSE(r->second);
    EXPECT_EQ(f.callers("key"), 0U);
  });
}

// TestDoDupSuppress: one call for all who come meanwhile, plain or with a context, whoever began.
TEST_P(SingleFlight, OneCallServesAllWhoComeMeanwhile) {
  run([] {
    for (const bool by_context : {false, true}) {
      flights f;
      auto open = weft::make_chan<weft::unit>();
      std::atomic<int> calls{0};
      std::atomic<int> served{0};
      const auto fetch = [&, open] {
        ++calls;
        (void)open.recv();
        return std::string("bar");
      };
      const auto plain = [&] {
        const auto [value, shared] = f.do_("key", fetch);
        served += value == "bar" && shared ? 1 : 0;
      };
      const auto with_context = [&] {
        auto [ctx, cancel] = weft::with_cancel(background());
        const auto r = f.do_(ctx, "key", fetch);
        served += r && r->first == "bar" && r->second ? 1 : 0;
      };
      crew crowd(in_fibers());
      by_context ? crowd.start(with_context) : crowd.start(plain);
      yield_until([&] { return f.callers("key") == 1; });
      for (int i = 0; i < 4; ++i) {
        crowd.start(plain);
        crowd.start(with_context);
      }
      yield_until([&] { return f.callers("key") == 9; });
      open.send({});
      crowd.join();
      EXPECT_EQ(calls, 1);
      EXPECT_EQ(served, 9);
      EXPECT_EQ(f.callers("key"), 0U);
    }
  });
}

TEST_P(SingleFlight, OtherKeysGoOnMeanwhile) {
  run([] {
    weft::singleflight<int, int> f;
    auto open = weft::make_chan<weft::unit>();
    crew crowd(in_fibers());
    crowd.start([&, open] {
      EXPECT_EQ(f.do_(1,
                      [&] {
                        (void)open.recv();
                        return 10;
                      })
                    .first,
                10);
    });
    yield_until([&] { return f.callers(1) == 1; });
    EXPECT_EQ(f.do_(2, [] { return 20; }).first, 20);
    EXPECT_EQ(f.do_(background(), 3, [] { return 30; })->first, 30);
    open.send({});
  });
}

// TestForget
TEST_P(SingleFlight, AfterForgetANewCallBegins) {
  run([] {
    weft::singleflight<int, int> f;
    auto open = weft::make_chan<weft::unit>();
    crew crowd(in_fibers());
    crowd.start([&, open] {
      const auto [value, shared] = f.do_(1, [&] {
        (void)open.recv();
        return 1;
      });
      EXPECT_EQ(value, 1);
      EXPECT_FALSE(shared);
    });
    yield_until([&] { return f.callers(1) == 1; });
    f.forget(1);
    f.forget(1);
    f.forget(2);
    EXPECT_EQ(f.callers(1), 0U);
    EXPECT_EQ(f.do_(1, [] { return 2; }).first, 2);
    // The forgotten one, ending, leaves a newer one alone.
    auto second = weft::make_chan<weft::unit>();
    crew later(in_fibers());
    later.start([&, second] {
      EXPECT_EQ(f.do_(1,
                      [&] {
                        (void)second.recv();
                        return 3;
                      })
                    .first,
                3);
    });
    yield_until([&] { return f.callers(1) == 1; });
    open.send({});
    crowd.join();
    EXPECT_EQ(f.callers(1), 1U);
    second.send({});
    later.join();
  });
}

// TestDoErr, TestPanicDo, TestPanicErrorUnwrap
TEST_P(SingleFlight, AnExceptionGoesToAllCallers) {
  run([] {
    for (const bool by_context : {false, true}) {
      flights f;
      auto open = weft::make_chan<weft::unit>();
      std::atomic<int> caught{0};
      // All have looked before the first lets go of it: that order is libstdc++'s own otherwise,
      // which ThreadSanitizer does not see.
      weft::latch looked(5);
      crew crowd(in_fibers());
      const auto call = [&, open] {
        const auto fetch = [open]() -> std::string {
          (void)open.recv();
          throw std::runtime_error("no such tenant");
        };
        try {
          if (by_context) {
            (void)f.do_(background(), "key", fetch);
          } else {
            (void)f.do_("key", fetch);
          }
        } catch (const std::runtime_error& e) {
          caught += std::string(e.what()) == "no such tenant" ? 1 : 0;
          looked.arrive_and_wait();
        }
      };
      for (int i = 0; i < 5; ++i) crowd.start(call);
      yield_until([&] { return f.callers("key") == 5; });
      open.send({});
      crowd.join();
      EXPECT_EQ(caught, 5);
      EXPECT_EQ(f.do_("key", [] { return "better"; }).first, "better");  // nothing is kept
    }
  });
}

// A caller, the first one too, may leave; the call goes on for those who stay.
TEST_P(SingleFlight, ACallerLeavesByItsContext) {
  run([] {
    flights f;
    auto open = weft::make_chan<weft::unit>();
    std::atomic<bool> cancelled{false};
    const auto fetch = [&, open](const weft::context& ctx) {
      (void)open.recv();
      cancelled = static_cast<bool>(ctx.err());
      return std::string("bar");
    };
    auto [ctx, cancel] = weft::with_cancel(background());
    crew leaver(in_fibers());
    crew stayer(in_fibers());
    leaver.start(
        [&, &until = ctx] { EXPECT_EQ(f.do_(until, "key", fetch).error(), weft::errc::canceled); });
    yield_until([&] { return f.callers("key") == 1; });
    stayer.start([&] { EXPECT_EQ(f.do_("key", [] { return "never run"; }).first, "bar"); });
    yield_until([&] { return f.callers("key") == 2; });
    cancel();
    leaver.join();
    EXPECT_EQ(f.callers("key"), 1U);
    open.send({});
    stayer.join();
    EXPECT_FALSE(cancelled);  // the first caller's end is not the call's
    EXPECT_EQ(f.do_(ctx, "key", fetch).error(), weft::errc::canceled);  // done already: no call
    EXPECT_EQ(f.callers("key"), 0U);
  });
}

// Joined to a plain call too.
TEST_P(SingleFlight, AJoinedCallerLeavesAPlainCall) {
  run([] {
    flights f;
    auto open = weft::make_chan<weft::unit>();
    auto [ctx, cancel] = weft::with_cancel(background());
    crew first(in_fibers());
    crew leaver(in_fibers());
    first.start([&, open] {
      const auto [value, shared] = f.do_("key", [&] {
        (void)open.recv();
        return "bar";
      });
      EXPECT_EQ(value, "bar");
      EXPECT_TRUE(shared);
    });
    yield_until([&] { return f.callers("key") == 1; });
    leaver.start([&, &until = ctx] { EXPECT_FALSE(f.do_(until, "key", [] { return ""; })); });
    yield_until([&] { return f.callers("key") == 2; });
    cancel();
    leaver.join();
    open.send({});
    first.join();
  });
}

TEST_P(SingleFlight, WithNobodyLeftTheCallIsCancelledAndForgotten) {
  run([] {
    flights f;
    auto [ctx, cancel] = weft::with_cancel(background());
    auto ended = weft::make_chan<weft::unit>(1);
    crew crowd(in_fibers());
    for (int i = 0; i < 3; ++i) {
      crowd.start([&, ended, &until = ctx] {
        EXPECT_FALSE(f.do_(until, "key", [ended](const weft::context& inside) {
          (void)inside.done().recv();
          ended.send({});
          return std::string();
        }));
      });
    }
    yield_until([&] { return f.callers("key") == 3; });
    cancel();
    crowd.join();
    (void)ended.recv();
    EXPECT_EQ(f.do_("key", [] { return "afresh"; }).first, "afresh");
  });
}

// fn that takes no context cannot be asked to end: it goes on, and who comes finds it.
TEST_P(SingleFlight, WithNobodyLeftACallWithoutContextGoesOn) {
  run([] {
    flights f;
    auto open = weft::make_chan<weft::unit>();
    auto [ctx, cancel] = weft::with_cancel(background());
    crew leaver(in_fibers());
    leaver.start([&, open, &until = ctx] {
      EXPECT_FALSE(f.do_(until, "key", [open] {
        (void)open.recv();
        return "bar";
      }));
    });
    yield_until([&] { return f.callers("key") == 1; });
    cancel();
    leaver.join();
    crew late(in_fibers());
    late.start([&] { EXPECT_EQ(f.do_("key", [] { return "never run"; }).first, "bar"); });
    yield_until([&] { return f.callers("key") == 1; });
    open.send({});
  });
}

struct tenant : weft::context_key<std::string> {};

TEST_P(SingleFlight, TheCallSeesTheFirstCallersValues) {
  run([] {
    flights f;
    auto [ctx, cancel] = weft::with_timeout(weft::with_value<tenant>(background(), "a"), 1h);
    const auto r = f.do_(ctx, "key", [](const weft::context& inside) {
      EXPECT_FALSE(inside.deadline());
      return *inside.value<tenant>();
    });
    EXPECT_EQ(r->first, "a");
  });
}

TEST_P(SingleFlight, AskingForOnesOwnKeyThrows) {
  run([] {
    weft::singleflight<int, int> f;
    EXPECT_EQ(f.do_(1, [&] { return f.do_(2, [] { return 2; }).first + 1; }).first, 3);
    EXPECT_THROW(
        (void)f.do_(
            1, [&] { return f.do_(2, [&] { return f.do_(1, [] { return 0; }).first; }).first; }),
        weft::logic_error);
    EXPECT_THROW((void)f.do_(background(), 1, [&] { return f.do_(1, [] { return 0; }).first; }),
                 weft::logic_error);
    EXPECT_EQ(f.do_(1, [] { return 1; }).first, 1);
  });
}

TEST_P(SingleFlight, ValuesOfEveryKind) {
  run([] {
    weft::singleflight<std::string, void> nothing;
    int calls = 0;
    EXPECT_FALSE(nothing.do_("key", [&] { return ++calls; }).second);
    EXPECT_TRUE(nothing.do_(background(), "key", [&] { ++calls; }));
    EXPECT_EQ(calls, 2);
    weft::singleflight<int, std::shared_ptr<const large>> big;
    EXPECT_EQ(big.do_(1, [] { return std::make_shared<const large>(3); }).first->values[9], 3);
    weft::singleflight<int, weft::result<int>> failing;
    EXPECT_EQ(failing.do_(1, [] { return weft::failure(weft::errc::closed); }).first.error(),
              weft::errc::closed);
    EXPECT_EQ(failing.do_(background(), 1, [owned = std::make_unique<int>(4)] { return *owned; })
                  ->first.value(),
              4);
  });
}

// What fn owns is gone when its callers go on, and the value belongs to them alone.
TEST_P(SingleFlight, NothingIsKept) {
  run([] {
    const int alive = counted::alive;
    weft::singleflight<int, std::shared_ptr<const counted>> f;
    for (int i = 0; i < 20; ++i) {
      auto owned = std::make_shared<counted>(1);
      const std::weak_ptr<counted> gone = owned;
      auto r = f.do_(background(), 1, [owned = std::move(owned)] {
        return std::make_shared<const counted>(owned->value + 1);
      });
      EXPECT_TRUE(gone.expired());
      EXPECT_EQ(r->first->value, 2);
      EXPECT_EQ(r->first.use_count(), 1);
    }
    EXPECT_EQ(counted::alive, alive);
  });
}

// What fn does while it is moved into its fiber is the user's: it may use the flight, and fail.
TEST_P(SingleFlight, AFunctionThatCannotBeMovedFailsItsCallOnly) {
  run([] {
    weft::singleflight<int, int> f;
    struct stubborn {
      weft::singleflight<int, int>* flights;
      explicit stubborn(weft::singleflight<int, int>* all) : flights(all) {}
      stubborn(const stubborn& o) : flights(o.flights) {
        EXPECT_EQ(flights->callers(1), 1U);
        EXPECT_EQ(flights->do_(2, [] { return 2; }).first, 2);  // no lock is held
        throw std::runtime_error("stays here");
      }
      int operator()() const { return 1; }
    };
    const stubborn fetch(&f);
    EXPECT_THROW((void)f.do_(background(), 1, fetch), std::runtime_error);
    EXPECT_EQ(f.callers(1), 0U);
    EXPECT_EQ(f.do_(1, [] { return 3; }).first, 3);
  });
}

// TestDoChan
TEST(SingleFlightAsync, AFutureOfACall) {
  weft::run([] {
    flights f;
    auto r = weft::async([&] { return f.do_("key", [] { return "bar"; }); });
    EXPECT_EQ(r.get().first, "bar");
  });
}

TEST(SingleFlightAlone, AThreadNeedsARuntimeForContextsOnly) {
  flights f;
  EXPECT_EQ(f.do_("key", [] { return "bar"; }).first, "bar");
  EXPECT_EQ(f.do_(background(), "key", [] { return "bar"; }).error(), weft::errc::no_runtime);
  EXPECT_EQ(f.callers("key"), 0U);
}

// One call at a time for a key, and nobody gets a value from before it asked.
TEST_P(SingleFlight, ManyCallersStress) {
  run([] {
    struct state {
      std::atomic<int> inside{0};
      std::atomic<int> begun{0};
      std::atomic<int> ended{0};
    };
    std::array<state, 3> keys;
    weft::singleflight<int, std::pair<int, int>> f;  // goes first: calls all have left use `keys`
    const int n = scaled(in_fibers() ? 3000 : 500);
    crew crowd(in_fibers());
    for (int i = 0; i < 8; ++i) {
      crowd.start([&, i] {
        for (int k = 0; k < n; ++k) {
          const int key = (i + k) % 3;
          state& s = keys[static_cast<std::size_t>(key)];
          const auto fetch = [&s, key] {
            EXPECT_EQ(++s.inside, 1);
            const int version = ++s.begun;
            if (version % 3 == 0) weft::yield();
            s.ended = version;
            --s.inside;
            return std::pair(key, version);
          };
          const int floor = s.ended;
          std::pair<int, int> value(key, floor);
          if (k % 3 == 0) {
            auto [ctx, cancel] =
                weft::with_timeout(background(), std::chrono::microseconds(k % 40));
            if (const auto r = f.do_(ctx, key, fetch)) value = r->first;
          } else {
            value = f.do_(key, fetch).first;
          }
          EXPECT_EQ(value.first, key);
          EXPECT_GE(value.second, floor);
        }
      });
    }
    crowd.join();
  });
}

// Newer calls beside forgotten ones.
TEST_P(SingleFlight, ForgettingRacesCallsStress) {
  run([] {
    weft::singleflight<int, int> f;
    const int n = scaled(in_fibers() ? 3000 : 500);
    crew crowd(in_fibers());
    for (int i = 0; i < 6; ++i) {
      crowd.start([&, i] {
        for (int k = 0; k < n; ++k) {
          if (k % 5 == i % 5) f.forget(k % 2);
          const auto fetch = [k] {
            if (k % 4 == 0) weft::yield();
            return k % 2;
          };
          EXPECT_EQ(f.do_(k % 2, fetch).first, k % 2);
        }
      });
    }
    crowd.join();
    EXPECT_EQ(f.callers(0) + f.callers(1), 0U);
  });
}

// Callers leave at the moment at which the call ends; the flight goes as soon as they have
// returned.
TEST_P(SingleFlight, LeavingRacesTheEndStress) {
  run([] {
    const int n = scaled(in_fibers() ? 2000 : 200);
    for (int i = 0; i < n; ++i) {
      std::optional<weft::singleflight<int, int>> f(std::in_place);
      auto [ctx, cancel] = weft::with_cancel(background());
      std::atomic<int> ended{0};
      crew callers(in_fibers());
      crew canceller(in_fibers());
      for (int k = 0; k < 2; ++k) {
        callers.start([&, &until = ctx] {
          const auto r = f->do_(until, 1, [&ended](const weft::context& inside) {
            if (inside.err()) ++ended;
            weft::yield();
            ++ended;
            return 5;
          });
          if (r) {
            EXPECT_EQ(r->first, 5);
          } else {
            EXPECT_EQ(r.error(), weft::errc::canceled);
          }
        });
      }
      canceller.start([&stop = cancel] { stop(); });
      callers.join();
      f.reset();  // waits for a call that all have left: it uses `ended`
      canceller.join();
    }
  });
}

}  // namespace
