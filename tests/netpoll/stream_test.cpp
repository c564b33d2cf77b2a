// SPDX-License-Identifier: Apache-2.0
// Reading and writing, over TCP, unix sockets and adopted descriptors.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <numeric>

#include "tests/netpoll/net_helper.hpp"

namespace {

using namespace weft_test;

class StreamTest : public net_test {};

void serve_echo(const weft::net::conn& c) {
  std::array<std::byte, 4096> buffer;
  for (;;) {
    const auto n = c.read(buffer);
    if (!n || *n == 0) return;
    if (!c.write_all(std::span<const std::byte>(buffer).first(*n))) return;
  }
}

void echo_over(const char* network, const std::string& where) {
  auto ln = weft::net::listen(network, where);
  ASSERT_TRUE(ln) << ln.error().message();
  weft::fiber server = weft::spawn([&ln] {
    auto c = ln->accept();
    ASSERT_TRUE(c);
    serve_echo(*c);
  });
  auto c = weft::net::dial(network, ln->addr().to_string());
  ASSERT_TRUE(c) << c.error().message();
  for (int i = 0; i < 100; ++i) {
    const std::string said = "message " + std::to_string(i);
    ASSERT_TRUE(c->write_all(said));
    std::string heard(said.size(), '\0');
    ASSERT_EQ(c->read_full(std::as_writable_bytes(std::span(heard))), said.size());
    ASSERT_EQ(heard, said);
  }
  c->close();
  server.join();
}

TEST_F(StreamTest, EchoesOverTcp4) {
  weft::run([] { echo_over("tcp4", "127.0.0.1:0"); });
}

TEST_F(StreamTest, EchoesOverTcp6) {
  weft::run([] { echo_over("tcp6", "[::1]:0"); });
}

TEST_F(StreamTest, EchoesOverAUnixSocketFile) {
  const std::string path = "/tmp/weft_test_" + std::to_string(::getpid()) + ".sock";
  weft::run([&] { echo_over("unix", path); });
  EXPECT_NE(::access(path.c_str(), F_OK), 0) << "the listener leaves its file behind";
}

TEST_F(StreamTest, EchoesOverAnAbstractUnixSocket) {
  weft::run([] { echo_over("unix", "@weft_test_" + std::to_string(::getpid())); });
}

TEST_F(StreamTest, HalfCloseEndsTheStreamInOneDirectionOnly) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    ASSERT_TRUE(client.write_all("question"));
    ASSERT_TRUE(client.close_write());
    EXPECT_EQ(read_all(server), "question");
    ASSERT_TRUE(server.write_all("answer"));
    server.close();
    EXPECT_EQ(read_all(client), "answer");
    EXPECT_FALSE(client.write_all("late"));
  });
}

TEST_F(StreamTest, CloseReadEndsAReaderThatWaits) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    weft::fiber reader = weft::spawn([&c = client] { EXPECT_EQ(read_text(c), ""); });
    until_waiting(1);
    EXPECT_TRUE(client.close_read());
    reader.join();
  });
}

TEST_F(StreamTest, ReadFullStopsAtTheEndOfTheStream) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    ASSERT_TRUE(client.write_all("12345"));
    client.close();
    std::array<std::byte, 64> buffer;
    EXPECT_EQ(server.read_full(buffer), 5U);
    EXPECT_EQ(server.read_full(buffer), 0U);
  });
}

TEST_F(StreamTest, AnEmptyBufferReadsAndWritesNothing) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    EXPECT_EQ(client.read(std::span<std::byte>()), 0U);
    EXPECT_EQ(client.write(std::span<const std::byte>()), 0U);
    EXPECT_EQ(client.write_all(""), 0U);
  });
}

TEST_F(StreamTest, MegabytesReachASlowReaderWhole) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    std::string data(8 << 20, '\0');
    std::iota(data.begin(), data.end(), '\0');
    weft::fiber writer = weft::spawn([&data, &c = client] {
      EXPECT_EQ(c.write_all(data), data.size());
      c.close();
    });
    std::string got;
    std::string part(3001, '\0');
    for (;;) {
      const auto n = server.read(std::span<char>(part));
      ASSERT_TRUE(n);
      if (*n == 0) break;
      got.append(part, 0, *n);
      if (got.size() % 7 == 0) weft::yield();
    }
    writer.join();
    EXPECT_TRUE(got == data);
  });
}

