// SPDX-License-Identifier: Apache-2.0
// The sentences of API.md on select, and the conformance list of Go's test/chan/select*.go.
#include <weft/select.hpp>

#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <string>
#include <weft/context.hpp>
#include <weft/time.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::chan;
using weft::make_chan;
using weft::on_done;
using weft::on_recv;
using weft::on_send;
using weft::on_timeout;
using weft::otherwise;
using weft::select;
using weft::select_any;
using weft::select_case;

class Select : public both_worlds {};
WEFT_BOTH_WORLDS(Select);

static_assert(sizeof(select_case) <= 96);

// Cases are neither copied nor moved.
using case_of_int = decltype(on_recv(std::declval<const chan<int>&>(), [] {}));
static_assert(!std::is_copy_constructible_v<case_of_int>);
static_assert(!std::is_move_constructible_v<case_of_int>);

// What cannot be selected is no candidate, so that a program may ask.
template <class... Cases>
concept selectable = requires(Cases&... cases) { weft::select(cases...); };
using case_otherwise = decltype(otherwise());
static_assert(selectable<> && selectable<case_otherwise> && selectable<case_of_int>);
static_assert(selectable<case_of_int, case_otherwise, case_of_int>);
static_assert(!selectable<case_otherwise, case_otherwise>);
static_assert(!selectable<case_otherwise, case_of_int, case_otherwise>);
static_assert(!selectable<int> && !selectable<case_of_int, chan<int>>);

struct [[nodiscard]] not_to_be_dropped {};

TEST_P(Select, DropsWhatTheHandlersReturn) {
  run([] {
    auto c = make_chan<int>(1);
    int calls = 0;
    const auto handle = [&calls] {
      ++calls;
      return not_to_be_dropped{};
    };
    EXPECT_EQ(select(on_recv(c, handle), on_timeout(1h, handle), otherwise(handle)), 2U);
    EXPECT_EQ(select(on_send(c, 1, handle), on_done(weft::background(), handle)), 0U);
    const auto take = [&calls](std::optional<int> v) {
      calls += *v;
      return not_to_be_dropped{};
    };
    EXPECT_EQ(select(on_recv(c, take)), 0U);
    EXPECT_EQ(calls, 3);
  });
}

TEST_P(Select, ReturnsThePlaceOfTheCaseTaken) {
  run([] {
    auto a = make_chan<int>(1);
    auto b = make_chan<int>(1);
    const chan<int> nil;
    b.send(5);
    int got = 0;
    EXPECT_EQ(select(on_recv(nil, [] {}), on_recv(a, [] {}),
                     on_recv(b, [&](std::optional<int> v) { got = *v; })),
              2U);
    EXPECT_EQ(got, 5);
    EXPECT_EQ(select(on_recv(a, [] {}), otherwise(), on_recv(b, [] {})), 1U);  // otherwise counted
    EXPECT_EQ(select(on_timeout(0s), on_recv(a, [] {}), on_recv(b, [] {})), 0U);
    EXPECT_EQ(select(on_recv(a, [] {}), on_timeout(2ms), on_timeout(1h)), 1U);
    EXPECT_EQ(select(on_recv(a, [] {}), on_timeout(1h), on_timeout(2ms)), 2U);
    EXPECT_EQ(select(otherwise()), 0U);
    EXPECT_EQ(select(on_timeout(1ms)), 0U);
  });
}

TEST_P(Select, ParksUntilOneCanGo) {
  run([] {
    auto a = make_chan<int>();
    auto b = make_chan<std::string>();
    crew others(in_fibers());
    others.start([=] {
      yield_until([&] { return parked_receivers(a) == 1 && parked_receivers(b) == 1; });
      b.send("woken");
      yield_until([&] { return parked_receivers(a) == 1 && parked_senders(b) == 1; });
      EXPECT_EQ(b.recv(), "sent");
    });
    std::string got;
    EXPECT_EQ(
        select(on_recv(a, [] {}), on_recv(b, [&](std::optional<std::string> v) { got = *v; })), 1U);
    EXPECT_EQ(got, "woken");
    EXPECT_EQ(parked_receivers(a) + parked_receivers(b), 0U);  // the losers are gone
    EXPECT_EQ(select(on_recv(a, [] {}), on_send(b, "sent")), 1U);
    EXPECT_EQ(parked_receivers(a) + parked_senders(b), 0U);
  });
}

