// SPDX-License-Identifier: Apache-2.0
// The load client, see load.hpp. A message is a serial number repeated, so that an answer to
// another message or another connection cannot pass for the right one.
#include "echo/load.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <stdexcept>
#include <system_error>

namespace bench {

namespace {

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

std::int64_t now_ns() noexcept {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return std::int64_t{1'000'000'000} * t.tv_sec + t.tv_nsec;
}

int connect_to(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) fail("connect");
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::fcntl(fd, F_SETFL, O_NONBLOCK) != 0) fail("fcntl");
  return fd;
}

}  // namespace

echo_load::echo_load(std::uint16_t port, int connections, std::size_t message_bytes,
                     std::size_t samples)
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      connections_(static_cast<std::size_t>(connections)),
      out_(message_bytes),
      in_(message_bytes),
      max_samples_(samples) {
  if (epoll_ < 0) fail("epoll_create1");
  latencies_ns_.reserve(samples);
  for (std::size_t i = 0; i < connections_.size(); ++i) {
    connections_[i].fd = connect_to(port);
    epoll_event e{};
    e.events = EPOLLIN;
    e.data.u64 = i;
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, connections_[i].fd, &e) != 0) fail("epoll_ctl");
  }
}

echo_load::~echo_load() {
  for (const connection& c : connections_) ::close(c.fd);
  ::close(epoll_);
}

void echo_load::fill(std::byte* message, const connection& c) const noexcept {
  for (std::size_t at = 0; at < out_.size(); at += sizeof c.serial) {
    std::memcpy(message + at, &c.serial, std::min(sizeof c.serial, out_.size() - at));
  }
}

void echo_load::send_next(connection& c) {
  c.serial = next_serial_++;
  c.received = 0;
  fill(out_.data(), c);
  c.sent_at_ns = now_ns();
  // A message is far smaller than an empty socket buffer: a short write means a broken peer.
  const ssize_t sent = ::send(c.fd, out_.data(), out_.size(), MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(out_.size())) fail("send");
}

/// True once the whole answer is there.
bool echo_load::receive(connection& c) {
  const ssize_t got = ::recv(c.fd, in_.data(), in_.size() - c.received, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (got < 0) fail("recv");
  if (got == 0) throw std::runtime_error("echo: the server closed a connection");
  fill(out_.data(), c);
  if (std::memcmp(in_.data(), out_.data() + c.received, static_cast<std::size_t>(got)) != 0) {
    throw std::runtime_error("echo: a wrong answer");
  }
  c.received += static_cast<std::size_t>(got);
  if (c.received != in_.size()) return false;
  if (latencies_ns_.size() < max_samples_) latencies_ns_.push_back(now_ns() - c.sent_at_ns);
  return true;
}

void echo_load::run(std::int64_t echoes) {
  latencies_ns_.clear();
  std::int64_t to_send = echoes;
  std::int64_t awaited = echoes;
  for (connection& c : connections_) {
    if (to_send-- > 0) send_next(c);
  }
  std::array<epoll_event, 256> events;
  while (awaited > 0) {
    const int n = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 10'000);
    if (n == 0) throw std::runtime_error("echo: no answer within 10 s");
    for (int i = 0; i < n; ++i) {
      connection& c = connections_[events[static_cast<std::size_t>(i)].data.u64];
      if (!receive(c)) continue;
      --awaited;
      if (to_send-- > 0) send_next(c);
    }
  }
}

double echo_load::latency_us(double share) {
  if (latencies_ns_.empty()) return 0;
  std::sort(latencies_ns_.begin(), latencies_ns_.end());
  const auto last = static_cast<double>(latencies_ns_.size() - 1);
  return static_cast<double>(latencies_ns_[static_cast<std::size_t>(share * last)]) / 1000.0;
}

}  // namespace bench
