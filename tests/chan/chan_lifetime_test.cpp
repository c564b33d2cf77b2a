// SPDX-License-Identifier: Apache-2.0
// The end of channels: destroyed the moment the other side returns (ASan and force-migrate look
// on), and the fatal ways to end one.
#include <weft/chan.hpp>

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <thread>
#include <type_traits>
#include <weft/context.hpp>
#include <weft/fiber.hpp>
#include <weft/run.hpp>
#include <weft/select.hpp>
#include <weft/time.hpp>

#include "tests/chan/support.hpp"
#include "tests/support/child.hpp"

namespace {

using namespace weft_test;

class ChanLifetime : public both_worlds {};
WEFT_BOTH_WORLDS(ChanLifetime);

/// The peer's pointer, without counting: what is tested is that nobody touches it too late.
template <class T, std::size_t N>
using owned_channel = std::unique_ptr<weft::channel<T, N>>;

TEST_P(ChanLifetime, DestroyedAtOnceByTheReceiver) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 5000 : 400); ++i) {
      auto c = std::make_unique<weft::channel<move_only>>();
      crew peer(in_fibers());
      peer.start([raw = c.get()] { raw->send(std::make_unique<int>(1)); });
      EXPECT_EQ(**c->recv(), 1);
      c.reset();
    }
  });
}

TEST_P(ChanLifetime, DestroyedAtOnceByTheSender) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 5000 : 400); ++i) {
      auto c = std::make_unique<weft::channel<move_only>>();
      crew peer(in_fibers());
      peer.start([raw = c.get()] { EXPECT_TRUE(raw->recv().has_value()); });
      c->send(std::make_unique<int>(1));
      c.reset();
    }
  });
}

TEST_P(ChanLifetime, DestroyedAtOnceAfterATimedReceive) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 2000 : 300); ++i) {
      auto c = std::make_unique<weft::channel<int>>();
      crew peer(in_fibers());
      peer.start([raw = c.get()] { EXPECT_TRUE(raw->recv_for(30s).has_value()); });
      EXPECT_TRUE(c->send_for(30s, 1));
      c.reset();
    }
  });
}

TEST_P(ChanLifetime, DestroyedAtOnceByASelectsPartner) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 2000 : 300); ++i) {
      auto c = std::make_unique<weft::channel<int>>();
      auto stays = weft::make_chan<int>();
      crew peer(in_fibers());
      peer.start([raw = c.get(), stays] {
        (void)weft::select(weft::on_recv(*raw, [](std::optional<int> v) { EXPECT_EQ(v, 1); }),
                           weft::on_recv(stays, [] { FAIL(); }));
      });
      c->send(1);
      c.reset();
    }
  });
}

TEST_P(ChanLifetime, DestroyedAtOnceByTheSelectingSide) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 2000 : 300); ++i) {
      auto c = std::make_unique<weft::channel<int>>();
      crew peer(in_fibers());
      peer.start([raw = c.get()] { raw->send(1); });
      (void)weft::select(weft::on_recv(*c, [](std::optional<int> v) { EXPECT_EQ(v, 1); }),
                         weft::on_timeout(30s, [] { FAIL(); }));
      c.reset();
    }
  });
}

TEST_P(ChanLifetime, DestroyedAtOnceAfterClose) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 3000 : 300); ++i) {
      auto c = std::make_unique<weft::channel<int, 1>>();
      crew peer(in_fibers());
      peer.start([raw = c.get()] { raw->close(); });
      EXPECT_EQ(c->recv(), std::nullopt);
      c.reset();
    }
  });
}

