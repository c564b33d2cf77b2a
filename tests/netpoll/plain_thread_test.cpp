// SPDX-License-Identifier: Apache-2.0
// Ordinary OS threads use the network as fibers do, beside them and with them.
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "tests/netpoll/net_helper.hpp"

namespace {

using namespace weft_test;

class PlainThreadTest : public net_test {};

TEST_F(PlainThreadTest, EchoesWithAFiber) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    std::thread thread([&c = client] {
      for (int i = 0; i < 200; ++i) {
        const std::string said = "message " + std::to_string(i);
        ASSERT_TRUE(c.write_all(said));
        std::string heard(said.size(), '\0');
        ASSERT_EQ(c.read_full(std::as_writable_bytes(std::span(heard))), said.size());
        ASSERT_EQ(heard, said);
      }
      c.close();
    });
    for (std::string got = read_text(server); !got.empty(); got = read_text(server)) {
      ASSERT_TRUE(server.write_all(got));
    }
    thread.join();
  });
}

// One P whatever WEFT_PROCS says: with more, force-migrate would fill the mailbox of one that has
// no thread to read it.
class one_processor {
 public:
  one_processor() { ::setenv("WEFT_PROCS", "1", 1); }
  ~one_processor() {
    if (before_.empty()) {
      ::unsetenv("WEFT_PROCS");
    } else {
      ::setenv("WEFT_PROCS", before_.c_str(), 1);
    }
  }
  one_processor(const one_processor&) = delete;
  one_processor& operator=(const one_processor&) = delete;

 private:
  std::string before_ = std::getenv("WEFT_PROCS") == nullptr ? "" : std::getenv("WEFT_PROCS");
};

// sysmon takes the P of a fiber that computes while another waits for data, and no second thread
// may be started: the first one is for that P when its fiber waits, too.
TEST_F(PlainThreadTest, DataComeThoughAThreadWasRefused) {
  const one_processor only;
  weft::run(weft::options{.max_threads = 1}, [] {
    auto [client, server] = make_tcp_pair();
    std::string got;
    auto reader = weft::spawn([&, &s = server] { got = read_text(s); });
    until_waiting(1);
    std::atomic<bool> computed{false};
    // (Nobody can see that the main fiber waits: it has time to. Should it not, the test says
    // less.)
    std::thread writer([&, fd = client.native_handle()] {
      while (!computed.load()) std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      EXPECT_EQ(::write(fd, "data", 4), 4);
    });
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(60);
    while (std::chrono::steady_clock::now() < end) {
    }
    computed.store(true);
    reader.join();
    EXPECT_EQ(got, "data");
    writer.join();
  });
}

TEST_F(PlainThreadTest, TwoThreadsTalkWhileARuntimeRuns) {
  weft::run([] {
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    auto done = weft::make_chan<weft::unit>(2);
    std::thread server([&] {
      auto c = ln->accept();
      ASSERT_TRUE(c);
      EXPECT_EQ(read_all(*c), std::string(1 << 20, 't'));
      done.send({});
    });
    std::thread client([&] {
      auto c = weft::net::dial("tcp", ln->addr().to_string());
      ASSERT_TRUE(c);
      EXPECT_TRUE(c->write_all(std::string(1 << 20, 't')));
      c->close();
      done.send({});
    });
    static_cast<void>(done.recv());
    static_cast<void>(done.recv());
    server.join();
    client.join();
  });
}

TEST_F(PlainThreadTest, AThreadsReadEndsByDeadlineContextAndClose) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    auto done = weft::make_chan<weft::unit>();
    std::thread thread([&c = client, &done] {
      std::array<std::byte, 4> buffer;
      c.set_read_deadline(in(5ms));
      EXPECT_EQ(c.read(buffer).error(), weft::errc::deadline_exceeded);
      c.set_read_deadline(std::chrono::steady_clock::time_point::max());
      auto [ctx, cancel] = weft::with_timeout(weft::background(), 5ms);
      EXPECT_EQ(c.read(ctx, buffer).error(), weft::errc::deadline_exceeded);
      done.send({});
      EXPECT_EQ(c.read(buffer).error(), weft::errc::closed);
      done.send({});
    });
    static_cast<void>(done.recv());
    client.close();
    static_cast<void>(done.recv());
    thread.join();
  });
}

TEST_F(PlainThreadTest, AThreadClosesAFibersRead) {
  weft::run([] {
    auto [client, server] = make_tcp_pair();
    weft::fiber reader = weft::spawn([&c = client] {
      std::array<std::byte, 4> buffer;
      EXPECT_EQ(c.read(buffer).error(), weft::errc::closed);
    });
    until_waiting(1);
    std::thread([&c = client] { c.close(); }).join();
    reader.join();
  });
}

TEST_F(PlainThreadTest, WithoutARuntimeWhatNeedsNoWaitWorksAndWaitingIsRefused) {
  auto ln = weft::net::listen("tcp", "127.0.0.1:0");
  ASSERT_TRUE(ln);
  const auto none = ln->accept();
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error(), weft::errc::no_runtime);
  auto client = weft::net::dial("unix", "/nowhere/at/all.sock");
  EXPECT_EQ(client.error(), std::errc::no_such_file_or_directory);
  ln->set_deadline(in(0s));
  EXPECT_EQ(ln->accept().error(), weft::errc::deadline_exceeded);
}

TEST_F(PlainThreadTest, AThreadThatWaitsWhenTheRuntimeEndsIsToldSo) {
  weft::net::conn client;
  weft::net::conn server;
  std::atomic<bool> about_to_read{false};
  std::thread thread;
  weft::run([&] {
    auto pair = make_tcp_pair();
    client = std::move(pair.client);
    server = std::move(pair.server);
    thread = std::thread([&] {
      about_to_read = true;
      std::array<std::byte, 4> buffer;
      EXPECT_EQ(client.read(buffer).error(), weft::errc::no_runtime);
    });
    while (!about_to_read || weft::stats().armed_polls == 0) weft::yield();
  });
  thread.join();
  client = {};
  server = {};
}

}  // namespace
