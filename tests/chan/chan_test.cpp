// SPDX-License-Identifier: Apache-2.0
// The sentences of API.md on channels, one by one, from fibers and from plain threads.
#include <weft/chan.hpp>

#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <ranges>
#include <set>
#include <weft/context.hpp>
#include <weft/run.hpp>
#include <weft/time.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::chan;
using weft::make_chan;

class Chan : public both_worlds {};
WEFT_BOTH_WORLDS(Chan);

template <class C>
concept can_send = requires(const C& c) { c.send(1); };
template <class C>
concept can_recv = requires(const C& c) { c.recv(); };
template <class C>
concept can_close = requires(const C& c) { c.close(); };

// Go's test/chan/perm.go: errors of direction are errors of compilation.
static_assert(can_send<chan<int>> && can_recv<chan<int>> && can_close<chan<int>>);
static_assert(can_send<weft::send_chan<int>> && can_close<weft::send_chan<int>>);
static_assert(!can_recv<weft::send_chan<int>>);
static_assert(can_recv<weft::recv_chan<int>>);
static_assert(!can_send<weft::recv_chan<int>> && !can_close<weft::recv_chan<int>>);
static_assert(std::is_convertible_v<chan<int>, weft::send_chan<int>>);
static_assert(std::is_convertible_v<chan<int>, weft::recv_chan<int>>);
static_assert(!std::is_convertible_v<weft::send_chan<int>, weft::recv_chan<int>>);
static_assert(!std::is_convertible_v<weft::recv_chan<int>, weft::send_chan<int>>);
static_assert(!std::is_convertible_v<weft::send_chan<int>, chan<int>>);
static_assert(!std::is_copy_constructible_v<weft::channel<int, 1>>);
static_assert(!std::is_move_constructible_v<weft::channel<int, 1>>);
template <class T>
concept made_from_nothing = requires(void (*f)(const T&)) { f({}); };
static_assert(made_from_nothing<weft::channel<int, 1>>);
static_assert(made_from_nothing<weft::channel<move_only>>);

static_assert(std::ranges::input_range<chan<int>>);
static_assert(std::ranges::input_range<const weft::recv_chan<move_only>>);
static_assert(std::ranges::input_range<weft::channel<int, 2>>);

// Also of values that cannot be assigned: a channel only moves them.
struct not_assignable {
  const int value;
};
static_assert(!std::is_move_assignable_v<not_assignable>);
static_assert(std::ranges::input_range<chan<not_assignable>>);
static_assert(std::ranges::input_range<weft::recv_chan<counted>>);
static_assert(std::ranges::input_range<weft::channel<not_assignable, 2>>);
static_assert(!std::ranges::range<weft::send_chan<int>>);

TEST_P(Chan, ARendezvousHandsTheValueOver) {
  run([] {
    auto c = make_chan<int>();
    EXPECT_EQ(c.cap(), 0U);
    crew others(in_fibers());
    others.start([=] {
      for (int i = 0; i < 100; ++i) c.send(i);
    });
    for (int i = 0; i < 100; ++i) EXPECT_EQ(c.recv(), i);
    EXPECT_EQ(c.len(), 0U);
  });
}

// runtime/chan_test.go TestChan, its capacities 0..199: blocks when full and when empty, FIFO,
// drain after close, len and cap.
TEST_P(Chan, EveryCapacityBlocksDrainsAndKeepsOrder) {
  run([] {
    for (std::size_t cap = 0; cap < 200; cap += cap < 20 ? 1 : 37) {
      auto c = make_chan<std::size_t>(cap);
      EXPECT_EQ(c.cap(), cap);
      EXPECT_TRUE(c.try_recv().empty());
      for (std::size_t i = 0; i < cap; ++i) EXPECT_TRUE(c.try_send(i));
      EXPECT_EQ(c.len(), cap);
      EXPECT_FALSE(c.try_send(0));
      {
        crew others(in_fibers());
        others.start([=] { c.send(cap); });  // blocks: it is full
        yield_until([&] { return parked_senders(c) == 1; });
        EXPECT_EQ(c.recv(), 0U);
      }
      for (std::size_t i = 1; i <= cap; ++i) EXPECT_EQ(c.recv(), i);
      for (std::size_t i = 0; i < cap; ++i) c.send(i);
      c.close();
      for (std::size_t i = 0; i < cap; ++i) EXPECT_EQ(c.recv(), i);  // values survive close
      EXPECT_EQ(c.recv(), std::nullopt);
      EXPECT_TRUE(c.try_recv().closed());
    }
  });
}