TEST_P(Select, ClosedIsReady) {
  run([] {
    auto c = make_chan<int>(1);
    auto other = make_chan<int>();
    c.send(1);
    c.close();
    std::optional<int> got;
    const auto store = [&](std::optional<int> v) { got = v; };
    EXPECT_EQ(select(on_recv(c, store), on_recv(other, [] {})), 0U);
    EXPECT_EQ(got, 1);
    EXPECT_EQ(select(on_recv(c, store), on_recv(other, [] {})), 0U);
    EXPECT_EQ(got, std::nullopt);
    EXPECT_EQ(select(on_recv(c, store)), 0U);
    EXPECT_THROW((void)select(on_send(c, 1), on_recv(other, [] {})), weft::closed_channel);
    EXPECT_THROW((void)select(on_send(c, 1)), weft::closed_channel);
    EXPECT_THROW((void)select(on_send(c, 1), otherwise()), weft::closed_channel);
  });
}

TEST_P(Select, CloseWakesAParkedSelect) {
  run([] {
    auto a = make_chan<int>();
    auto b = make_chan<move_only>();
    crew others(in_fibers());
    others.start([=] {
      bool ended = false;
      EXPECT_EQ(
          select(on_recv(a, [&](std::optional<int> v) { ended = !v; }), on_recv(b, [] { FAIL(); })),
          0U);
      EXPECT_TRUE(ended);
    });
    yield_until([&] { return parked_receivers(a) == 1; });
    a.close();
    others.join();
    others.start([=] {
      auto v = std::make_unique<int>(1);
      EXPECT_THROW((void)select(on_send(b, std::move(v)), on_timeout(1h)), weft::closed_channel);
      EXPECT_TRUE(v);
    });
    yield_until([&] { return parked_senders(b) == 1; });
    b.close();
  });
}

TEST_P(Select, DoneWakesAndIsReadyWhenDone) {
  run([] {
    auto a = make_chan<int>();
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    crew others(in_fibers());
    others.start([&, &until = ctx] {
      bool ran = false;
      EXPECT_EQ(select(on_recv(a, [] {}), on_done(until, [&] { ran = true; })), 1U);
      EXPECT_TRUE(ran);
    });
    yield_until([&] { return parked_receivers(a) == 1; });
    cancel();
    others.join();
    EXPECT_EQ(select(on_recv(a, [] {}), on_done(ctx)), 1U);
    EXPECT_EQ(select(on_done(ctx)), 0U);
    EXPECT_EQ(select(on_done(weft::background()), otherwise()), 1U);  // can never be
    EXPECT_EQ(select(on_recv(ctx.done(), [] {}), on_timeout(1h)), 0U);
  });
}

TEST_P(Select, ATimedContextEndsASelect) {
  run([] {
    auto a = make_chan<int>();
    auto [ctx, cancel] = weft::with_timeout(weft::background(), 5ms);
    EXPECT_EQ(select(on_recv(a, [] {}), on_done(ctx), on_timeout(1h)), 1U);
    EXPECT_EQ(ctx.err(), weft::errc::deadline_exceeded);
  });
}

TEST_P(Select, TimeoutsAreNotEarly) {
  run([] {
    auto a = make_chan<int>();
    const auto start = weft::clock::now();
    EXPECT_EQ(select(on_recv(a, [] {}), on_timeout(20ms)), 1U);
    EXPECT_GE(weft::clock::now() - start, 20ms);
    EXPECT_EQ(parked_receivers(a), 0U);
  });
}

// A value that is ready goes before a timeout of nothing.
TEST_P(Select, AnExpiredTimeoutIsTakenOnlyIfNothingIsReady) {
  run([] {
    auto a = make_chan<int>(1);
    for (int i = 0; i < 100; ++i) {
      a.send(1);
      EXPECT_EQ(select(on_timeout(-1s), on_recv(a, [] {}), on_timeout(0s)), 1U);
    }
  });
}

