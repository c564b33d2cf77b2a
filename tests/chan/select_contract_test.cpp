// SPDX-License-Identifier: Apache-2.0
// The sentences of API.md on select that need a closer look: when values are copied, who runs the
// handlers, chance among all kinds of cases, parked lists, and close against selects on both sides
// for all awkward types.
#include <weft/select.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <weft/context.hpp>
#include <weft/fiber.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::make_chan;
using weft::on_done;
using weft::on_recv;
using weft::on_send;
using weft::on_timeout;
using weft::otherwise;
using weft::select;
using weft::select_any;
using weft::select_case;

class SelectContract : public both_worlds {};
WEFT_BOTH_WORLDS(SelectContract);

// --- chance

constexpr int trials = 4000;
// 10 standard deviations (32) of the binomial distribution around a half.
constexpr int tolerance = 320;

TEST_P(SelectContract, ADoneContextAndAReadyChannelHaveEqualChances) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    auto in = make_chan<int>();
    in.close();
    cancel();
    std::array<int, 2> taken{};
    for (int i = 0; i < trials; ++i) ++taken[select(on_recv(in, [] {}), on_done(ctx))];
    EXPECT_NEAR(taken[0], trials / 2, tolerance);
  });
}

TEST_P(SelectContract, AListMadeAtRunTimeIsFairToo) {
  run([] {
    auto in = make_chan<int>(1);
    auto out = make_chan<int>(1);
    std::optional<int> got;
    int value = 1;
    std::array cases{select_case::recv(in, got), select_case::send(out, value)};
    std::array<int, 2> taken{};
    for (int i = 0; i < trials; ++i) {
      (void)in.try_send(1);
      (void)out.try_recv();
      ++taken[select_any(cases)];
    }
    EXPECT_NEAR(taken[0], trials / 2, tolerance);
  });
}

// Both records of a parked select stand in the line in random order; so do those of a sender.
TEST_P(SelectContract, AParkedChannelNamedTwiceFavoursNeitherCase) {
  run([] {
    // Of 100 throws of a fair coin fewer than 26 heads come once in a million times.
    const int n = std::max(scaled(in_fibers() ? 2000 : 400), 100);
    auto c = make_chan<int>();
    std::array<std::atomic<int>, 2> received{};
    std::array<std::atomic<int>, 2> sent{};
    crew others(in_fibers());
    others.start([&] {
      for (int i = 0; i < n; ++i) ++received[select(on_recv(c, [] {}), on_recv(c, [] {}))];
      for (int i = 0; i < n; ++i) ++sent[select(on_send(c, 0), on_send(c, 1))];
    });
    for (int i = 0; i < n; ++i) {
      yield_until([&] { return parked_receivers(c) == 2; });
      c.send(i);
    }
    for (int i = 0; i < n; ++i) {
      yield_until([&] { return parked_senders(c) == 2; });
      EXPECT_TRUE(c.recv());
    }
    others.join();
    for (std::size_t k = 0; k < 2; ++k) {
      EXPECT_GT(received[k], n / 4);
      EXPECT_GT(sent[k], n / 4);
    }
  });
}

// --- on_send: when the value is taken

TEST_P(SelectContract, AnLvalueIsCopiedAtOnceAndAnRvalueMovedWhenTaken) {
  run([] {
    auto c = make_chan<std::string>();
    std::string v = "first";
    std::array<char, 8> text{"first"};
    crew others(in_fibers());

    others.start([&] { EXPECT_EQ(select(on_send(c, v), on_timeout(1h)), 0U); });
    yield_until([&] { return parked_senders(c) == 1; });
    v = "later";
    EXPECT_EQ(c.recv(), "first");  // copied when the case was made
    others.join();

    others.start([&] { EXPECT_EQ(select(on_send(c, text.data()), on_timeout(1h)), 0U); });
    yield_until([&] { return parked_senders(c) == 1; });
    text = {"later"};
    EXPECT_EQ(c.recv(), "first");  // converted when the case was made
    others.join();

    others.start([&] { EXPECT_EQ(select(on_send(c, std::move(v)), on_timeout(1h)), 0U); });
    yield_until([&] { return parked_senders(c) == 1; });
    v = "a string that was changed where it lay";
    EXPECT_EQ(c.recv(), "a string that was changed where it lay");  // kept by reference
    others.join();
    EXPECT_TRUE(v.empty());
  });
}

// --- handlers

TEST_P(SelectContract, OnlyTheChosenHandlerRunsAndInTheCaller) {
  run([] {
    auto ready = make_chan<int>(1);
    auto never = make_chan<int>();
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    for (int i = 0; i < 200; ++i) {
      const auto fiber = weft::this_fiber::id();
      const auto thread = std::this_thread::get_id();
      int ran = 0;
      std::size_t which = 99;
      const auto note = [&](std::size_t k) {
        ++ran;
        which = k;
        EXPECT_EQ(weft::this_fiber::id(), fiber);
        if (!in_fibers()) {
          EXPECT_EQ(std::this_thread::get_id(), thread);
        }
      };
      crew other(in_fibers());
      if (i % 2 == 0) {
        other.start([=] { ready.send(1); });  // parked by then, or not
      } else {
        ready.send(1);
      }
      const std::size_t k =
          select(on_recv(never, [&] { note(0); }), on_done(ctx, [&] { note(1); }),
                 on_recv(ready, [&] { note(2); }), on_send(never, 1, [&] { note(3); }),
                 on_timeout(1h, [&] { note(4); }));
      EXPECT_EQ(k, 2U);
      EXPECT_EQ(which, k);
      EXPECT_EQ(ran, 1);
    }
  });
}

