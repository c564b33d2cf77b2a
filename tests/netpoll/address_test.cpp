// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <string>

#include <weft/net/address.hpp>

namespace {

using weft::net::address;

std::string round_trip(const char* network, const std::string& text) {
  const auto a = address::parse(network, text);
  return a ? a->to_string() : "error: " + a.error().message();
}

TEST(AddressTest, NumericTextComesBackAsItWas) {
  EXPECT_EQ(round_trip("tcp", "127.0.0.1:80"), "127.0.0.1:80");
  EXPECT_EQ(round_trip("tcp4", "127.0.0.1:80"), "127.0.0.1:80");
  EXPECT_EQ(round_trip("tcp", "[::1]:65535"), "[::1]:65535");
  EXPECT_EQ(round_trip("udp6", "[fe80::1]:0"), "[fe80::1]:0");
  EXPECT_EQ(round_trip("unix", "/tmp/a.sock"), "/tmp/a.sock");
  EXPECT_EQ(round_trip("unix", "@name"), "@name");
}

TEST(AddressTest, AnEmptyHostIsAnyAddressOfTheNetworksVersion) {
  EXPECT_EQ(round_trip("tcp", ":80"), "[::]:80");
  EXPECT_EQ(round_trip("tcp6", ":80"), "[::]:80");
  EXPECT_EQ(round_trip("tcp4", ":80"), "0.0.0.0:80");
}

TEST(AddressTest, PartsAreToldApart) {
  const auto a = address::parse("tcp", "[::1]:8080");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->family(), AF_INET6);
  EXPECT_EQ(a->host(), "::1");
  EXPECT_EQ(a->port(), 8080);
  const auto u = address::parse("unix", "/a");
  ASSERT_TRUE(u);
  EXPECT_EQ(u->family(), AF_UNIX);
  EXPECT_EQ(u->port(), 0);
}

TEST(AddressTest, TextThatIsNoNumericAddressIsRefused) {
  for (const char* text :
       {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1: 80", "::1:80",
        "[::1]80", "[127.0.0.1:80", "localhost:80", "256.0.0.1:80", "1.2.3:80"}) {
    EXPECT_FALSE(address::parse("tcp", text)) << text;
  }
  EXPECT_FALSE(address::parse("tcp4", "[::1]:80"));
  EXPECT_FALSE(address::parse("tcp6", "127.0.0.1:80"));
  EXPECT_FALSE(address::parse("sctp", "127.0.0.1:80"));
  EXPECT_FALSE(address::parse("tcp5", "127.0.0.1:80"));
}

TEST(AddressTest, AUnixPathThatDoesNotFitIsRefused) {
  constexpr std::size_t room = sizeof(sockaddr_un{}.sun_path);
  EXPECT_FALSE(address::parse("unix", ""));
  EXPECT_FALSE(address::parse("unix", std::string(room, 'a')));
  EXPECT_TRUE(address::parse("unix", std::string(room - 1, 'a')));
  EXPECT_FALSE(address::parse("unix", std::string("a\0b", 3)));
}

TEST(AddressTest, EqualityIsOfValues) {
  EXPECT_EQ(*address::parse("tcp", "127.0.0.1:80"), *address::parse("tcp4", "127.0.0.1:80"));
  EXPECT_NE(*address::parse("tcp", "127.0.0.1:80"), *address::parse("tcp", "127.0.0.1:81"));
  EXPECT_EQ(address(), address());
  EXPECT_TRUE(address().empty());
  EXPECT_EQ(address().to_string(), "");
}

}  // namespace