// --- on_send and its values

TEST_P(Select, ALosingRvalueStaysWithItsOwner) {
  run([] {
    auto a = make_chan<move_only>();
    auto b = make_chan<int>(1);
    auto v = std::make_unique<int>(3);
    b.send(1);
    EXPECT_EQ(select(on_send(a, std::move(v)), on_recv(b, [] {})), 1U);
    EXPECT_TRUE(v);
    EXPECT_EQ(select(on_send(a, std::move(v)), on_timeout(1ms)), 1U);
    EXPECT_TRUE(v);
    EXPECT_EQ(select(on_send(a, std::move(v)), otherwise()), 1U);
    ASSERT_TRUE(v);
    crew others(in_fibers());
    others.start([=] { EXPECT_EQ(**a.recv(), 3); });
    EXPECT_EQ(select(on_send(a, std::move(v)), on_timeout(30s)), 0U);
    EXPECT_FALSE(v);  // NOLINT: looked at on purpose
  });
}

TEST_P(Select, AnLvalueIsCopiedWhenTheCaseIsMade) {
  run([] {
    auto a = make_chan<std::string>(1);
    auto full = make_chan<std::string>(1);
    std::string v = "a string that needs memory of its own";
    full.send("x");
    EXPECT_EQ(select(on_send(a, v), on_send(full, v)), 0U);
    EXPECT_EQ(a.recv(), v);
    EXPECT_EQ(select(on_send(a, "a convertible"), on_send(full, v)), 0U);
    EXPECT_EQ(a.recv(), "a convertible");
    const std::string constant = "const";
    EXPECT_EQ(select(on_send(a, constant), on_send(full, std::move(v))), 0U);
    EXPECT_FALSE(v.empty());
  });
}

TEST_P(Select, HandlersRunWithNoLockHeld) {
  run([] {
    auto a = make_chan<int>(2);
    a.send(1);
    a.send(2);
    int inner = 0;
    EXPECT_EQ(select(on_recv(a,
                             [&](std::optional<int> v) {
                               EXPECT_EQ(v, 1);
                               a.send(3);  // the same channel, and another select
                               EXPECT_EQ(
                                   select(on_recv(a, [&](std::optional<int> w) { inner = *w; }),
                                          otherwise()),
                                   0U);
                             }),
                     on_timeout(1h)),
              0U);
    EXPECT_EQ(inner, 2);
    EXPECT_EQ(a.recv(), 3);
  });
}

TEST_P(Select, AHandlerMayThrow) {
  run([] {
    auto a = make_chan<counted>(2);
    a.send(counted(1));
    a.send(counted(2));
    EXPECT_THROW((void)select(on_recv(a, [](std::optional<counted>) { throw 1; }), on_timeout(1h)),
                 int);
    EXPECT_THROW((void)select(on_recv(a, [] { throw 1; })), int);
    EXPECT_EQ(a.len(), 0U);
    EXPECT_THROW((void)select(otherwise([] { throw 1; })), int);
    EXPECT_THROW((void)select(on_send(a, counted(3), [] { throw 1; }), on_timeout(1h)), int);
    EXPECT_EQ(a.len(), 1U);
  });
  EXPECT_EQ(counted::alive, 0);
}

// --- fairness: runtime/chan_test.go TestSelectFairness and TestPseudoRandomSend

TEST_P(Select, TheChoiceAmongReadyCasesIsUniform) {
  run([] {
    constexpr int trials = 10000;
    auto a = make_chan<int>(1);
    auto b = make_chan<int>(1);
    auto c = make_chan<int>(1);
    std::array<int, 3> taken{};
    for (int i = 0; i < trials; ++i) {
      (void)a.try_send(1);
      (void)b.try_send(1);
      (void)c.try_send(1);
      ++taken[select(on_recv(a, [] {}), on_recv(b, [] {}), on_recv(c, [] {}))];
    }
    // 10 standard deviations (47) of the binomial distribution around a third.
    for (const int n : taken) EXPECT_NEAR(n, trials / 3, 470);
  });
}

