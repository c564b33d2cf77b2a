// SPDX-License-Identifier: Apache-2.0
// System calls on sockets, each out of line and answering -errno.
//
// Out of line because `errno` is thread_local and its address counts as constant to compilers: code
// that parks between two uses could read another thread's. Nothing in netpoll/ that may park names
// errno.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <span>
#include <system_error>

#include <weft/detail/config.hpp>
#include <weft/error.hpp>
#include <weft/net/address.hpp>

#include "netpoll/poll_desc.hpp"

namespace weft::inline v0::net {

/// All retry EINTR; sends never raise SIGPIPE. Results below zero are -errno.
namespace sys {

[[nodiscard]] WEFT_NOINLINE ssize_t receive(int fd, bool is_socket,
                                            std::span<std::byte> buffer) noexcept;
[[nodiscard]] WEFT_NOINLINE ssize_t send(int fd, bool is_socket,
                                         std::span<const std::byte> data) noexcept;
[[nodiscard]] WEFT_NOINLINE ssize_t send_vectors(int fd, bool is_socket,
                                                 std::span<const ::iovec> vectors) noexcept;
/// The datagram's whole size, also when the buffer is smaller.
[[nodiscard]] WEFT_NOINLINE ssize_t receive_from(int fd, std::span<std::byte> buffer,
                                                 address& from) noexcept;
/// An empty address: to the connected peer.
[[nodiscard]] WEFT_NOINLINE ssize_t send_to(int fd, std::span<const std::byte> data,
                                            const address& to) noexcept;

/// Non-blocking, close-on-exec.
[[nodiscard]] WEFT_NOINLINE int open_socket(int family, int type) noexcept;
[[nodiscard]] WEFT_NOINLINE int accept(int fd) noexcept;
/// EINTR is EINPROGRESS here: the connection goes on being made.
[[nodiscard]] WEFT_NOINLINE int connect(int fd, const address& to) noexcept;
[[nodiscard]] WEFT_NOINLINE int bind(int fd, const address& to) noexcept;
[[nodiscard]] WEFT_NOINLINE int listen(int fd, int backlog) noexcept;
[[nodiscard]] WEFT_NOINLINE int shutdown(int fd, int how) noexcept;
[[nodiscard]] WEFT_NOINLINE int set_option(int fd, int level, int option, int value) noexcept;
[[nodiscard]] WEFT_NOINLINE int set_non_blocking(int fd) noexcept;
[[nodiscard]] WEFT_NOINLINE address local_address(int fd) noexcept;
[[nodiscard]] WEFT_NOINLINE address peer_address(int fd) noexcept;
[[nodiscard]] WEFT_NOINLINE bool is_socket(int fd) noexcept;
WEFT_NOINLINE void close(int fd) noexcept;

/// By poll(2), now: ready, or broken.
[[nodiscard]] WEFT_NOINLINE bool is_ready(int fd, bool for_writing) noexcept;

}  // namespace sys

/// The kernel's answer (negative) as an error.
[[nodiscard]] inline std::error_code system_error(ssize_t answer) noexcept {
  return {static_cast<int>(-answer), std::system_category()};
}

[[nodiscard]] inline bool is_tcp_family(int family) noexcept {
  return family == AF_INET || family == AF_INET6;
}

/// Keeps a descriptor's number valid for a call that does not wait.
class fd_use {
 public:
  explicit fd_use(detail::poll_desc* d) noexcept
      : desc_(d != nullptr && detail::desc_use(d) ? d : nullptr) {}
  ~fd_use() {
    if (desc_ != nullptr) detail::desc_unuse(desc_);
  }
  fd_use(const fd_use&) = delete;
  fd_use& operator=(const fd_use&) = delete;
  /// -1: closed.
  [[nodiscard]] int fd() const noexcept { return desc_ != nullptr ? desc_->fd : -1; }

 private:
  detail::poll_desc* desc_;
};

}  // namespace weft::inline v0::net