TEST_P(Chan, CloseWakesEveryParkedReceiver) {
  run([] {
    auto c = make_chan<int>();
    std::atomic<int> ended{0};
    crew others(in_fibers());
    for (int i = 0; i < 5; ++i) {
      others.start([&] {
        EXPECT_EQ(c.recv(), std::nullopt);
        ++ended;
      });
    }
    yield_until([&] { return parked_receivers(c) == 5; });
    c.close();
    others.join();
    EXPECT_EQ(ended, 5);
  });
}

TEST_P(Chan, SendOnClosedThrowsAlsoForAParkedSenderAndLeavesTheValue) {
  run([] {
    auto c = make_chan<move_only>();
    crew others(in_fibers());
    others.start([&] {
      auto v = std::make_unique<int>(7);
      EXPECT_THROW(c.send(std::move(v)), weft::closed_channel);
      ASSERT_TRUE(v);
      EXPECT_EQ(*v, 7);
    });
    yield_until([&] { return parked_senders(c) == 1; });
    c.close();
    others.join();
    auto v = std::make_unique<int>(8);
    EXPECT_THROW(c.send(std::move(v)), weft::closed_channel);
    EXPECT_THROW((void)c.try_send(std::move(v)), weft::closed_channel);
    EXPECT_THROW((void)c.send(weft::background(), std::move(v)), weft::closed_channel);
    EXPECT_THROW((void)c.send_for(1ms, std::move(v)), weft::closed_channel);
    EXPECT_EQ(*v, 8);
  });
}

TEST_P(Chan, MisuseOfCloseThrows) {
  run([] {
    auto c = make_chan<int>();
    c.close();
    EXPECT_THROW(c.close(), weft::closed_channel);
    const chan<int> nil;
    EXPECT_THROW(nil.close(), weft::closed_channel);
    const std::logic_error* base = nullptr;
    const weft::closed_channel e("x");
    base = &e;
    EXPECT_NE(base, nullptr);
  });
}

TEST_P(Chan, NilBlocksForEverButNotTheOtherForms) {
  run([] {
    const chan<int> nil;
    EXPECT_FALSE(nil);
    EXPECT_TRUE(nil.try_recv().empty());
    EXPECT_FALSE(nil.try_send(1));
    EXPECT_EQ(nil.recv_for(1ms).error(), weft::errc::deadline_exceeded);
    EXPECT_FALSE(nil.send_for(1ms, 1));
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    crew others(in_fibers());
    others.start([&] { EXPECT_EQ(nil.recv(ctx).error(), weft::errc::canceled); });
    others.start([&] { EXPECT_EQ(nil.send(ctx, 1).error(), weft::errc::canceled); });
    cancel();
    others.join();
    EXPECT_EQ(nil.len(), 0U);
    EXPECT_EQ(nil.cap(), 0U);
  });
}

TEST(ChanNil, AFiberOnANilChannelStaysThere) {
  std::atomic<bool> passed{false};
  (void)weft::run(weft::options{}, [&] {
    weft::go([&] {
      (void)chan<int>().recv();
      passed = true;
    });
    weft::go([&] {
      chan<int>().send(1);
      passed = true;
    });
    for (int i = 0; i < 100; ++i) weft::yield();
  });
  EXPECT_FALSE(passed);
}

// try_recv: a value, nothing, the end; and its access.
TEST_P(Chan, TryRecvTellsEmptyFromClosed) {
  run([] {
    auto c = make_chan<std::string>(1);
    auto none = c.try_recv();
    EXPECT_TRUE(none.empty());
    EXPECT_FALSE(none.closed());
    EXPECT_FALSE(none.has_value());
    EXPECT_THROW((void)none.value(), std::bad_optional_access);
    c.send("x");
    auto some = c.try_recv();
    ASSERT_TRUE(some);
    EXPECT_FALSE(some.empty());
    EXPECT_EQ(*some, "x");
    EXPECT_EQ(some->size(), 1U);
    EXPECT_EQ(std::move(some).value(), "x");
    c.close();
    EXPECT_TRUE(c.try_recv().closed());
    EXPECT_FALSE(c.try_recv().empty());
  });
}