TEST_P(Select, AChannelNamedTwiceFavoursNeitherCase) {
  run([] {
    constexpr int trials = 2000;
    auto c = make_chan<int>();
    std::array<int, 2> taken{};
    crew others(in_fibers());
    others.start([=] {
      for (int i = 0; i < trials; ++i) c.send(i);  // the select below is parked or not
    });
    for (int i = 0; i < trials; ++i) ++taken[select(on_recv(c, [] {}), on_recv(c, [] {}))];
    EXPECT_GT(taken[0], trials / 3);
    EXPECT_GT(taken[1], trials / 3);
  });
}

// TestSelectDuplicateChannel: woken through one of two records of the same channel.
TEST_P(Select, ADuplicateChannelIsLeftClean) {
  run([] {
    auto c = make_chan<int>();
    auto d = make_chan<int>();
    crew others(in_fibers());
    others.start([=] {
      EXPECT_LT(select(on_recv(c, [] {}), on_recv(c, [] {}), on_recv(d, [] {})), 2U);
      EXPECT_EQ(d.recv(), 9);
    });
    yield_until([&] { return parked_receivers(c) == 2; });
    c.send(1);
    d.send(9);
    EXPECT_EQ(parked_receivers(c), 0U);
  });
}

// TestSelfSelect: send and receive on one channel in one select never meet each other.
TEST_P(Select, ASelectDoesNotMeetItself) {
  run([] {
    auto c = make_chan<int>();
    EXPECT_EQ(select(on_send(c, 1), on_recv(c, [] { FAIL(); }), on_timeout(2ms)), 2U);
    EXPECT_EQ(select(on_send(c, 1), on_recv(c, [] { FAIL(); }), otherwise()), 2U);
    for (const std::size_t cap : {0U, 10U}) {
      auto x = make_chan<int>(cap);
      crew pair(in_fibers());
      for (int p = 0; p < 2; ++p) {
        pair.start([=] {
          for (int i = 0; i < scaled(1000); ++i) {
            std::optional<int> got;
            if (select(on_send(x, p), on_recv(x, [&](std::optional<int> v) { got = v; })) == 1 &&
                cap == 0) {
              EXPECT_EQ(got, 1 - p) << "own value";
            }
          }
          // The partner may still need one.
          while (cap == 0 && x.try_recv()) {
          }
        });
        // With two fibers doing 1000 each on a rendezvous, every operation needs the other: even.
      }
      pair.join();
    }
  });
}

// --- Go's select.go .. select7.go

TEST_P(Select, NilTurnsACaseOff) {
  run([] {
    int counter = 0;
    auto c1 = make_chan<int>(1);
    auto c2 = make_chan<int>(1);
    const chan<int> nil;
    for (int i = 0; i < 10; ++i) {
      const bool first = i % 2 == 0;
      (void)select(on_send(first ? c1 : nil, counter), on_send(first ? nil : c2, counter));
      ++counter;
      EXPECT_EQ(*(first ? c1 : c2).recv(), i);
    }
  });
}

// select3.go: which forms block and which do not.
TEST_P(Select, FormsThatBlockAndFormsThatDoNot) {
  run([] {
    const auto blocks = [](auto&& with_timeout) { EXPECT_TRUE(with_timeout()); };
    const chan<int> nil;
    auto c0 = make_chan<int>();
    auto c1 = make_chan<int>(1);
    auto full = make_chan<int>(1);
    full.send(1);
    auto closed = make_chan<int>();
    closed.close();
    blocks([&] { return select(on_recv(nil, [] {}), on_timeout(1ms)) == 1; });
    blocks([&] { return select(on_send(nil, 1), on_timeout(1ms)) == 1; });
    blocks([&] { return select(on_recv(c0, [] {}), on_timeout(1ms)) == 1; });
    blocks([&] { return select(on_send(c0, 1), on_timeout(1ms)) == 1; });
    blocks([&] { return select(on_recv(c1, [] {}), on_timeout(1ms)) == 1; });
    blocks([&] { return select(on_send(full, 1), on_timeout(1ms)) == 1; });
    EXPECT_EQ(select(on_send(c1, 1), on_timeout(1h)), 0U);
    EXPECT_EQ(select(on_recv(full, [] {}), on_timeout(1h)), 0U);
    EXPECT_EQ(select(on_recv(closed, [] {}), on_timeout(1h)), 0U);
    EXPECT_EQ(select(on_recv(nil, [] {}), on_send(nil, 1), otherwise()), 2U);
  });
}

