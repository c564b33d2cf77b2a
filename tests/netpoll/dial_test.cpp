// SPDX-License-Identifier: Apache-2.0
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/netpoll/net_helper.hpp"

namespace {

using namespace weft_test;

class DialTest : public net_test {};

// A port that nobody listens on: bound, and kept from everybody else, while it lives.
class unused_port {
 public:
  unused_port() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const auto any = weft::net::address::parse("tcp", "127.0.0.1:0");
    ::bind(fd_, any->data(), any->size());
    sockaddr_storage storage{};
    socklen_t size = sizeof(storage);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&storage), &size);
    address_ = weft::net::address(reinterpret_cast<sockaddr*>(&storage), size);
  }
  ~unused_port() { ::close(fd_); }
  [[nodiscard]] const weft::net::address& addr() const { return address_; }

 private:
  int fd_;
  weft::net::address address_;
};

TEST_F(DialTest, ARefusedConnectionIsAnError) {
  weft::run([] {
    const unused_port nobody;
    const auto c = weft::net::dial("tcp", nobody.addr().to_string());
    ASSERT_FALSE(c);
    EXPECT_EQ(c.error(), std::errc::connection_refused);
  });
}

TEST_F(DialTest, AMissingUnixSocketIsAnError) {
  weft::run([] {
    const auto c = weft::net::dial("unix", "/nowhere/at/all.sock");
    ASSERT_FALSE(c);
    EXPECT_EQ(c.error(), std::errc::no_such_file_or_directory);
  });
}

TEST_F(DialTest, LocalhostIsResolved) {
  weft::run([] {
    auto ln = weft::net::listen("tcp", "localhost:0");
    ASSERT_TRUE(ln) << ln.error().message();
    auto c = weft::net::dial("tcp", "localhost:" + std::to_string(ln->addr().port()));
    ASSERT_TRUE(c) << c.error().message();
    EXPECT_TRUE(ln->accept());
  });
}

TEST_F(DialTest, AllAddressesOfANameAreTried) {
  weft::run([] {
    auto ln = weft::net::listen("tcp4", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    // ":port" means this machine, both versions; only one of them listens.
    auto c = weft::net::dial("tcp", ":" + std::to_string(ln->addr().port()));
    ASSERT_TRUE(c) << c.error().message();
    EXPECT_TRUE(ln->accept());
    EXPECT_TRUE(weft::net::dial("tcp", "localhost:" + std::to_string(ln->addr().port())));
    EXPECT_TRUE(ln->accept());
  });
}

TEST_F(DialTest, AnUnknownServiceIsTheResolversError) {
  weft::run([] {
    const auto c = weft::net::dial("tcp", "localhost:no-such-service-name");
    ASSERT_FALSE(c);
    EXPECT_EQ(c.error().category(), weft::net::resolver_category());
    EXPECT_FALSE(c.error().message().empty());
  });
}

TEST_F(DialTest, TextThatIsNoAddressIsRefused) {
  weft::run([] {
    for (const char* text : {"", "127.0.0.1", "localhost", "localhost:", "a:b:c"}) {
      const auto c = weft::net::dial("tcp", text);
      ASSERT_FALSE(c) << text;
      EXPECT_EQ(c.error(), weft::errc::invalid_argument) << text << ": " << c.error().message();
    }
    EXPECT_FALSE(weft::net::dial("udp", "127.0.0.1:80"));
    EXPECT_FALSE(weft::net::dial(weft::net::address()));
  });
}

// A listener whose queue is full, so that a further connection stays half-made.
class full_listener {
 public:
  full_listener() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    ::listen(fd_, 0);
    sockaddr_storage storage{};
    socklen_t size = sizeof(storage);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&storage), &size);
    const weft::net::address any(reinterpret_cast<sockaddr*>(&storage), size);
    address_ = *weft::net::address::parse("tcp", "127.0.0.1:" + std::to_string(any.port()));
    filler_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ::connect(filler_, address_.data(), address_.size());
  }
  ~full_listener() {
    ::close(filler_);
    ::close(fd_);
  }
  [[nodiscard]] const weft::net::address& addr() const { return address_; }

 private:
  int fd_;
  int filler_ = -1;
  weft::net::address address_;
};

TEST_F(DialTest, AContextEndsAnAttemptThatHangs) {
  weft::run([] {
    const full_listener full;
    auto [ctx, cancel] = weft::with_timeout(weft::background(), 20ms);
    std::error_code last;
    for (int i = 0; i < 3 && !last; ++i) {  // the kernel may let one or two more in
      const auto c = weft::net::dial(ctx, full.addr());
      if (!c) last = c.error();
    }
    EXPECT_EQ(last, weft::errc::deadline_exceeded);
  });
}

TEST_F(DialTest, ADoneContextRefuses) {
  weft::run([] {
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    cancel();
    EXPECT_EQ(weft::net::dial(ctx, "tcp", ln->addr().to_string()).error(), weft::errc::canceled);
    EXPECT_EQ(weft::net::dial(ctx, "tcp", "localhost:1").error(), weft::errc::canceled);
  });
}

TEST_F(DialTest, AFullUnixListenerIsTriedAgain) {
  weft::run([] {
    const std::string name = "@weft_full_" + std::to_string(::getpid());
    auto ln = weft::net::listen("unix", name, {.backlog = 0});
    ASSERT_TRUE(ln);
    ln->set_deadline(in(60s));
    std::vector<weft::net::conn> made;
    weft::fiber dialler = weft::spawn([&] {
      while (made.size() < 3) {
        const auto begun = std::chrono::steady_clock::now();
        auto c = weft::net::dial("unix", name);
        if (c) {
          made.push_back(std::move(*c));
        } else {  // only after it has tried for half a second, in which nobody accepted
          EXPECT_EQ(c.error(), std::errc::resource_unavailable_try_again);
          EXPECT_GE(std::chrono::steady_clock::now() - begun, 500ms);
        }
      }
    });
    until_waiting(1);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(ln->accept());
    dialler.join();
  });
}

}  // namespace