TEST_P(Chan, TimedFormsTellWhy) {
  run([] {
    auto c = make_chan<int>(1);
    EXPECT_EQ(c.recv_for(0ms).error(), weft::errc::deadline_exceeded);
    EXPECT_EQ(c.recv_for(-1s).error(), weft::errc::deadline_exceeded);
    const auto start = weft::clock::now();
    EXPECT_EQ(c.recv_for(20ms).error(), std::errc::timed_out);
    EXPECT_GE(weft::clock::now() - start, 20ms);
    EXPECT_TRUE(c.send_for(20ms, 1));
    EXPECT_FALSE(c.send_for(20ms, 2));
    EXPECT_EQ(c.recv_for(20ms), 1);
    EXPECT_TRUE(c.send_for(std::chrono::hours::max(), 3));
    EXPECT_EQ(c.recv_for(std::chrono::duration<double>(1e300)), 3);
    c.close();
    EXPECT_EQ(c.recv_for(20ms).error(), weft::errc::closed);
    EXPECT_EQ(c.recv(weft::background()).error(), weft::errc::closed);
  });
}

TEST_P(Chan, ContextFormsEndWithTheContextAndConsumeNothingIfItIsDone) {
  run([] {
    auto c = make_chan<move_only>(1);
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    c.send(std::make_unique<int>(1));
    EXPECT_EQ(**c.recv(ctx), 1);
    crew others(in_fibers());
    others.start([&] { EXPECT_EQ(c.recv(ctx).error(), std::errc::operation_canceled); });
    yield_until([&] { return parked_receivers(c) == 1; });
    cancel();
    others.join();
    EXPECT_EQ(parked_receivers(c), 0U);

    c.send(std::make_unique<int>(2));
    EXPECT_EQ(c.recv(ctx).error(), weft::errc::canceled);  // done already: nothing is taken
    EXPECT_EQ(c.len(), 1U);
    auto v = std::make_unique<int>(3);
    (void)c.recv();
    EXPECT_EQ(c.send(ctx, std::move(v)).error(), weft::errc::canceled);
    EXPECT_EQ(c.len(), 0U);
    ASSERT_TRUE(v);
    EXPECT_EQ(*v, 3);
  });
}

TEST_P(Chan, AParkedTimedSenderKeepsItsValue) {
  run([] {
    auto c = make_chan<move_only>();
    auto v = std::make_unique<int>(3);
    EXPECT_FALSE(c.send_for(5ms, std::move(v)));
    ASSERT_TRUE(v);
    EXPECT_EQ(parked_senders(c), 0U);
    EXPECT_TRUE(c.try_recv().empty());
  });
}

TEST_P(Chan, RangeReceivesUntilTheEnd) {
  run([] {
    auto c = make_chan<move_only>(3);
    crew others(in_fibers());
    others.start([=] {
      for (int i = 0; i < 50; ++i) c.send(std::make_unique<int>(i));
      c.close();
    });
    int next = 0;
    for (auto& v : c) EXPECT_EQ(*v, next++);
    EXPECT_EQ(next, 50);
    for (auto& v : c) FAIL() << *v;  // closed and drained: an empty range
  });
}

TEST_P(Chan, RangeOverADirectionalEnd) {
  run([] {
    auto c = make_chan<int>(4);
    const weft::send_chan<int> in = c;
    const weft::recv_chan<int> out = c;
    for (int i = 0; i < 4; ++i) in.send(i);
    in.close();
    int sum = 0;
    for (const int v : out | std::views::transform([](int x) { return 10 * x; })) sum += v;
    EXPECT_EQ(sum, 60);
  });
}

TEST_P(Chan, ValuesThatCannotBeAssignedAreARange) {
  run([] {
    auto c = make_chan<not_assignable>(3);
    for (int i = 1; i <= 3; ++i) c.send({i});
    auto it = c.begin();
    it = c.begin();  // the first value goes, the second takes its place
    EXPECT_EQ(it->value, 2);
    auto& same = it;
    it = std::move(same);
    EXPECT_EQ(it->value, 2);
    c.close();
    ++it;
    auto rest = std::move(it);
    EXPECT_EQ(rest->value, 3);
    ++rest;
    EXPECT_TRUE(rest == c.end());
    rest = c.begin();
    EXPECT_TRUE(rest == c.end());
  });
}