TEST(SelectForEver, AnEmptySelectBlocksForEver) {
  std::atomic<bool> passed{false};
  (void)weft::run(weft::options{}, [&] {
    weft::go([&] {
      (void)select();
      passed = true;
    });
    weft::go([&] {
      (void)select_any({});
      passed = true;
    });
    weft::go([&] {
      const chan<int> nil;
      (void)select(on_recv(nil, [] {}), on_send(nil, 1));
      passed = true;
    });
    for (int i = 0; i < 100; ++i) weft::yield();
  });
  EXPECT_FALSE(passed);
}

// select4.go: of two receives only the ready one is carried out.
TEST_P(Select, OnlyTheReadyOneProceeds) {
  run([] {
    auto c = make_chan<int>(1);
    auto c1 = make_chan<int>();
    c.send(42);
    int a = -1;
    int b = -1;
    EXPECT_EQ(select(on_recv(c1, [&](std::optional<int> v) { a = *v; }),
                     on_recv(c, [&](std::optional<int> v) { b = *v; })),
              1U);
    EXPECT_EQ(a, -1);
    EXPECT_EQ(b, 42);
  });
}

// select5.go in the small: every place of the ready case among nil, blocked and otherwise.
TEST_P(Select, TheReadyCaseIsFoundInEveryPlace) {
  run([] {
    const chan<int> nil;
    auto blocked = make_chan<int>();
    auto r = make_chan<int>(1);
    for (int i = 0; i < 20; ++i) {
      r.send(i);
      EXPECT_EQ(select(on_recv(r, [] {}), on_recv(nil, [] {}), on_send(blocked, 1)), 0U);
      EXPECT_EQ(select(on_recv(blocked, [] {}), on_send(r, i), on_recv(nil, [] {})), 1U);
      EXPECT_EQ(select(on_send(nil, 1), on_recv(blocked, [] {}), on_recv(r, [] {})), 2U);
      EXPECT_EQ(select(otherwise(), on_send(r, i)), 1U);
      EXPECT_EQ(select(on_recv(r, [] {}), otherwise(), on_recv(nil, [] {})), 0U);
      EXPECT_EQ(select(on_recv(r, [] {}), otherwise(), on_recv(nil, [] {})), 1U);
    }
  });
}

// select6.go (issue 2075): a losing case leaves the other waiters of its channel intact.
TEST_P(Select, ALosingCaseLeavesOtherWaitersIntact) {
  run([] {
    auto c1 = make_chan<bool>();
    auto c2 = make_chan<bool>();
    auto c3 = make_chan<bool>();
    auto c4 = make_chan<bool>();
    crew others(in_fibers());
    others.start([=] { (void)c1.recv(); });
    others.start([=] {
      (void)select(on_recv(c1, [] { FAIL(); }), on_recv(c2, [] {}));
      c3.send(true);
    });
    yield_until([&] { return parked_receivers(c1) == 2 && parked_receivers(c2) == 1; });
    others.start([=] {
      c4.send(true);
      (void)c1.recv();
    });
    (void)c4.recv();
    yield_until([&] { return parked_receivers(c1) == 3; });
    c2.send(true);
    (void)c3.recv();
    c1.send(true);
    c1.send(true);
    others.join();
    EXPECT_EQ(parked_receivers(c1), 0U);
  });
}