TEST_F(StreamTest, WriteTakesWhatFitsAndSaysHowMuch) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    const std::string& data = more_than_fits();
    const auto n = client.write(data);
    ASSERT_TRUE(n);
    EXPECT_GT(*n, 0U);
    EXPECT_LT(*n, data.size());
  });
}

TEST_F(StreamTest, WritevSendsAllBuffersInOrder) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    std::vector<std::string> texts;
    std::string expected;
    for (int i = 0; i < 300; ++i) {
      texts.push_back(i % 5 == 0 ? ""
                                 : std::string(static_cast<std::size_t>(i * 37), 'a' + i % 26));
      expected += texts.back();
    }
    std::vector<std::span<const std::byte>> spans;
    std::vector<iovec> vectors;
    for (std::string& t : texts) {
      spans.push_back(bytes(t));
      vectors.push_back({t.data(), t.size()});
    }
    weft::fiber reader = weft::spawn([&c = server, &expected] {
      const std::string got = read_all(c);
      EXPECT_TRUE(got == expected + expected);
    });
    EXPECT_EQ(client.writev(spans), expected.size());
    EXPECT_EQ(client.writev(std::span<const iovec>(vectors)), expected.size());
    EXPECT_EQ(client.writev(std::span<const iovec>()), 0U);
    client.close();
    reader.join();
  });
}

TEST_F(StreamTest, TwoReadersTakeTurnsAndLoseNothing) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    std::array<std::size_t, 4> sums{};
    std::vector<weft::fiber> readers;
    for (std::size_t& sum : sums) {
      readers.push_back(weft::spawn([&c = server, &sum] {
        std::array<std::byte, 100> buffer;
        for (;;) {
          const auto n = c.read(buffer);
          ASSERT_TRUE(n);
          if (*n == 0) return;
          sum += *n;
        }
      }));
    }
    const std::string data(100'000, 'x');
    ASSERT_TRUE(client.write_all(data));
    client.close();
    for (weft::fiber& f : readers) f.join();
    EXPECT_EQ(std::accumulate(sums.begin(), sums.end(), std::size_t{0}), data.size());
  });
}

TEST_F(StreamTest, WritersDoNotInterleave) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    static constexpr std::size_t size = 300'000;
    std::vector<weft::fiber> writers;
    for (char letter : {'a', 'b', 'c'}) {
      writers.push_back(weft::spawn(
          [&c = client, letter] { EXPECT_EQ(c.write_all(std::string(size, letter)), size); }));
    }
    for (int i = 0; i < 3; ++i) {
      std::string message(size, '\0');
      ASSERT_EQ(server.read_full(std::as_writable_bytes(std::span(message))), size);
      EXPECT_EQ(message, std::string(size, message[0]));
    }
    for (weft::fiber& f : writers) f.join();
  });
}

TEST_F(StreamTest, ReaderAndWriterOfOneConnectionWaitAtTheSameTime) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    const std::string& data = more_than_fits();
    weft::fiber reader = weft::spawn([&c = client] { EXPECT_EQ(read_all(c), "go on"); });
    weft::fiber writer =
        weft::spawn([&c = client, &data] { EXPECT_EQ(c.write_all(data), data.size()); });
    until_waiting(2);
    std::string got(data.size(), '\0');
    EXPECT_EQ(server.read_full(std::as_writable_bytes(std::span(got))), data.size());
    ASSERT_TRUE(server.write_all("go on"));
    server.close();
    reader.join();
    writer.join();
  });
}

TEST_F(StreamTest, NoDelayIsOnForBothEnds) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    for (const weft::net::conn* c : {&client, &server}) {
      int on = 0;
      socklen_t size = sizeof(on);
      ASSERT_EQ(::getsockopt(c->native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
      EXPECT_NE(on, 0);
      EXPECT_TRUE(c->set_no_delay(false));
      ASSERT_EQ(::getsockopt(c->native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
      EXPECT_EQ(on, 0);
      EXPECT_TRUE(c->set_keep_alive(30s));
      EXPECT_TRUE(c->set_keep_alive(0s));
    }
  });
}

TEST_F(StreamTest, DescriptorsAreNonBlockingAndCloseOnExec) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    for (const weft::net::conn* c : {&client, &server}) {
      EXPECT_NE(::fcntl(c->native_handle(), F_GETFL) & O_NONBLOCK, 0);
      EXPECT_NE(::fcntl(c->native_handle(), F_GETFD) & FD_CLOEXEC, 0);
    }
  });
}

