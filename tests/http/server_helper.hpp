// SPDX-License-Identifier: Apache-2.0
// A server on an ephemeral loopback port and a client that speaks raw bytes, for tests inside
// weft::run. Every read has a deadline, so a wrong server fails a test instead of hanging it.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <weft/http.hpp>
#include <weft/weft.hpp>

namespace weft_test {

using namespace std::chrono_literals;

/// One answer as it came over the wire.
struct answer {
  int status = 0;
  std::string head;  // up to and with the empty line
  std::string body;
  [[nodiscard]] bool says_close() const {
    return head.find("\r\nConnection: close\r\n") != std::string::npos;
  }
  [[nodiscard]] std::optional<std::string> field(std::string_view name) const {
    const std::string start = "\r\n" + std::string(name) + ": ";
    const auto at = head.find(start);
    if (at == std::string::npos) return std::nullopt;
    const auto begin = at + start.size();
    return head.substr(begin, head.find("\r\n", begin) - begin);
  }
};

class raw_client {
 public:
  explicit raw_client(std::uint16_t port) {
    auto c = weft::net::dial("tcp", "127.0.0.1:" + std::to_string(port));
    if (c) conn_ = std::move(*c);
    connected_ = c.has_value();
  }

  [[nodiscard]] bool connected() const { return connected_; }

  bool send(std::string_view bytes) {
    be_patient();
    return conn_.write_all(bytes).has_value();
  }
  bool end_of_sending() { return conn_.close_write().has_value(); }
  void close() { conn_.close(); }

  /// The next answer, with Content-Length or without a body; nothing if the stream ended first.
  std::optional<answer> receive(bool is_head = false) {
    while (buffer_.find("\r\n\r\n") == std::string::npos) {
      if (!more()) return std::nullopt;
    }
    answer a;
    const auto end = buffer_.find("\r\n\r\n") + 4;
    a.head = buffer_.substr(0, end);
    buffer_.erase(0, end);
    if (!a.head.starts_with("HTTP/1.1 ")) return std::nullopt;
    a.status = std::stoi(a.head.substr(9, 3));
    const auto length = is_head || a.status == 100 ? std::nullopt : a.field("Content-Length");
    const std::size_t n = length ? std::stoul(*length) : 0;
    while (buffer_.size() < n) {
      if (!more()) return std::nullopt;
    }
    a.body = buffer_.substr(0, n);
    buffer_.erase(0, n);
    return a;
  }

  /// Everything until the server ends the stream; false in `clean` if it was cut.
  std::string receive_all(bool* clean = nullptr) {
    while (more()) {
    }
    if (clean != nullptr) *clean = ended_;
    return std::exchange(buffer_, {});
  }

  /// True once the server has ended the stream with nothing more to read.
  [[nodiscard]] bool at_end() {
    if (!buffer_.empty()) return false;
    return !more() && ended_;
  }

 private:
  // For each operation, not for the client's life: a busy machine does not fail a test.
  void be_patient() { conn_.set_deadline(std::chrono::steady_clock::now() + patience); }

  bool more() {
    be_patient();
    char room[4096];
    const auto n = conn_.read(std::span<char>(room));
    ended_ = n.has_value() && *n == 0;
    if (!n || *n == 0) return false;
    buffer_.append(room, *n);
    return true;
  }

  static constexpr auto patience = 10s;

  weft::net::conn conn_;
  std::string buffer_;
  bool connected_ = false;
  bool ended_ = false;
};

inline const std::string get_root = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

inline weft::http::mux test_mux() {
  using weft::http::request;
  using weft::http::response;
  weft::http::mux m;
  m.handle("GET /", [](const request&, response& r) { r.write("hello"); });
  m.handle("POST /echo", [](const request& q, response& r) { r.write(q.body); });
  m.handle("GET /target", [](const request& q, response& r) { r.write(q.target); });
  m.handle("GET /throw", [](const request&, response&) { throw std::runtime_error("on purpose"); });
  m.handle("GET /throw-late", [](const request&, response& r) {
    r.write("begun");
    (void)r.flush();
    throw 7;
  });
  m.handle("GET /stream", [](const request&, response& r) {
    for (int i = 0; i < 3; ++i) {
      r.write("part");
      (void)r.flush();
    }
  });
  m.handle("GET /large", [](const request&, response& r) {
    for (int i = 0; i < 256; ++i) r.write(std::string(4096, static_cast<char>('a' + i % 26)));
  });
  m.handle("GET /medium", [](const request&, response& r) { r.write(std::string(40'000, 'm')); });
  return m;
}

/// Serves until it is dropped.
class test_server {
 public:
  explicit test_server(weft::http::server_options options)
      : server_(std::move(options)), listener_(weft::net::listen("tcp", "127.0.0.1:0")) {
    EXPECT_TRUE(listener_.has_value());
    port_ = listener_->addr().port();
    serving_ = weft::spawn([this] { ended_ = server_.serve(std::move(*listener_)); });
  }
  test_server(const test_server&) = delete;
  test_server& operator=(const test_server&) = delete;
  ~test_server() {
    if (!stopped_) {
      EXPECT_TRUE(stop(20s).has_value());
    }
  }

  weft::result<void> stop(std::chrono::nanoseconds patience) {
    stopped_ = true;
    auto [ctx, cancel] = weft::with_timeout(weft::background(), patience);
    auto r = server_.shutdown(ctx);
    serving_.join();
    EXPECT_TRUE(ended_.has_value());
    return r;
  }

  [[nodiscard]] weft::http::server& server() { return server_; }
  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  weft::http::server server_;
  weft::result<weft::net::listener> listener_;
  weft::fiber serving_;
  weft::result<void> ended_;
  std::uint16_t port_ = 0;
  bool stopped_ = false;
};

/// Options for tests: no waiting where nothing is tested about it.
inline weft::http::server_options quick_options() {
  weft::http::server_options o;
  o.handler = test_mux();
  o.grace = 0s;
  return o;
}

}  // namespace weft_test
