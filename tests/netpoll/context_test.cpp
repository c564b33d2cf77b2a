// SPDX-License-Identifier: Apache-2.0
// The calls of the network that take a context beside those of the other tests: listen, bind, send,
// and writes of text.
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "tests/chan/support.hpp"
#include "tests/netpoll/net_helper.hpp"

namespace {

using namespace weft_test;
using weft::background;

/// From a fiber, and from a plain thread beside a runtime.
class NetContext : public net_test, public ::testing::WithParamInterface<world> {
 protected:
  static bool in_fibers() { return GetParam() == world::fibers; }
  static void run(const std::function<void()>& body) {
    const weft::options options{.drain = 10s};  // a look-up that nobody waits for any more may end
    if (in_fibers()) {
      (void)weft::run(options, body);
    } else {
      (void)weft::run(options, [&] { weft::blocking([&] { std::thread(body).join(); }); });
    }
  }
};
WEFT_BOTH_WORLDS(NetContext);

TEST_P(NetContext, ListensAndBindsWhileItLasts) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(background());
    for (const char* text : {"127.0.0.1:0", "localhost:0"}) {
      auto ln = weft::net::listen(ctx, "tcp4", text, {.backlog = 8});
      ASSERT_TRUE(ln) << text << ": " << ln.error().message();
      EXPECT_TRUE(weft::net::dial(ctx, ln->addr()));
      EXPECT_TRUE(ln->accept(ctx));
      auto u = weft::net::udp_socket::bind(ctx, "udp4", text);
      ASSERT_TRUE(u) << text << ": " << u.error().message();
      EXPECT_NE(u->local_addr().port(), 0);
    }
    EXPECT_EQ(weft::net::listen(ctx, "udp", "127.0.0.1:0").error(), weft::errc::invalid_argument);
    EXPECT_EQ(weft::net::udp_socket::bind(ctx, "tcp", "127.0.0.1:0").error(),
              weft::errc::invalid_argument);
  });
}

TEST_P(NetContext, ADoneContextBindsNothing) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(background());
    cancel();
    const std::string path = "/tmp/weft_context_" + std::to_string(::getpid()) + ".sock";
    EXPECT_EQ(weft::net::listen(ctx, "unix", path).error(), weft::errc::canceled);
    EXPECT_NE(::access(path.c_str(), F_OK), 0);
    for (const char* text : {"127.0.0.1:0", "localhost:0", "no address"}) {
      EXPECT_EQ(weft::net::listen(ctx, "tcp", text).error(), weft::errc::canceled) << text;
      EXPECT_EQ(weft::net::udp_socket::bind(ctx, "udp", text).error(), weft::errc::canceled);
    }
    EXPECT_TRUE(weft::net::listen(background(), "unix", path));
  });
}

// Either it listens, or nothing is left of the attempt (the fixture looks).
TEST_P(NetContext, AnEndThatRacesTheLookUpStress) {
  run([] {
    for (int i = 0; i < scaled(100); ++i) {
      auto [ctx, cancel] = weft::with_cancel(background());
      crew other(in_fibers());
      other.start([&stop = cancel] { stop(); });
      const auto ln = weft::net::listen(ctx, "tcp4", "localhost:0");
      if (!ln) {
        EXPECT_EQ(ln.error(), weft::errc::canceled) << ln.error().message();
      }
      const auto u = weft::net::udp_socket::bind(ctx, "udp4", "localhost:0");
      if (!u) {
        EXPECT_EQ(u.error(), weft::errc::canceled) << u.error().message();
      }
    }
  });
}

TEST_P(NetContext, SendsToTheConnectedPeerWhileItLasts) {
  run([] {
    auto a = weft::net::udp_socket::bind("udp4", "127.0.0.1:0");
    auto b = weft::net::udp_socket::bind("udp4", "127.0.0.1:0");
    ASSERT_TRUE(a);
    ASSERT_TRUE(b);
    ASSERT_TRUE(a->connect(b->local_addr()));
    auto [ctx, cancel] = weft::with_cancel(background());
    EXPECT_EQ(a->send(ctx, bytes("first")), 5U);
    cancel();
    EXPECT_EQ(a->send(ctx, bytes("never")).error(), weft::errc::canceled);
    EXPECT_EQ(a->send(background(), bytes("last one")), 8U);
    std::array<std::byte, 64> buffer;
    EXPECT_EQ(b->recv_from(buffer)->size, 5U);
    EXPECT_EQ(b->recv_from(buffer)->size, 8U);
    a->close();
    EXPECT_EQ(a->send(background(), bytes("x")).error(), weft::errc::closed);
  });
}

TEST_P(NetContext, WritesTextWhileItLasts) {
  run([] {
    auto [client, server] = make_tcp_pair();
    auto [ctx, cancel] = weft::with_cancel(background());
    EXPECT_EQ(client.write(ctx, "first"), 5U);
    EXPECT_EQ(client.write(ctx, std::string(" second")), 7U);
    cancel();
    EXPECT_EQ(client.write(ctx, "never").error(), weft::errc::canceled);
    client.close();
    EXPECT_EQ(read_all(server), "first second");
  });
}

TEST_P(NetContext, AnEndMeanwhileEndsAWriteOfTextThatWaits) {
  run([] {
    auto [client, server] = make_tcp_pair();
    auto [ctx, cancel] = weft::with_cancel(background());
    std::size_t written = 0;
    std::error_code error;
    crew writer(in_fibers());
    writer.start([&, &c = client, &until = ctx] {
      for (;;) {
        const auto n = c.write(until, more_than_fits());  // nobody reads: it waits in the end
        if (!n) {
          error = n.error();
          return;
        }
        written += *n;
      }
    });
    for (int i = 0; i < 20; ++i) weft::yield();
    cancel();
    writer.join();
    EXPECT_EQ(error, weft::errc::canceled);
    client.close();
    EXPECT_EQ(read_all(server).size(), written) << "what it said it wrote, and no more";
  });
}

}  // namespace
