// SPDX-License-Identifier: Apache-2.0
// What the raw servers share: a listening socket on a free port of 127.0.0.1, announced on stdout
// as `port N`. Ends the process when it cannot.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdio>
#include <cstdlib>

namespace bench {

[[noreturn]] inline void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

[[nodiscard]] inline int listen_and_announce(int socket_flags) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | socket_flags, 0);
  if (fd < 0) die("socket");
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  auto* address = reinterpret_cast<sockaddr*>(&at);
  if (::bind(fd, address, size) != 0) die("bind");
  if (::listen(fd, 4096) != 0) die("listen");
  if (::getsockname(fd, address, &size) != 0) die("getsockname");
  std::printf("port %d\n", ntohs(at.sin_port));
  std::fflush(stdout);
  return fd;
}

}  // namespace bench
