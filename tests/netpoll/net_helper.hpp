// SPDX-License-Identifier: Apache-2.0
// What the tests of the network share: a fixture that runs a body on a runtime and fails if it
// leaves a descriptor, a record or an account behind, and pairs of connected sockets.
#pragma once

#include <dirent.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/fiber.hpp>
#include <weft/net.hpp>
#include <weft/run.hpp>
#include <weft/stats.hpp>

#include "netpoll/poll_desc.hpp"

namespace weft_test {

using namespace std::chrono_literals;

inline std::chrono::steady_clock::time_point in(std::chrono::nanoseconds d) {
  return std::chrono::steady_clock::now() + d;
}

/// Open descriptors of this process.
inline int open_descriptors() {
  int count = 0;
  ::DIR* dir = ::opendir("/proc/self/fd");
  while (dir != nullptr && ::readdir(dir) != nullptr) ++count;
  if (dir != nullptr) ::closedir(dir);
  return count;
}

inline std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// More than the socket buffers of both ends hold (Linux: up to 4 + 6 MiB): its writer must wait.
inline const std::string& more_than_fits() {
  static const std::string data(24 << 20, 'x');
  return data;
}

/// Reads once and gives it as text; "error: ..." if it failed.
inline std::string read_text(const weft::net::stream& c, std::size_t most = 4096) {
  std::string text(most, '\0');
  const auto n = c.read(std::span<char>(text));
  if (!n) return "error: " + n.error().message();
  text.resize(*n);
  return text;
}

/// Reads to the end of the stream.
inline std::string read_all(const weft::net::stream& c) {
  std::string all;
  for (;;) {
    const std::string part = read_text(c, 65536);
    if (part.empty()) return all;
    all += part;
    if (part.starts_with("error: ")) return all;
  }
}

struct tcp_pair {
  weft::net::conn client;
  weft::net::conn server;
};

/// Two ends of a TCP connection over loopback.
inline tcp_pair make_tcp_pair() {
  auto ln = weft::net::listen("tcp", "127.0.0.1:0");
  EXPECT_TRUE(ln) << ln.error().message();
  auto client = weft::net::dial(ln->addr());
  EXPECT_TRUE(client) << client.error().message();
  auto server = ln->accept();
  EXPECT_TRUE(server) << server.error().message();
  return {std::move(*client), std::move(*server)};
}

/// Yields until `n` fibers of this runtime wait for something (the tests' only way to know that a
/// fiber has parked; no time is involved).
inline void until_waiting(std::int64_t n) {
  while (weft::stats().waiting < n) weft::yield();
}

class net_test : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    // What a process opens once and keeps is open from here on.
    weft::run([] { static_cast<void>(make_tcp_pair()); });
  }

  void SetUp() override {
    descriptors_ = open_descriptors();
    records_ = weft::detail::desc_live();
    live_ = weft::stats().live;
  }

  void TearDown() override {
    EXPECT_EQ(open_descriptors(), descriptors_) << "descriptors left behind";
    EXPECT_EQ(weft::detail::desc_live(), records_) << "records left behind";
    EXPECT_EQ(weft::stats().live.connections, live_.connections) << "connections left behind";
  }

 private:
  int descriptors_ = 0;
  std::uint32_t records_ = 0;
  weft::accounts live_;
};

}  // namespace weft_test