TEST_P(Chan, AViewTakesWhatItWantsOfARange) {
  run([] {
    auto c = make_chan<counted>(4);
    for (int i = 1; i <= 4; ++i) c.send(counted(i));
    c.close();
    int sum = 0;
    for (const counted& v : c | std::views::take(2)) sum += v.value;
    EXPECT_EQ(sum, 3);
  });
  EXPECT_EQ(counted::alive, 0);
}

TEST_P(Chan, HandlesCompareByChannel) {
  run([] {
    auto c = make_chan<int>(1);
    auto d = make_chan<int>(1);
    const chan<int> copy = c;
    const weft::recv_chan<int> out = c;
    EXPECT_TRUE(c == copy);
    EXPECT_TRUE(c == out);
    EXPECT_TRUE(c != d);
    EXPECT_TRUE(chan<int>() == chan<int>());
    EXPECT_EQ(std::hash<chan<int>>()(c), std::hash<chan<int>>()(copy));
    chan<int> moved = std::move(d);
    EXPECT_FALSE(d);  // NOLINT: moved-from is nil
    d = moved;
    EXPECT_TRUE(d == moved);
    d = c;
    EXPECT_TRUE(d == c);
    d = std::move(moved);
    EXPECT_TRUE(d != c);
  });
}

TEST_P(Chan, ConflatedKeepsTheLatestOnly) {
  run([] {
    auto c = make_chan<std::string>(weft::conflated);
    for (int i = 0; i < 10; ++i) c.send(std::to_string(i));  // never blocks
    EXPECT_TRUE(c.try_send("last"));
    EXPECT_EQ(c.len(), 1U);
    EXPECT_EQ(c.recv(), "last");
    EXPECT_TRUE(c.try_recv().empty());
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    EXPECT_TRUE(c.send(ctx, "a"));
    EXPECT_TRUE(c.send_for(1ms, "b"));
    c.close();
    EXPECT_THROW(c.send("c"), weft::closed_channel);
    EXPECT_EQ(c.recv(), "b");
    EXPECT_EQ(c.recv(), std::nullopt);
  });
}

TEST_P(Chan, ConflatedDestroysTheOldValueOutsideTheLock) {
  run([] {
    // The destructor uses the channel itself: under its lock that would hang.
    struct probe {
      chan<std::unique_ptr<probe>>* c;
      ~probe() {
        if (c != nullptr) {
          EXPECT_EQ(c->len(), 1U);
        }
      }
    };
    auto c = make_chan<std::unique_ptr<probe>>(weft::conflated);
    c.send(std::unique_ptr<probe>(new probe{&c}));
    c.send(std::unique_ptr<probe>(new probe{&c}));
    c.send(std::unique_ptr<probe>(new probe{nullptr}));
    EXPECT_TRUE(c.recv());
  });
}

TEST_P(Chan, UnboundedNeverBlocksAndKeepsOrder) {
  run([] {
    auto c = make_chan<move_only>(weft::unbounded);
    constexpr int n = 5000;
    for (int round = 0; round < 3; ++round) {
      for (int i = 0; i < n; ++i) c.send(std::make_unique<int>(i));
      EXPECT_EQ(c.len(), static_cast<std::size_t>(n));
      for (int i = 0; i < n / 2; ++i) EXPECT_EQ(**c.recv(), i);
      for (int i = 0; i < n / 2; ++i) EXPECT_TRUE(c.try_send(std::make_unique<int>(n + i)));
      for (int i = n / 2; i < n + n / 2; ++i) EXPECT_EQ(**c.recv(), i);
      EXPECT_TRUE(c.try_recv().empty());
    }
    for (int i = 0; i < 700; ++i) c.send(std::make_unique<int>(i));
    c.close();
    int next = 0;
    for (auto& v : c) {
      EXPECT_EQ(*v, next);
      if (++next == 300) break;  // the rest is destroyed with the channel
    }
  });
}

TEST_P(Chan, AnImpossibleCapacityThrows) {
  run([] {
    EXPECT_THROW((void)make_chan<large>(std::numeric_limits<std::size_t>::max()),
                 weft::logic_error);
    EXPECT_THROW((void)make_chan<int>(std::size_t{1} << 40), weft::logic_error);
  });
}