TEST_F(StreamTest, AddressesOfBothEndsMatch) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    EXPECT_EQ(client.local_addr(), server.remote_addr());
    EXPECT_EQ(client.remote_addr(), server.local_addr());
    EXPECT_EQ(client.remote_addr().host(), "127.0.0.1");
    client.close();
    EXPECT_TRUE(client.local_addr().empty());
  });
}

TEST_F(StreamTest, ARefUsesTheConnectionWithoutKeepingItOpen) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    weft::net::conn_ref ref = client.ref();
    {
      const weft::net::conn_ref copy = ref;
      ASSERT_TRUE(copy.write_all("by the ref"));
    }
    EXPECT_EQ(read_text(server), "by the ref");
    {
      const weft::net::conn gone = std::move(client);
    }
    EXPECT_EQ(read_text(server), "") << "dropping the owner closes";
    EXPECT_FALSE(ref.is_open());
    EXPECT_EQ(ref.write_all("x").error(), weft::errc::closed);
    EXPECT_EQ(ref.native_handle(), -1);
  });
}

TEST_F(StreamTest, AnEmptyConnectionAnswersClosed) {
  weft::run([] {
    const weft::net::conn none;
    std::array<std::byte, 4> buffer;
    EXPECT_EQ(none.read(buffer).error(), weft::errc::closed);
    EXPECT_EQ(none.write_all("x").error(), weft::errc::closed);
    EXPECT_EQ(none.close_write().error(), weft::errc::closed);
    EXPECT_FALSE(none);
    none.close();
    none.set_deadline(in(1s));
  });
}

TEST_F(StreamTest, MovingOverAConnectionClosesTheOldOne) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    auto [other, far] = make_tcp_pair();
    client = std::move(other);
    EXPECT_EQ(read_text(server), "");
    ASSERT_TRUE(client.write_all("moved"));
    EXPECT_EQ(read_text(far), "moved");
  });
}

TEST_F(StreamTest, AnAdoptedPipeReadsAndWrites) {
  weft::run([] {
    int fds[2];
    ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
    auto in_end = weft::net::adopt(fds[0]);
    auto out_end = weft::net::adopt(fds[1]);
    ASSERT_TRUE(in_end);
    ASSERT_TRUE(out_end);
    weft::fiber reader =
        weft::spawn([&] { EXPECT_EQ(read_all(*in_end), std::string(200'000, 'p')); });
    until_waiting(1);
    EXPECT_EQ(out_end->write_all(std::string(200'000, 'p')), 200'000U);
    out_end->close();
    reader.join();
  });
}

TEST_F(StreamTest, AnAdoptedRegularFileIsAlwaysReady) {
  weft::run([] {
    const int fd = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    auto file = weft::net::adopt(fd);
    ASSERT_TRUE(file);
    EXPECT_EQ(read_text(*file, 4),
              "\x7f"
              "ELF");
    EXPECT_TRUE(weft::net::readable(file->native_handle()));
  });
}

TEST_F(StreamTest, ABadDescriptorIsNotAdopted) {
  weft::run([] {
    const auto c = weft::net::adopt(-1);
    ASSERT_FALSE(c);
    EXPECT_EQ(c.error(), std::errc::bad_file_descriptor);
  });
}

TEST_F(StreamTest, ABrokenPipeIsAnErrorAndNoSignal) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    server.close();
    std::error_code error;
    while (!error) {  // the first write may still be taken: the reset is on its way
      const auto n = client.write_all("x");
      if (!n) error = n.error();
    }
    EXPECT_TRUE(error == std::errc::broken_pipe || error == std::errc::connection_reset)
        << error.message();
  });
}

TEST_F(StreamTest, ReadableAndWritableWaitForForeignDescriptors) {
  weft::run([] {
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    EXPECT_TRUE(weft::net::writable(fds[0]));
    weft::fiber waiter = weft::spawn([&] { EXPECT_TRUE(weft::net::readable(fds[0])); });
    until_waiting(1);
    ASSERT_EQ(::write(fds[1], "x", 1), 1);
    waiter.join();
    auto [ctx, cancel] = weft::with_timeout(weft::background(), 5ms);
    EXPECT_EQ(weft::net::readable(ctx, fds[1]).error(), weft::errc::deadline_exceeded);
    ::close(fds[0]);
    EXPECT_TRUE(weft::net::readable(fds[1])) << "hang-up counts as readable";
    ::close(fds[1]);
    EXPECT_FALSE(weft::net::readable(-1));
  });
}

}  // namespace
