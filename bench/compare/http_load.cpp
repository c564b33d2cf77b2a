// SPDX-License-Identifier: Apache-2.0
// What a server that is busy with something else makes a client wait: one keep-alive connection,
// one request after the other, from a process of its own. `weft_http_load <port> <requests>` prints
// `p50 p99 max` in milliseconds. Code 3: a wrong answer; 1: none, or none within half a minute.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

namespace {

constexpr std::string_view request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
constexpr std::string_view right_start = "HTTP/1.1 200 OK\r\n";
constexpr std::string_view right_body = "Hello, weft!\n";

[[noreturn]] void fail(int code, const char* what) {
  std::fprintf(stderr, "http_load: %s\n", what);
  std::exit(code);
}

[[noreturn]] void fail_in_kernel(const char* call) {
  std::fprintf(stderr, "http_load: %s: %s\n", call, std::strerror(errno));
  std::exit(1);
}

int connect_to(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail_in_kernel("socket");
  const int on = 1;
  const timeval patience{.tv_sec = 30, .tv_usec = 0};
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    fail_in_kernel("connect");
  }
  return fd;
}

/// Whether all of it is there. Only an answer with the body as it is (no chunks) is right.
bool is_complete(std::string_view answer) {
  const std::size_t head = answer.find("\r\n\r\n");
  if (head == std::string_view::npos) return false;
  const std::string_view body = answer.substr(head + 4);
  if (!answer.starts_with(right_start) || !right_body.starts_with(body)) fail(3, "a wrong answer");
  return body.size() == right_body.size();
}

/// One request and its answer, in ms.
double ask(int fd) {
  using clock = std::chrono::steady_clock;
  std::array<char, 4096> answer;
  std::size_t received = 0;
  const auto start = clock::now();
  if (::send(fd, request.data(), request.size(), MSG_NOSIGNAL) != ssize_t{request.size()}) {
    fail_in_kernel("send");
  }
  do {
    const ssize_t got = ::recv(fd, answer.data() + received, answer.size() - received, 0);
    if (got < 0) fail_in_kernel("recv");
    if (got == 0) fail(3, "the answer ends early, or is too long");
    received += static_cast<std::size_t>(got);
  } while (!is_complete({answer.data(), received}));
  return std::chrono::duration<double, std::milli>(clock::now() - start).count();
}

}  // namespace

int main(int argc, char** argv) {
  const int port = argc == 3 ? std::atoi(argv[1]) : 0;
  const int requests = argc == 3 ? std::atoi(argv[2]) : 0;
  if (port <= 0 || port > 65535 || requests <= 0) {
    std::fprintf(stderr, "usage: %s <port> <requests>\n", argv[0]);
    return 64;
  }
  const int fd = connect_to(static_cast<std::uint16_t>(port));
  std::vector<double> took(static_cast<std::size_t>(requests));
  for (double& ms : took) ms = ask(fd);
  std::sort(took.begin(), took.end());
  const auto at = [&](double share) {
    return took[static_cast<std::size_t>(share * static_cast<double>(took.size() - 1))];
  };
  std::printf("%.4g %.4g %.4g\n", at(0.50), at(0.99), at(1.00));
  return 0;
}
