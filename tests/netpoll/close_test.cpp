// SPDX-License-Identifier: Apache-2.0
// Closing wakes everybody, and never lets a descriptor's number mean something else to a user.
#include <sys/socket.h>

#include "tests/netpoll/net_helper.hpp"

namespace {

using namespace weft_test;

class CloseTest : public net_test {};

TEST_F(CloseTest, WakesReadersAndWritersWithClosed) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    std::vector<weft::fiber> waiters;
    for (int i = 0; i < 3; ++i) {
      waiters.push_back(weft::spawn([&c = client] {
        std::array<std::byte, 4> buffer;
        EXPECT_EQ(c.read(buffer).error(), weft::errc::closed);
      }));
      waiters.push_back(weft::spawn(
          [&c = client] { EXPECT_EQ(c.write_all(more_than_fits()).error(), weft::errc::closed); }));
    }
    until_waiting(6);
    client.close();
    for (weft::fiber& f : waiters) f.join();
    EXPECT_EQ(client.native_handle(), -1);
  });
}

TEST_F(CloseTest, WakesAccepters) {
  weft::run([] {
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    std::vector<weft::fiber> waiters;
    for (int i = 0; i < 3; ++i) {
      waiters.push_back(
          weft::spawn([&ln] { EXPECT_EQ(ln->accept().error(), weft::errc::closed); }));
    }
    until_waiting(3);
    ln->close();
    for (weft::fiber& f : waiters) f.join();
  });
}

TEST_F(CloseTest, IsIdempotentFromManyFibers) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    std::vector<weft::fiber> closers;
    for (int i = 0; i < 10; ++i) {
      closers.push_back(weft::spawn([&c = client] { c.close(); }));
    }
    for (weft::fiber& f : closers) f.join();
    EXPECT_EQ(read_text(server), "");
  });
}

TEST_F(CloseTest, ThePeerSeesTheEndAlthoughAReadWasArmed) {
  weft::run([] {
    for (int i = 0; i < 20; ++i) {
      auto [client, server] = make_tcp_pair();
      weft::fiber reader = weft::spawn([&c = client] {
        std::array<std::byte, 4> buffer;
        EXPECT_EQ(c.read(buffer).error(), weft::errc::closed);
      });
      until_waiting(1);
      client.close();
      EXPECT_EQ(read_text(server), "");
      reader.join();
    }
  });
}

TEST_F(CloseTest, ThePeerSeesTheEndAlthoughATimedOutReadIsStillArmed) {
  weft::run([] {
    for (int i = 0; i < 20; ++i) {
      auto [client, server] = make_tcp_pair();
      client.set_read_deadline(in(50us));
      std::array<std::byte, 4> buffer;
      EXPECT_EQ(client.read(buffer).error(), weft::errc::deadline_exceeded);
      client.close();
      EXPECT_EQ(read_text(server), "");
    }
  });
}

TEST_F(CloseTest, APortCanBeListenedOnAgainAsSoonAsCloseReturns) {
  weft::run([] {
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    const std::string where = ln->addr().to_string();
    for (int i = 0; i < 20; ++i) {
      weft::fiber waiter =
          weft::spawn([ref = &*ln] { EXPECT_EQ(ref->accept().error(), weft::errc::closed); });
      until_waiting(1);
      const auto begun = std::chrono::steady_clock::now();
      ln->close();
      // Its limit for a poll that another P has armed; past it, the kernel lets go when that P
      // runs.
      const bool gave_up = std::chrono::steady_clock::now() - begun >= 100ms;
      waiter.join();
      auto again = weft::net::listen("tcp", where);
      while (gave_up && !again && std::chrono::steady_clock::now() - begun < 20s) {
        weft::yield();
        again = weft::net::listen("tcp", where);
      }
      ASSERT_TRUE(again) << again.error().message();
      *ln = std::move(*again);
    }
  });
}

TEST_F(CloseTest, AConnectionDestroyedWhileOthersWaitOnARefIsSafe) {
  weft::run([] {
    for (int i = 0; i < 100; ++i) {
      auto [client, server] = make_tcp_pair();
      weft::fiber reader = weft::spawn([ref = client.ref()] {
        std::array<std::byte, 4> buffer;
        EXPECT_EQ(ref.read(buffer).error(), weft::errc::closed);
      });
      {
        const weft::net::conn gone = std::move(client);
      }
      reader.join();
    }
  });
}

TEST_F(CloseTest, ARuntimesEndFreesConnectionsThatLiveOnForTheNextOne) {
  weft::net::listener ln;
  weft::net::conn client;
  weft::net::conn server;
  weft::run([&] {
    auto made = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(made);
    ln = std::move(*made);
    auto c = weft::net::dial(ln.addr());
    ASSERT_TRUE(c);
    client = std::move(*c);
    auto s = ln.accept();
    ASSERT_TRUE(s);
    server = std::move(*s);
    // Abandoned in the middle of their operations (so nothing of theirs may be on the heap).
    weft::go([&] { static_cast<void>(ln.accept()); });
    for (int i = 0; i < 2; ++i) {
      weft::go([&] {
        std::array<std::byte, 16> buffer;
        static_cast<void>(client.read(buffer));
      });
    }
    until_waiting(3);
  });
  weft::run([&] {
    ASSERT_TRUE(server.write_all("next life"));
    client.set_read_deadline(in(10s));
    EXPECT_EQ(read_text(client), "next life");
    auto c = weft::net::dial(ln.addr());
    ASSERT_TRUE(c);
    ln.set_deadline(in(10s));
    EXPECT_TRUE(ln.accept());
    weft::fiber reader = weft::spawn([&] { EXPECT_EQ(read_text(client), "woken"); });
    until_waiting(1);
    ASSERT_TRUE(server.write_all("woken"));
    reader.join();
  });
  ln.close();
  client.close();
  server.close();
  // Handles go before TearDown counts.
  ln = {};
  client = {};
  server = {};
}

}  // namespace