// select7.go, EveryFormMeetsEveryForm: each receiving form against each sending form, on capacity 0
// and 1.
TEST_P(Select, EveryReceivingFormMeetsEverySendingForm) {
  run([] {
    using recv_form = int (*)(const chan<int>&);
    using send_form = void (*)(const chan<int>&, int);
    constexpr std::array<recv_form, 7> receivers{
        [](const chan<int>& c) { return *c.recv(); },
        [](const chan<int>& c) { return *c.recv(weft::background()); },
        [](const chan<int>& c) { return *c.recv_for(30s); },
        [](const chan<int>& c) {
          for (;;) {
            if (auto v = c.try_recv()) return *v;
            weft::yield();
          }
        },
        [](const chan<int>& c) {
          int got = 0;
          (void)select(on_recv(c, [&](std::optional<int> v) { got = *v; }));
          return got;
        },
        [](const chan<int>& c) {
          int got = 0;
          (void)select(on_recv(c, [&](std::optional<int> v) { got = *v; }), on_timeout(30s));
          return got;
        },
        [](const chan<int>& c) {
          int got = 0;
          bool more = true;
          while (more) {
            (void)select(on_recv(c,
                                 [&](std::optional<int> v) {
                                   got = *v;
                                   more = false;
                                 }),
                         otherwise([] { weft::yield(); }));
          }
          return got;
        },
    };
    constexpr std::array<send_form, 6> senders{
        [](const chan<int>& c, int v) { c.send(v); },
        [](const chan<int>& c, int v) { EXPECT_TRUE(c.send(weft::background(), v)); },
        [](const chan<int>& c, int v) { EXPECT_TRUE(c.send_for(30s, v)); },
        [](const chan<int>& c, int v) {
          while (!c.try_send(v)) weft::yield();
        },
        [](const chan<int>& c, int v) {
          EXPECT_EQ(select(on_send(c, v), on_recv(chan<int>(), [] {})), 0U);
        },
        [](const chan<int>& c, int v) {
          while (select(otherwise([] { weft::yield(); }), on_send(c, v)) == 0) {
          }
        },
    };
    for (const std::size_t cap : {0U, 1U}) {
      for (std::size_t r = 0; r < receivers.size(); ++r) {
        for (std::size_t s = 0; s < senders.size(); ++s) {
          // Two forms that only try never meet without a buffer.
          if (cap == 0 && (r == 3 || r == 6) && (s == 3 || s == 5)) continue;
          auto c = make_chan<int>(cap);
          crew peer(in_fibers());
          peer.start([=] {
            for (int i = 0; i < 3; ++i) senders[s](c, i);
          });
          for (int i = 0; i < 3; ++i) EXPECT_EQ(receivers[r](c), i) << r << " " << s;
        }
      }
    }
  });
}

// select8.go: leaving a handler early leaves only the handler.
TEST_P(Select, ReturningFromAHandlerEndsTheHandler) {
  run([] {
    auto c = make_chan<int>(1);
    c.send(1);
    int after = 0;
    (void)select(on_recv(c, [](std::optional<int> v) {
      if (v == 1) return;
      FAIL();
    }));
    ++after;
    EXPECT_EQ(after, 1);
  });
}

// --- lists made at run time

TEST_P(Select, ADynamicListTakesAllKindsOfCases) {
  run([] {
    auto in = make_chan<std::string>(1);
    auto out = make_chan<move_only>(1);
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    std::optional<std::string> got = "stale";
    auto v = std::make_unique<int>(1);
    out.send(std::make_unique<int>(0));
    std::array cases{select_case::recv(in, got), select_case::send(out, v), select_case::done(ctx),
                     select_case::timeout(2ms), select_case()};
    EXPECT_EQ(select_any(cases), 3U);
    EXPECT_EQ(got, std::nullopt);  // emptied
    EXPECT_TRUE(v);
    in.send("x");
    EXPECT_EQ(select_any(cases), 0U);  // the list may be used again
    EXPECT_EQ(got, "x");
    (void)out.recv();
    EXPECT_EQ(select_any(cases), 1U);
    EXPECT_FALSE(v);
    cancel();
    EXPECT_EQ(select_any(cases), 2U);
    std::array with_default{select_case::recv(in, got), select_case::otherwise()};
    EXPECT_EQ(select_any(with_default), 1U);
    in.close();
    EXPECT_EQ(select_any(with_default), 0U);
    EXPECT_EQ(got, std::nullopt);
    (void)out.recv();
    out.close();
    std::array to_closed{select_case::send(out, v), select_case()};
    EXPECT_THROW((void)select_any(to_closed), weft::closed_channel);
  });
}