TEST_P(ChanLifetime, DestroyedAtOnceWhateverItCarries) {
  run([] {
    const int rounds = scaled(in_fibers() ? 1500 : 200);
    const auto end_at_once = [&]<class T>(auto make, std::type_identity<T>) {
      for (int i = 0; i < rounds; ++i) {
        auto c = std::make_unique<weft::channel<T>>();
        auto buffered = std::make_unique<weft::channel<T, 1>>();
        crew peer(in_fibers());
        peer.start([raw = c.get(), next = buffered.get(), make] {
          raw->send(make());
          next->send(make());
        });
        EXPECT_TRUE(c->recv(weft::background()));
        c.reset();
        EXPECT_TRUE(buffered->recv_for(1h));
        buffered.reset();
      }
    };
    end_at_once([] { return std::make_unique<int>(1); }, std::type_identity<move_only>());
    end_at_once([] { return counted(1); }, std::type_identity<counted>());
    end_at_once([] { return over_aligned(1); }, std::type_identity<over_aligned>());
  });
  EXPECT_EQ(counted::alive, 0);
}

// The context of a wait may go as soon as the wait is over, whatever ended it.
TEST_P(ChanLifetime, AContextInTheFrameOfAWaitEndsWithIt) {
  run([] {
    auto c = weft::make_chan<int>();
    for (int i = 0; i < scaled(in_fibers() ? 2000 : 200); ++i) {
      auto [parent, cancel] = weft::with_cancel(weft::background());
      crew peer(in_fibers());
      peer.start([&, &above = parent] {
        const weft::scoped_context own(above, std::chrono::microseconds(i % 40));
        (void)c.recv(own);
      });
      peer.start([&, &above = parent] {
        const weft::scoped_context own(above);
        (void)weft::select(weft::on_send(c, i), weft::on_done(own));
      });
      if (i % 4 != 0) weft::yield();
      cancel();
    }
    EXPECT_EQ(parked_receivers(c) + parked_senders(c), 0U);
  });
}

TEST_P(ChanLifetime, TheLastHandleMayGoAnywhere) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 3000 : 300); ++i) {
      auto c = weft::make_chan<move_only>(2);
      c.send(std::make_unique<int>(1));
      crew peer(in_fibers());
      peer.start([out = weft::recv_chan<move_only>(c)] { EXPECT_TRUE(out.recv().has_value()); });
      peer.start([in = weft::send_chan<move_only>(c)] { in.send(std::make_unique<int>(2)); });
      c = {};
    }
  });
}

TEST(ChanFatal, DestroyedWhileSomebodyWaits) {
  const auto r = run_child([] {
    (void)weft::run(weft::options{}, [] {
      auto* c = new weft::channel<int>;
      weft::go([c] { (void)c->recv(); });
      yield_until([&] { return parked_receivers(*c) == 1; });
      delete c;
    });
  });
  EXPECT_EQ(r.code, 2);
  EXPECT_NE(r.error.find("weft::channel destroyed while fibers wait on it"), std::string::npos)
      << r.error;
}

TEST(ChanFatal, DestroyedWhileEndsExist) {
  const auto r = run_child([] {
    weft::recv_chan<int> out;
    {
      const weft::channel<int, 1> c;
      out = c;
    }
  });
  EXPECT_EQ(r.code, 2);
  EXPECT_NE(r.error.find("weft::channel destroyed while ends of it exist"), std::string::npos)
      << r.error;
}

// Waiter records of fibers that the end of a run has abandoned are taken out of what lives on.
TEST(ChanAbandoned, AChannelOutlivesTheFibersThatWaitedOnIt) {
  auto c = weft::make_chan<int>();
  auto d = weft::make_chan<int>(1);
  for (int round = 0; round < 20; ++round) {
    (void)weft::run(weft::options{}, [&] {
      weft::go([&] { (void)c.recv(); });
      weft::go([&] { (void)weft::select(weft::on_recv(c, [] {}), weft::on_recv(d, [] {})); });
      weft::go([&] { (void)c.recv_for(1h); });
      yield_until([&] { return parked_receivers(c) == 3; });
    });
    EXPECT_EQ(parked_receivers(c), 0U);
    EXPECT_EQ(parked_receivers(d), 0U);
  }
  EXPECT_TRUE(d.try_send(1));
  EXPECT_FALSE(c.try_send(1));
}

}  // namespace
