// SPDX-License-Identifier: Apache-2.0
// Many at once: races between close and use, reuse of numbers, cancellation about as fast as data.
#include <sys/socket.h>

#include <atomic>
#include <cstdint>

#include "tests/netpoll/net_helper.hpp"

namespace {

using namespace weft_test;

class NetStressTest : public net_test {};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int scale = 1;
#else
constexpr int scale = 4;
#endif

// Each pair carries only its own mark. A reader that ever sees another mark has read from a
// stranger's descriptor.
void marked_life(std::uint32_t mark) {
  int fds[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  auto a = weft::net::adopt(fds[0]);
  auto b = weft::net::adopt(fds[1]);
  ASSERT_TRUE(a);
  ASSERT_TRUE(b);
  weft::fiber reader = weft::spawn([&a, mark] {
    for (;;) {
      std::uint32_t got = 0;
      const auto n = a->read_full(std::as_writable_bytes(std::span(&got, 1)));
      if (!n) {
        EXPECT_EQ(n.error(), weft::errc::closed);
        return;
      }
      if (*n < sizeof(got)) return;
      ASSERT_EQ(got, mark);
    }
  });
  weft::fiber writer = weft::spawn([&b, mark] {
    for (int i = 0; i < 5; ++i) {
      if (!b->write_all(std::as_bytes(std::span(&mark, 1)))) return;
      weft::yield();
    }
  });
  if (mark % 3 == 0) weft::yield();
  a->close();  // races with both
  writer.join();
  b->close();
  reader.join();
}

TEST_F(NetStressTest, NumbersAreReusedWithoutMixingTheirOwners) {
  weft::run([] {
    std::vector<weft::fiber> lives;
    for (std::uint32_t worker = 0; worker < 8; ++worker) {
      lives.push_back(weft::spawn([worker] {
        for (std::uint32_t i = 0; i < 100U * scale; ++i) marked_life(worker << 24 | i);
      }));
    }
    for (weft::fiber& f : lives) f.join();
  });
}

TEST_F(NetStressTest, ManyConnectionsEchoAtOnce) {
  weft::run([] {
    constexpr int connections = 100 * scale;
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    weft::fiber server = weft::spawn([&ln] {
      std::vector<weft::fiber> served;
      while (auto c = ln->accept()) {
        served.push_back(weft::spawn([c = std::move(*c)] {
          for (std::string got = read_text(c); !got.empty(); got = read_text(c)) {
            ASSERT_FALSE(got.starts_with("error")) << got;
            const auto n = c.write_all(got);
            ASSERT_TRUE(n) << n.error().message();
          }
        }));
      }
      for (weft::fiber& f : served) f.join();
    });
    std::vector<weft::fiber> clients;
    for (int i = 0; i < connections; ++i) {
      clients.push_back(weft::spawn([&ln, i] {
        auto c = weft::net::dial(ln->addr());
        ASSERT_TRUE(c) << c.error().message();
        for (int k = 0; k < 10; ++k) {
          const std::string said = std::to_string(i) + "/" + std::to_string(k);
          ASSERT_TRUE(c->write_all(said));
          std::string heard(said.size(), '\0');
          ASSERT_EQ(c->read_full(std::as_writable_bytes(std::span(heard))), said.size());
          ASSERT_EQ(heard, said);
        }
      }));
    }
    for (weft::fiber& f : clients) f.join();
    ln->close();
    server.join();
  });
}

TEST_F(NetStressTest, EveryOperationEndsOnceWhenDeadlinesMeetData) {
  weft::run([] {
    std::vector<weft::fiber> pairs;
    for (int p = 0; p < 8; ++p) {
      pairs.push_back(weft::spawn([p] {
        auto [client, server] = make_tcp_pair();
        weft::fiber echo = weft::spawn([&s = server] {
          for (std::string got = read_text(s); !got.empty(); got = read_text(s)) {
            if (!s.write_all(got)) return;
          }
        });
        std::size_t sent = 0;
        std::size_t heard = 0;
        std::array<std::byte, 16> buffer;
        for (int i = 0; i < 300 * scale; ++i) {
          ASSERT_TRUE(client.write_all("x"));
          ++sent;
          client.set_read_deadline(in(std::chrono::microseconds((i + p) % 60)));
          const auto n = client.read(buffer);
          if (n) {
            heard += *n;
          } else {
            ASSERT_EQ(n.error(), weft::errc::deadline_exceeded);
          }
        }
        client.set_read_deadline(std::chrono::steady_clock::time_point::max());
        while (heard < sent) {
          const auto n = client.read(buffer);
          ASSERT_TRUE(n);
          heard += *n;
        }
        EXPECT_EQ(heard, sent);
        client.close();
        echo.join();
      }));
    }
    for (weft::fiber& f : pairs) f.join();
  });
}

TEST_F(NetStressTest, CancelCloseAndDataRaceOnOneConnection) {
  weft::run([] {
    for (int i = 0; i < 100 * scale; ++i) {
      auto [client, server] = make_tcp_pair();
      auto [ctx, cancel] = weft::with_cancel(weft::background());
      std::vector<weft::fiber> readers;
      for (int r = 0; r < 3; ++r) {
        readers.push_back(weft::spawn([&c = client, &ctx] {
          std::array<std::byte, 4> buffer;
          const auto n = c.read(ctx, buffer);
          EXPECT_TRUE(n || n.error() == weft::errc::canceled || n.error() == weft::errc::closed)
              << n.error().message();
        }));
      }
      weft::fiber closer = weft::spawn([&c = client] { c.close(); });
      weft::fiber writer = weft::spawn([&s = server] { static_cast<void>(s.write_all("data")); });
      cancel();
      for (weft::fiber& f : readers) f.join();
      closer.join();
      writer.join();
    }
  });
}

}  // namespace