TEST_P(SelectContract, AHandlerMayBlock) {
  run([] {
    auto c = make_chan<int>();
    auto reply = make_chan<int>();
    crew other(in_fibers());
    other.start([=] {
      c.send(1);
      c.send(2);  // the handler takes this one while it runs
      EXPECT_EQ(reply.recv(), 3);
    });
    EXPECT_EQ(select(on_recv(c,
                             [&](std::optional<int> v) {
                               EXPECT_TRUE(reply.send_for(30s, *v + *c.recv()));
                             }),
                     on_timeout(1h)),
              0U);
  });
}

// --- lists made at run time: woken by each kind of case

TEST_P(SelectContract, AParkedListIsWokenByEachKindOfCase) {
  run([] {
    auto in = make_chan<move_only>();
    auto out = make_chan<move_only>();
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    crew other(in_fibers());
    auto next = make_chan<weft::unit>();
    const auto parked = [=] { return parked_receivers(in) == 1 && parked_senders(out) == 1; };
    other.start([=, &stop = cancel] {
      yield_until(parked);
      in.send(std::make_unique<int>(1));
      yield_until(parked);
      EXPECT_EQ(**out.recv(), 7);
      yield_until(parked);
      in.close();
      (void)next.recv();
      yield_until([&] { return parked_senders(out) == 1; });
      stop();
      (void)next.recv();
      yield_until([&] { return parked_senders(out) == 1; });
      out.close();
    });
    std::optional<move_only> got;
    auto v = std::make_unique<int>(7);
    std::array cases{select_case::timeout(1h), select_case::recv(in, got),
                     select_case::send(out, v), select_case::done(ctx)};
    EXPECT_EQ(select_any(cases), 1U);
    ASSERT_TRUE(got);
    EXPECT_EQ(**got, 1);
    EXPECT_TRUE(v);
    EXPECT_EQ(select_any(cases), 2U);
    EXPECT_FALSE(v);
    v = std::make_unique<int>(8);
    EXPECT_EQ(select_any(cases), 1U);
    EXPECT_EQ(got, std::nullopt);
    cases[1] = select_case();
    next.send({});
    EXPECT_EQ(select_any(cases), 3U);
    cases[3] = select_case();
    next.send({});
    EXPECT_THROW((void)select_any(cases), weft::closed_channel);
    ASSERT_TRUE(v);
    EXPECT_EQ(*v, 8);
  });
}

// --- close against selects on both sides

template <class T>
T make(int v) {
  if constexpr (std::is_same_v<T, move_only>) {
    return std::make_unique<int>(v);
  } else {
    return T(v);
  }
}
template <class T>
bool whole(const T& v, int i) {
  if constexpr (std::is_same_v<T, move_only>) {
    return v != nullptr && *v == i;
  } else {
    return v.value == i;
  }
}

template <class T>
void selects_race_close(std::size_t cap, bool fibers, int yields) {
  auto a = make_chan<T>(cap);
  auto b = make_chan<T>();
  std::atomic<int> sent{0};
  std::atomic<int> received{0};
  crew crowd(fibers);
  for (int s = 0; s < 2; ++s) {
    crowd.start([&, s] {
      for (int i = 0; i < 40; ++i) {
        T va = make<T>(i);
        T vb = make<T>(i);
        std::size_t k = 2;
        try {
          if ((i + s) % 2 == 0) {
            k = select(on_send(a, std::move(va)), on_send(b, std::move(vb)), on_timeout(20us));
          } else {
            std::array cases{select_case::send(a, va), select_case::send(b, vb),
                             select_case::timeout(20us)};
            k = select_any(cases);
          }
        } catch (const weft::closed_channel&) {
        }
        sent += k < 2 ? 1 : 0;
        EXPECT_TRUE(k == 0 || whole(va, i));  // what was not sent is still ours, and whole
        EXPECT_TRUE(k == 1 || whole(vb, i));
      }
    });
    crowd.start([&, s] {
      std::optional<T> got;
      for (int open = 2; open > 0;) {
        std::size_t k = 2;
        if (s == 0) {
          const auto take = [&](std::optional<T> v) { got.emplace(std::move(*v)); };
          const auto end = [&](std::optional<T> v) {
            if (v) {
              take(std::move(v));
            } else {
              open = 0;
            }
          };
          got.reset();
          k = select(on_recv(b, end), on_recv(a, end), on_timeout(10us));
        } else {
          std::array cases{select_case::recv(a, got), select_case::recv(b, got),
                           select_case::timeout(10us)};
          k = select_any(cases);
          if (k < 2 && !got) open = 0;
        }
        received += k < 2 && got ? 1 : 0;
      }
    });
  }
  crowd.start([&] {
    for (int i = 0; i < yields; ++i) weft::yield();
    a.close();
    b.close();
  });
  crowd.join();
  while (a.try_recv()) ++received;
  ASSERT_EQ(sent, received);
  EXPECT_EQ(parked_receivers(a) + parked_senders(a), 0U);
  EXPECT_EQ(parked_receivers(b) + parked_senders(b), 0U);
}

TEST_P(SelectContract, SelectsOnBothSidesRaceCloseWithExactBooksStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 100 : 20); ++i) {
      const auto cap = static_cast<std::size_t>(i % 3);
      selects_race_close<move_only>(cap, in_fibers(), i);
      selects_race_close<counted>(cap, in_fibers(), i);
      selects_race_close<over_aligned>(cap, in_fibers(), i);
    }
  });
  EXPECT_EQ(counted::alive, 0);
}

}  // namespace