TEST_P(Chan, AnInFrameChannelIsMadeFromNothing) {
  struct has_channels {
    weft::channel<int, 2> jobs;
    weft::channel<move_only> results;
  };
  run([] {
    has_channels s{};
    s.jobs.send(1);
    EXPECT_EQ(s.jobs.recv(), 1);
    EXPECT_EQ(s.results.cap(), 0U);
  });
}

TEST_P(Chan, InFrameChannelsLendTheirEnds) {
  run([] {
    weft::channel<move_only, 2> c;
    EXPECT_EQ(c.cap(), 2U);
    c.send(std::make_unique<int>(1));
    EXPECT_TRUE(c.try_send(std::make_unique<int>(2)));
    EXPECT_EQ(c.len(), 2U);
    {
      const chan<move_only> handle = c;
      const weft::recv_chan<move_only> out = handle;
      const weft::send_chan<move_only> in = c;
      EXPECT_TRUE(out == in);
      EXPECT_EQ(**out.recv(), 1);
      in.send(std::make_unique<int>(3));
    }
    EXPECT_EQ(**c.recv(), 2);
    weft::channel<int> rendezvous;
    EXPECT_EQ(rendezvous.cap(), 0U);
    crew others(in_fibers());
    others.start([&] { rendezvous.send(5); });
    EXPECT_EQ(rendezvous.recv(), 5);
  });
}

// Order is FIFO for waiters: whoever parked first is served first.
TEST_P(Chan, WaitersAreServedInOrder) {
  run([] {
    auto c = make_chan<int>();
    std::array<int, 4> got{};
    crew others(in_fibers());
    for (std::size_t i = 0; i < got.size(); ++i) {
      others.start([&, i] { got[i] = *c.recv(); });
      yield_until([&] { return parked_receivers(c) == i + 1; });
    }
    for (int i = 0; i < 4; ++i) c.send(i);
    others.join();
    EXPECT_EQ(got, (std::array{0, 1, 2, 3}));
    for (std::size_t i = 0; i < got.size(); ++i) {
      others.start([&, i] { c.send(static_cast<int>(i)); });
      yield_until([&] { return parked_senders(c) == i + 1; });
    }
    for (int i = 0; i < 4; ++i) EXPECT_EQ(c.recv(), i);
  });
}

// Also on a buffered channel: a parked sender's value comes behind those in the buffer.
TEST_P(Chan, ParkedSendersComeBehindTheBuffer) {
  run([] {
    auto c = make_chan<int>(2);
    c.send(0);
    c.send(1);
    crew others(in_fibers());
    for (std::size_t i = 0; i < 3; ++i) {
      others.start([&, i] { c.send(2 + static_cast<int>(i)); });
      yield_until([&] { return parked_senders(c) == i + 1; });
    }
    for (int i = 0; i < 5; ++i) EXPECT_EQ(c.recv(), i);
  });
}

// Go's test/chan/sendstmt.go: a channel of channels.
TEST_P(Chan, ChannelsTravelThroughChannels) {
  run([] {
    auto c = make_chan<chan<int>>();
    crew others(in_fibers());
    others.start([=] {
      auto reply = make_chan<int>();
      c.send(reply);
      reply.send(42);
    });
    EXPECT_EQ(c.recv()->recv(), 42);
  });
}

TEST_P(Chan, ValuesLeftBehindAreDestroyedWithTheChannel) {
  run([] {
    {
      auto c = make_chan<counted>(8);
      auto u = make_chan<counted>(weft::unbounded);
      auto k = make_chan<counted>(weft::conflated);
      weft::channel<counted, 4> local;
      for (int i = 0; i < 3; ++i) {
        c.send(counted(i));
        u.send(counted(i));
        k.send(counted(i));
        local.send(counted(i));
      }
      EXPECT_EQ(counted::alive, 10);
    }
    EXPECT_EQ(counted::alive, 0);
  });
}

TEST(ChanAccounts, ChannelsAreCountedWhileAnEndLives) {
  const auto before = weft::stats().live.channels;
  {
    weft::recv_chan<int> out;
    {
      auto c = make_chan<int>(1);
      const weft::channel<int, 3> local;
      out = c;
      EXPECT_EQ(weft::stats().live.channels, before + 2);
    }
    EXPECT_EQ(weft::stats().live.channels, before + 1);
  }
  EXPECT_EQ(weft::stats().live.channels, before);
}

}  // namespace
