// SPDX-License-Identifier: Apache-2.0
// Deadlines and contexts: they end waits that have begun, and refuse those that have not.
#include <atomic>
#include <optional>

#include <weft/time.hpp>

#include "tests/netpoll/net_helper.hpp"

namespace {

using namespace weft_test;
using std::chrono::steady_clock;

class DeadlineTest : public net_test {};

std::error_code read_byte(const weft::net::conn& c) {
  std::array<std::byte, 1> buffer;
  const auto n = c.read(buffer);
  return n ? std::error_code() : n.error();
}

TEST_F(DeadlineTest, AReadDeadlineEndsTheWait) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    std::array<std::byte, 4> buffer;
    const auto end = in(10ms);
    client.set_read_deadline(end);
    const auto n = client.read(buffer);
    EXPECT_EQ(n.error(), weft::errc::deadline_exceeded);
    EXPECT_EQ(n.error(), std::errc::timed_out);
    EXPECT_GE(steady_clock::now(), end);
  });
}

TEST_F(DeadlineTest, ADeadlineSetWhileSomebodyWaitsTakesEffect) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    weft::fiber reader = weft::spawn([&c = client] {
      std::array<std::byte, 4> buffer;
      EXPECT_EQ(c.read(buffer).error(), weft::errc::deadline_exceeded);
    });
    until_waiting(1);
    client.set_read_deadline(in(5ms));
    reader.join();
  });
}

TEST_F(DeadlineTest, ADeadlineInThePastWakesAtOnce) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    weft::fiber reader = weft::spawn([&c = client] {
      std::array<std::byte, 4> buffer;
      EXPECT_EQ(c.read(buffer).error(), weft::errc::deadline_exceeded);
    });
    until_waiting(1);
    client.set_read_deadline(steady_clock::now() - 1s);
    reader.join();
  });
}

TEST_F(DeadlineTest, APastDeadlineRefusesEvenWhatIsReady) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    ASSERT_TRUE(server.write_all("here"));
    ASSERT_TRUE(weft::net::readable(client.native_handle()));
    client.set_deadline(steady_clock::now() - 1ns);
    std::array<std::byte, 4> buffer;
    EXPECT_EQ(client.read(buffer).error(), weft::errc::deadline_exceeded);
    EXPECT_EQ(client.write_all("x").error(), weft::errc::deadline_exceeded);
    client.set_deadline(steady_clock::time_point::max());
    EXPECT_EQ(read_text(client), "here") << "nothing was consumed, and a reset works";
    EXPECT_TRUE(client.write_all("x"));
  });
}

// One round with an old deadline in `wait`: nothing when it passed before it could be pushed out,
// which proves nothing.
std::optional<std::string> read_past_a_pushed_deadline(steady_clock::duration wait) {
  auto [client, server] = make_tcp_pair();
  const auto old = in(wait);
  client.set_read_deadline(old);
  std::atomic<bool> over = false;
  std::string text;
  weft::fiber reader = weft::spawn([&, &c = client] {
    text = read_text(c);
    over = true;
  });
  while (weft::stats().waiting < 1 && !over) weft::yield();
  client.set_read_deadline(in(1h));
  const bool in_time = steady_clock::now() < old;
  weft::sleep_for(wait + 20ms);
  EXPECT_TRUE(server.write_all("late"));
  reader.join();
  return in_time ? std::optional(text) : std::nullopt;
}

TEST_F(DeadlineTest, ADeadlinePushedOutWhileWaitingDoesNotFireEarly) {
  weft::run([] {
    std::optional<std::string> text;
    for (auto wait = 20ms; !text; wait *= 2) text = read_past_a_pushed_deadline(wait);
    EXPECT_EQ(*text, "late");
  });
}