TEST_P(Select, ADynamicListParks) {
  run([] {
    std::vector<chan<move_only>> cs;
    std::vector<std::optional<move_only>> got(50);
    std::vector<select_case> cases;
    for (std::size_t i = 0; i < got.size(); ++i) {
      cs.push_back(make_chan<move_only>());
      cases.push_back(select_case::recv(cs[i], got[i]));
    }
    crew others(in_fibers());
    others.start([&] {
      for (std::size_t i = 0; i < cs.size(); ++i)
        cs[i].send(std::make_unique<int>(static_cast<int>(i)));
    });
    std::size_t sum = 0;
    for (std::size_t n = 0; n < got.size(); ++n) {
      const std::size_t i = select_any(cases);
      EXPECT_EQ(static_cast<std::size_t>(**got[i]), i);
      sum += i;
    }
    EXPECT_EQ(sum, 49U * 50U / 2);
    for (auto& c : cs) EXPECT_EQ(parked_receivers(c), 0U);
  });
}

TEST_P(Select, ThousandsOfCases) {
  run([] {
    const auto n = static_cast<std::size_t>(scaled(4000));
    std::vector<chan<int>> cs;
    std::optional<int> got;  // shared by all
    std::vector<select_case> cases;
    for (std::size_t i = 0; i < n; ++i) cs.push_back(make_chan<int>(i % 2));
    for (auto& c : cs) cases.push_back(select_case::recv(c, got));
    for (auto& c : cs) cases.push_back(select_case::recv(c, got));  // each channel twice
    crew others(in_fibers());
    others.start([&] {
      for (std::size_t k = 0; k < 20; ++k) {
        const std::size_t i = k * (n / 20);
        cs[i].send(static_cast<int>(i));
      }
    });
    for (int k = 0; k < 20; ++k) {
      const std::size_t i = select_any(cases);
      EXPECT_EQ(got, static_cast<int>(i % n));
    }
    for (auto& c : cs) ASSERT_EQ(parked_receivers(c), 0U);
  });
}

// Conflated and unbounded channels in a select: their sends never wait.
TEST_P(Select, SendsThatNeverWait) {
  run([] {
    auto latest = make_chan<counted>(weft::conflated);
    auto all = make_chan<move_only>(weft::unbounded);
    auto never = make_chan<int>();
    for (int i = 0; i < 600; ++i) {
      EXPECT_EQ(select(on_send(latest, counted(i)), on_recv(never, [] {})), 0U);
      EXPECT_EQ(select(on_recv(never, [] {}), on_send(all, std::make_unique<int>(i))), 1U);
      EXPECT_EQ(select(on_send(latest, counted(i)), otherwise()), 0U);
    }
    EXPECT_EQ(select(on_recv(latest, [](std::optional<counted> v) { EXPECT_EQ(v->value, 599); }),
                     on_timeout(1h)),
              0U);
    for (int i = 0; i < 600; ++i) {
      EXPECT_EQ(select(on_recv(all, [&](std::optional<move_only> v) { EXPECT_EQ(**v, i); }),
                       on_timeout(1h)),
                0U);
    }
  });
  EXPECT_EQ(counted::alive, 0);
}

TEST_P(Select, ChannelsInFramesAndDirectionalEnds) {
  run([] {
    weft::channel<int, 1> local;
    const weft::recv_chan<int> out = local;
    const weft::send_chan<int> in = local;
    EXPECT_EQ(select(on_send(in, 1), on_recv(out, [] {})), 0U);
    EXPECT_EQ(
        select(on_send(local, 2), on_recv(out, [](std::optional<int> v) { EXPECT_EQ(v, 1); })), 1U);
    std::optional<int> got;
    int v = 3;
    std::array cases{select_case::recv(local, got), select_case::send(in, v)};
    EXPECT_EQ(select_any(cases), 1U);
    EXPECT_EQ(local.recv(), 3);
  });
}

}  // namespace
