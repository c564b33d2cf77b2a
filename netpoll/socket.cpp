// SPDX-License-Identifier: Apache-2.0
#include "netpoll/socket.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>

namespace weft::inline v0::net::sys {
namespace {

template <class Call>
ssize_t retried(Call call) noexcept {
  for (;;) {
    const ssize_t n = call();
    if (n >= 0) return n;
    if (errno != EINTR) return -errno;
  }
}

int answer(int result) noexcept { return result >= 0 ? result : -errno; }

address address_from(int fd, int (*get)(int, ::sockaddr*, ::socklen_t*) noexcept(true)) noexcept {
  ::sockaddr_storage storage{};
  ::socklen_t size = sizeof(storage);
  auto* raw = reinterpret_cast<::sockaddr*>(&storage);
  return get(fd, raw, &size) == 0 ? address(raw, size) : address();
}

}  // namespace

ssize_t receive(int fd, bool is_socket, std::span<std::byte> buffer) noexcept {
  return retried([&]() noexcept {
    return is_socket ? ::recv(fd, buffer.data(), buffer.size(), 0)
                     : ::read(fd, buffer.data(), buffer.size());
  });
}

ssize_t send(int fd, bool is_socket, std::span<const std::byte> data) noexcept {
  return retried([&]() noexcept {
    return is_socket ? ::send(fd, data.data(), data.size(), MSG_NOSIGNAL)
                     : ::write(fd, data.data(), data.size());
  });
}

ssize_t send_vectors(int fd, bool is_socket, std::span<const ::iovec> vectors) noexcept {
  ::msghdr message{};
  message.msg_iov = const_cast<::iovec*>(vectors.data());  // sendmsg only reads it
  message.msg_iovlen = vectors.size();
  return retried([&]() noexcept {
    return is_socket ? ::sendmsg(fd, &message, MSG_NOSIGNAL)
                     : ::writev(fd, vectors.data(), static_cast<int>(vectors.size()));
  });
}

ssize_t receive_from(int fd, std::span<std::byte> buffer, address& from) noexcept {
  ::sockaddr_storage storage{};
  ::socklen_t size = sizeof(storage);
  auto* raw = reinterpret_cast<::sockaddr*>(&storage);
  const ssize_t n = retried([&]() noexcept {
    return ::recvfrom(fd, buffer.data(), buffer.size(), MSG_TRUNC, raw, &size);
  });
  if (n >= 0) from = address(raw, size);
  return n;
}

ssize_t send_to(int fd, std::span<const std::byte> data, const address& to) noexcept {
  return retried([&]() noexcept {
    return ::sendto(fd, data.data(), data.size(), MSG_NOSIGNAL, to.empty() ? nullptr : to.data(),
                    to.size());
  });
}

int open_socket(int family, int type) noexcept {
  return answer(::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

int accept(int fd) noexcept {
  return static_cast<int>(retried([&]() noexcept -> ssize_t {
    return ::accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  }));
}

int connect(int fd, const address& to) noexcept {
  const int n = answer(::connect(fd, to.data(), to.size()));
  return n == -EINTR ? -EINPROGRESS : n;
}

int bind(int fd, const address& to) noexcept { return answer(::bind(fd, to.data(), to.size())); }

int listen(int fd, int backlog) noexcept { return answer(::listen(fd, backlog)); }

int shutdown(int fd, int how) noexcept { return answer(::shutdown(fd, how)); }

int set_option(int fd, int level, int option, int value) noexcept {
  return answer(::setsockopt(fd, level, option, &value, sizeof(value)));
}

int set_non_blocking(int fd) noexcept {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return -errno;
  if ((flags & O_NONBLOCK) != 0) return 0;
  return answer(::fcntl(fd, F_SETFL, flags | O_NONBLOCK));
}

address local_address(int fd) noexcept { return address_from(fd, &::getsockname); }

address peer_address(int fd) noexcept { return address_from(fd, &::getpeername); }

bool is_socket(int fd) noexcept {
  int type = 0;
  ::socklen_t size = sizeof(type);
  return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
}

void close(int fd) noexcept { ::close(fd); }

bool is_ready(int fd, bool for_writing) noexcept {
  ::pollfd look{fd, static_cast<short>(for_writing ? POLLOUT : POLLIN), 0};
  return ::poll(&look, 1, 0) != 0;
}

}  // namespace weft::inline v0::net::sys
