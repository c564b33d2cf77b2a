// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <set>

#include "tests/netpoll/net_helper.hpp"

namespace {

using namespace weft_test;

class ListenerTest : public net_test {};

TEST_F(ListenerTest, PortZeroIsAPortOfTheKernelsChoice) {
  weft::run([] {
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    EXPECT_NE(ln->addr().port(), 0);
    ln->close();
    EXPECT_NE(ln->addr().port(), 0) << "known after close as well";
  });
}

TEST_F(ListenerTest, AnyAddressTakesBothIpVersions) {
  weft::run([] {
    auto ln = weft::net::listen("tcp", ":0");
    ASSERT_TRUE(ln);
    const std::string port = std::to_string(ln->addr().port());
    for (const std::string host : {"127.0.0.1:", "[::1]:"}) {
      EXPECT_TRUE(weft::net::dial("tcp", host + port)) << host;
      EXPECT_TRUE(ln->accept());
    }
  });
}

TEST_F(ListenerTest, AnAddressInUseIsAnError) {
  weft::run([] {
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    const auto second = weft::net::listen("tcp", ln->addr().to_string());
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error(), std::errc::address_in_use);
  });
}

TEST_F(ListenerTest, ReusePortSharesThePort) {
  weft::run([] {
    auto first = weft::net::listen("tcp", "127.0.0.1:0", {.reuse_port = true});
    ASSERT_TRUE(first);
    EXPECT_TRUE(weft::net::listen("tcp", first->addr().to_string(), {.reuse_port = true}));
  });
}

TEST_F(ListenerTest, TextThatIsNoAddressIsRefused) {
  weft::run([] {
    for (const char* text : {"", "127.0.0.1", "127.0.0.1:", "::1:80"}) {
      const auto ln = weft::net::listen("tcp", text);
      ASSERT_FALSE(ln) << text;
      EXPECT_EQ(ln.error(), weft::errc::invalid_argument);
    }
    EXPECT_FALSE(weft::net::listen("udp", "127.0.0.1:0"));
    EXPECT_FALSE(weft::net::listen("carrier pigeon", "127.0.0.1:0"));
  });
}

TEST_F(ListenerTest, AStaleSocketFileIsReplacedALiveOneIsNot) {
  weft::run([] {
    const std::string path = "/tmp/weft_stale_" + std::to_string(::getpid()) + ".sock";
    {
      auto dead = weft::net::listen("unix", path, {.unlink = false});
      ASSERT_TRUE(dead) << dead.error().message();
    }
    ASSERT_EQ(::access(path.c_str(), F_OK), 0);
    auto ln = weft::net::listen("unix", path);
    ASSERT_TRUE(ln) << ln.error().message();
    const auto second = weft::net::listen("unix", path);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error(), std::errc::address_in_use);
    EXPECT_TRUE(weft::net::dial("unix", path));
  });
}

TEST_F(ListenerTest, ManyAcceptersShareTheConnections) {
  weft::run([] {
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    constexpr int total = 60;
    int accepted[4] = {};
    std::vector<weft::fiber> accepters;
    for (int& n : accepted) {
      accepters.push_back(weft::spawn([&ln, &n] {
        while (auto c = ln->accept()) {
          EXPECT_TRUE(c->write_all("hello"));
          ++n;
        }
      }));
    }
    for (int i = 0; i < total; ++i) {
      auto c = weft::net::dial(ln->addr());
      ASSERT_TRUE(c);
      EXPECT_EQ(read_all(*c), "hello");
    }
    ln->close();
    for (weft::fiber& f : accepters) f.join();
    EXPECT_EQ(accepted[0] + accepted[1] + accepted[2] + accepted[3], total);
  });
}

TEST_F(ListenerTest, AnAdoptedListenerAccepts) {
  weft::run([] {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(::listen(fd, 8), 0);  // binds to a free port of any address
    auto ln = weft::net::adopt_listener(fd);
    ASSERT_TRUE(ln);
    auto c = weft::net::dial("tcp4", "127.0.0.1:" + std::to_string(ln->addr().port()));
    ASSERT_TRUE(c) << c.error().message();
    EXPECT_TRUE(ln->accept());
  });
}

// Lowers the limit of descriptors to those that are open, for as long as it lives.
class starvation {
 public:
  starvation() {
    ::getrlimit(RLIMIT_NOFILE, &old_);
    const int lowest_free = ::dup(0);
    ::close(lowest_free);
    ::rlimit tight = old_;
    tight.rlim_cur = static_cast<rlim_t>(lowest_free);
    ::setrlimit(RLIMIT_NOFILE, &tight);
  }
  ~starvation() { ::setrlimit(RLIMIT_NOFILE, &old_); }

 private:
  ::rlimit old_{};
};

TEST_F(ListenerTest, AcceptSurvivesWantOfDescriptors) {
  weft::run([] {
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(::connect(fd, ln->addr().data(), ln->addr().size()), 0);
    {
      const starvation none_left;
      auto [ctx, cancel] = weft::with_timeout(weft::background(), 30ms);
      const auto c = ln->accept(ctx);
      ASSERT_FALSE(c);
      EXPECT_EQ(c.error(), weft::errc::deadline_exceeded) << c.error().message();
    }
    auto c = ln->accept();
    ASSERT_TRUE(c) << c.error().message();
    ::close(fd);
    EXPECT_EQ(read_text(*c), "");
  });
}

TEST_F(ListenerTest, AcceptRecoversByItselfWhenADescriptorIsFreed) {
  weft::run([] {
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(::connect(fd, ln->addr().data(), ln->addr().size()), 0);
    const int spare = ::dup(0);
    const starvation none_left;
    weft::fiber accepter = weft::spawn([&ln] { EXPECT_TRUE(ln->accept()); });
    until_waiting(1);
    ::close(spare);
    accepter.join();
    ::close(fd);
  });
}

TEST_F(ListenerTest, CloseEndsAnAcceptThatBacksOff) {
  weft::run([] {
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(::connect(fd, ln->addr().data(), ln->addr().size()), 0);
    const starvation none_left;
    weft::fiber accepter =
        weft::spawn([&ln] { EXPECT_EQ(ln->accept().error(), weft::errc::closed); });
    until_waiting(1);
    ln->close();
    accepter.join();
    ::close(fd);
  });
}

}  // namespace
