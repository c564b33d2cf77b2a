// SPDX-License-Identifier: Apache-2.0
// Load on an HTTP server: one fiber and one TCP connection a client, each sends a request, waits
// for the answer, compares every byte of it, and goes on.
//
// What counts as dropped: a request that was sent before the server's grace was over and got no
// answer, or a wrong one. A server may refuse connections, or close idle ones, only after that.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include <weft/weft.hpp>

#include "demo/histogram.hpp"

namespace demo {

struct load_result {
  histogram latency;
  std::atomic<std::uint64_t> answers{0};
  std::atomic<std::uint64_t> dropped{0};        // no answer where one was owed
  std::atomic<std::uint64_t> wrong{0};          // an answer with a wrong byte
  std::atomic<std::uint64_t> not_connected{0};  // refused while the server should accept
  std::atomic<std::uint64_t> late{0};           // sent after the grace, not answered: allowed
  std::atomic<std::uint64_t> reconnects{0};     // after an answer that said "Connection: close"

  [[nodiscard]] std::uint64_t failures() const {
    return dropped.load() + wrong.load() + not_connected.load();
  }
};

class load {
 public:
  using time_point = weft::clock::time_point;

  load(std::uint16_t port, load_result& out) : port_(port), out_(out) {}
  load(const load&) = delete;
  load& operator=(const load&) = delete;
  ~load() { stop(); }

  /// Starts clients and returns once all of them are connected.
  void start(int clients) {
    weft::wait_group connected;
    connected.add(clients);
    for (int i = 0; i < clients; ++i) {
      fibers_.go([this, i, &connected] { client(static_cast<std::uint64_t>(i), connected); });
    }
    connected.wait();
  }

  /// The server was told to end and owes no answer to what is sent from `grace_end` on.
  void server_ends(time_point grace_end) {
    grace_end_.store(grace_end.time_since_epoch().count(), std::memory_order_relaxed);
  }

  /// Each client finishes the request it is at.
  void stop() {
    stopping_.store(true, std::memory_order_relaxed);
    wait();
  }
  void wait() { fibers_.wait(); }

 private:
  enum class outcome { answered, answered_and_closes, nothing, wrong };

  [[nodiscard]] bool stopping() const { return stopping_.load(std::memory_order_relaxed); }
  /// `at`: when the request was in the server's socket, on loopback as soon as write() returned.
  [[nodiscard]] bool is_owed(time_point at) const {
    return at.time_since_epoch().count() < grace_end_.load(std::memory_order_relaxed);
  }

  void client(std::uint64_t number, weft::wait_group& connected) {
    auto c = connect();
    connected.done();
    std::uint64_t turn = number;
    while (c && !stopping()) {
      const auto begun = weft::clock::now();
      time_point sent;
      const outcome o = exchange(*c, turn++, sent);
      if (o == outcome::wrong) out_.wrong.fetch_add(1);
      if (o == outcome::nothing) (is_owed(sent) ? out_.dropped : out_.late).fetch_add(1);
      if (o == outcome::answered || o == outcome::answered_and_closes) {
        out_.latency.record(weft::clock::now() - begun);
        out_.answers.fetch_add(1, std::memory_order_relaxed);
      }
      if (o == outcome::answered) continue;
      if (o != outcome::answered_and_closes) return;
      out_.reconnects.fetch_add(1, std::memory_order_relaxed);
      c->close();
      c = connect();
    }
  }

  [[nodiscard]] std::optional<weft::net::conn> connect() {
    const auto begun = weft::clock::now();
    auto c = weft::net::dial("tcp4", "127.0.0.1:" + std::to_string(port_));
    if (!c) {
      if (is_owed(weft::clock::now())) out_.not_connected.fetch_add(1);
      return std::nullopt;
    }
    c->set_deadline(begun + std::chrono::minutes(1));
    return std::move(*c);
  }

  /// Every eighth request is an echo with a body of its own, the others ask for "/".
  [[nodiscard]] outcome exchange(const weft::net::conn& c, std::uint64_t turn, time_point& sent) {
    if (turn % 8 != 0) {
      const auto written =
          c.write_all(std::string_view("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"));
      sent = weft::clock::now();
      return written ? read_answer(c, "Hello, weft!\n") : outcome::nothing;
    }
    char body[32];
    const int n =
        std::snprintf(body, sizeof body, "echo %020llu", static_cast<unsigned long long>(turn));
    const std::string_view text(body, static_cast<std::size_t>(n));
    char request[128];
    const int size = std::snprintf(request, sizeof request,
                                   "POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d"
                                   "\r\n\r\n%s",
                                   n, body);
    const auto written = c.write_all(std::string_view(request, static_cast<std::size_t>(size)));
    sent = weft::clock::now();
    return written ? read_answer(c, text) : outcome::nothing;
  }

  /// Reads one answer and compares it with the only one that is right, but for the date.
  [[nodiscard]] static outcome read_answer(const weft::net::conn& c, std::string_view body) {
    char room[512];
    std::size_t have = 0;
    for (;;) {
      const auto n = c.read(std::span<char>(room + have, sizeof room - have));
      if (!n || *n == 0) return have == 0 ? outcome::nothing : outcome::wrong;
      have += *n;
      const std::string_view all(room, have);
      const auto end = all.find("\r\n\r\n");
      if (end != std::string_view::npos && have >= end + 4 + body.size()) {
        return check(all, end + 4, body);
      }
      if (have == sizeof room) return outcome::wrong;
    }
  }

  [[nodiscard]] static outcome check(std::string_view all, std::size_t head,
                                     std::string_view body) {
    constexpr std::string_view start = "HTTP/1.1 200 OK\r\nDate: ";
    constexpr std::size_t date = 29;
    if (!all.starts_with(start) || all.substr(head) != body) return outcome::wrong;
    char rest[80];
    const int n = std::snprintf(rest, sizeof rest, " GMT\r\nContent-Length: %zu\r\n", body.size());
    auto fields = all.substr(start.size() + date - 4, head - start.size() - date + 4);
    if (!fields.starts_with(std::string_view(rest, static_cast<std::size_t>(n)))) {
      return outcome::wrong;
    }
    fields.remove_prefix(static_cast<std::size_t>(n));
    if (fields == "\r\n") return outcome::answered;
    return fields == "Connection: close\r\n\r\n" ? outcome::answered_and_closes : outcome::wrong;
  }

  std::uint16_t port_;
  load_result& out_;
  std::atomic<bool> stopping_{false};
  std::atomic<time_point::rep> grace_end_{std::numeric_limits<time_point::rep>::max()};
  weft::wait_group fibers_;
};

}  // namespace demo