TEST_F(DeadlineTest, ReadAndWriteDeadlinesAreSeparate) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    client.set_write_deadline(steady_clock::now() - 1s);
    ASSERT_TRUE(server.write_all("in"));
    EXPECT_EQ(read_text(client), "in");
    EXPECT_EQ(client.write_all("x").error(), weft::errc::deadline_exceeded);
    client.set_read_deadline(steady_clock::now() - 1s);
    client.set_write_deadline(weft::clock::time_point::max());
    EXPECT_TRUE(client.write_all("x"));
    EXPECT_EQ(read_byte(client), weft::errc::deadline_exceeded);
  });
}

TEST_F(DeadlineTest, AWriteDeadlineFreesAWriterWhosePeerDoesNotRead) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    client.set_write_deadline(in(20ms));
    EXPECT_EQ(client.write_all(more_than_fits()).error(), weft::errc::deadline_exceeded);
  });
}

TEST_F(DeadlineTest, ADeadlineReachesAReaderInTheQueueForItsTurn) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    std::vector<weft::fiber> readers;
    for (int i = 0; i < 3; ++i) {
      readers.push_back(weft::spawn([&c = client] {
        std::array<std::byte, 4> buffer;
        EXPECT_EQ(c.read(buffer).error(), weft::errc::deadline_exceeded);
      }));
    }
    until_waiting(3);
    client.set_read_deadline(in(1ms));
    for (weft::fiber& f : readers) f.join();
  });
}

TEST_F(DeadlineTest, AReadThatTimedOutLosesNoData) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    for (int i = 0; i < 50; ++i) {
      std::array<std::byte, 4> buffer;
      client.set_read_deadline(in(100us));
      EXPECT_EQ(client.read(buffer).error(), weft::errc::deadline_exceeded);
      client.set_read_deadline(steady_clock::time_point::max());
      const std::string said = std::to_string(i);
      weft::fiber reader = weft::spawn([&c = client, &said] { EXPECT_EQ(read_text(c), said); });
      ASSERT_TRUE(server.write_all(said));
      reader.join();
    }
  });
}

TEST_F(DeadlineTest, ADoneContextRefusesAndConsumesNothing) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    ASSERT_TRUE(server.write_all("kept"));
    cancel();
    std::array<std::byte, 4> buffer;
    EXPECT_EQ(client.read(ctx, buffer).error(), weft::errc::canceled);
    EXPECT_EQ(client.write_all(ctx, "x").error(), weft::errc::canceled);
    EXPECT_EQ(read_text(client), "kept");
  });
}

TEST_F(DeadlineTest, CancellingAContextEndsTheWait) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    weft::fiber reader = weft::spawn([&c = client, &ctx] {
      std::array<std::byte, 4> buffer;
      EXPECT_EQ(c.read(ctx, buffer).error(), weft::errc::canceled);
    });
    weft::fiber queued = weft::spawn([&c = client, &ctx] {
      std::array<std::byte, 4> buffer;
      EXPECT_EQ(c.read_full(ctx, buffer).error(), weft::errc::canceled);
    });
    weft::fiber writer = weft::spawn([&c = client, &ctx] {
      EXPECT_EQ(c.write_all(ctx, more_than_fits()).error(), weft::errc::canceled);
    });
    until_waiting(3);
    cancel();
    reader.join();
    queued.join();
    writer.join();
    EXPECT_TRUE(server.write_all("x"));
    EXPECT_EQ(read_text(client), "x") << "the connection itself lives on";
  });
}

TEST_F(DeadlineTest, AContextsDeadlineEndsAccept) {
  weft::run([] {
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    auto [ctx, cancel] = weft::with_timeout(weft::background(), 5ms);
    EXPECT_EQ(ln->accept(ctx).error(), weft::errc::deadline_exceeded);
    auto client = weft::net::dial(ln->addr());
    EXPECT_TRUE(ln->accept());
  });
}

TEST_F(DeadlineTest, AListenersDeadlineEndsAcceptAndCanBeReset) {
  weft::run([] {
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    ln->set_deadline(in(5ms));
    EXPECT_EQ(ln->accept().error(), weft::errc::deadline_exceeded);
    ln->set_deadline(steady_clock::time_point::max());
    auto client = weft::net::dial(ln->addr());
    EXPECT_TRUE(ln->accept());
  });
}

}  // namespace
