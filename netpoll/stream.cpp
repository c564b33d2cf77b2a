// SPDX-License-Identifier: Apache-2.0
// Reading and writing streams. The system call first, then the wait: but after a count shorter than
// asked for, the next call would only say EAGAIN, so the fiber arms at once. A plain thread always
// tries first.
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include <weft/context.hpp>
#include <weft/detail/spawn.hpp>
#include <weft/net/conn.hpp>

#include "netpoll/poll_desc.hpp"
#include "netpoll/socket.hpp"

namespace weft::inline v0::net {
namespace {

using detail::cancel_node;
using detail::fd_turn;
using detail::poll_desc;

bool on_plain_thread() noexcept { return detail::current_fiber()->is_thread(); }

result<std::size_t> read_bytes(poll_desc* d, cancel_node* ctx, std::span<std::byte> buffer,
                               bool whole) {
  fd_turn turn(d, detail::read_side, ctx);
  if (turn.error()) return failure(turn.error());
  bool& arm_first = turn.side().arm_first;
  bool wait_first = arm_first && !on_plain_thread();
  std::size_t done = 0;
  while (done < buffer.size()) {
    if (wait_first) {
      if (auto error = turn.wait_ready()) return failure(error);
    }
    const std::size_t left = buffer.size() - done;
    const ssize_t n = sys::receive(turn.fd(), d->is_socket, buffer.subspan(done));
    if (n > 0) {
      done += static_cast<std::size_t>(n);
      arm_first = wait_first = static_cast<std::size_t>(n) < left;
      if (!whole) break;
    } else if (n == -EAGAIN) {
      wait_first = true;
    } else {
      arm_first = false;
      if (n < 0) return failure(system_error(n));
      break;  // the end of the stream
    }
  }
  return done;
}

result<std::size_t> write_bytes(poll_desc* d, cancel_node* ctx, std::span<const std::byte> data,
                                bool whole) {
  fd_turn turn(d, detail::write_side, ctx);
  if (turn.error()) return failure(turn.error());
  std::size_t done = 0;
  while (done < data.size()) {
    const std::size_t left = data.size() - done;
    const ssize_t n = sys::send(turn.fd(), d->is_socket, data.subspan(done));
    if (n < 0 && n != -EAGAIN) return failure(system_error(n));
    if (n > 0) done += static_cast<std::size_t>(n);
    if (n > 0 && (!whole || static_cast<std::size_t>(n) == left)) break;
    if (auto error = turn.wait_ready()) return failure(error);
  }
  return done;
}

std::span<const std::byte> bytes_of(std::span<const std::byte> buffer) noexcept { return buffer; }
std::span<const std::byte> bytes_of(const ::iovec& v) noexcept {
  return {static_cast<const std::byte*>(v.iov_base), v.iov_len};
}

// A place in a list of buffers.
template <class Buffer>
struct vector_cursor {
  std::span<const Buffer> buffers;
  std::size_t index = 0;
  std::size_t offset = 0;

  // Fills `out` from here on; returns how many entries, and their bytes in `total`.
  std::size_t fill(std::span<::iovec> out, std::size_t& total) const noexcept {
    std::size_t count = 0;
    std::size_t skip = offset;
    total = 0;
    for (std::size_t i = index; i < buffers.size() && count < out.size(); ++i, skip = 0) {
      const auto bytes = bytes_of(buffers[i]).subspan(skip);
      if (bytes.empty()) continue;
      out[count++] = {const_cast<std::byte*>(bytes.data()), bytes.size()};  // only read
      total += bytes.size();
    }
    return count;
  }

  void advance(std::size_t n) noexcept {
    while (index < buffers.size()) {
      const std::size_t left = bytes_of(buffers[index]).size() - offset;
      if (n < left) {
        offset += n;
        return;
      }
      n -= left;
      ++index;
      offset = 0;
    }
  }
};

template <class Buffer>
result<std::size_t> write_vectors(poll_desc* d, cancel_node* ctx, std::span<const Buffer> buffers) {
  fd_turn turn(d, detail::write_side, ctx);
  if (turn.error()) return failure(turn.error());
  vector_cursor<Buffer> cursor{buffers};
  std::array<::iovec, 64> batch;  // 1 KiB of stack; the kernel would take 1024 entries
  std::size_t done = 0;
  for (;;) {
    std::size_t wanted = 0;
    const std::size_t count = cursor.fill(batch, wanted);
    if (count == 0) return done;
    const ssize_t n =
        sys::send_vectors(turn.fd(), d->is_socket, std::span<const ::iovec>(batch).first(count));
    if (n < 0 && n != -EAGAIN) return failure(system_error(n));
    if (n > 0) {
      done += static_cast<std::size_t>(n);
      cursor.advance(static_cast<std::size_t>(n));
      if (static_cast<std::size_t>(n) == wanted) continue;
    }
    if (auto error = turn.wait_ready()) return failure(error);
  }
}

// A call that does not wait.
result<void> direct(poll_desc* d, int (*call)(int fd, int argument) noexcept, int argument) {
  const fd_use use(d);
  if (use.fd() < 0) return failure(errc::closed);
  const int answer = call(use.fd(), argument);
  if (answer < 0) return failure(system_error(answer));
  return {};
}

int set_no_delay_on(int fd, int on) noexcept {
  return sys::set_option(fd, IPPROTO_TCP, TCP_NODELAY, on);
}

int set_keep_alive_on(int fd, int idle_s) noexcept {
  const int on = idle_s > 0 ? 1 : 0;
  int answer = sys::set_option(fd, SOL_SOCKET, SO_KEEPALIVE, on);
  if (on == 0 || answer < 0) return answer;
  answer = sys::set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s);
  if (answer >= 0) answer = sys::set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, idle_s);
  if (answer >= 0) answer = sys::set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
  return answer;
}

}  // namespace

result<std::size_t> stream::read(std::span<std::byte> buffer) const {
  return read_bytes(desc_, nullptr, buffer, false);
}
result<std::size_t> stream::read(const context& ctx, std::span<std::byte> buffer) const {
  return read_bytes(desc_, detail::node_of(ctx), buffer, false);
}
result<std::size_t> stream::read_full(std::span<std::byte> buffer) const {
  return read_bytes(desc_, nullptr, buffer, true);
}
result<std::size_t> stream::read_full(const context& ctx, std::span<std::byte> buffer) const {
  return read_bytes(desc_, detail::node_of(ctx), buffer, true);
}
result<std::size_t> stream::write(std::span<const std::byte> data) const {
  return write_bytes(desc_, nullptr, data, false);
}
result<std::size_t> stream::write(const context& ctx, std::span<const std::byte> data) const {
  return write_bytes(desc_, detail::node_of(ctx), data, false);
}
result<std::size_t> stream::write_all(std::span<const std::byte> data) const {
  return write_bytes(desc_, nullptr, data, true);
}
result<std::size_t> stream::write_all(const context& ctx, std::span<const std::byte> data) const {
  return write_bytes(desc_, detail::node_of(ctx), data, true);
}
result<std::size_t> stream::writev(std::span<const std::span<const std::byte>> buffers) const {
  return write_vectors(desc_, nullptr, buffers);
}
result<std::size_t> stream::writev(const context& ctx,
                                   std::span<const std::span<const std::byte>> buffers) const {
  return write_vectors(desc_, detail::node_of(ctx), buffers);
}
result<std::size_t> stream::writev(std::span<const ::iovec> buffers) const {
  return write_vectors(desc_, nullptr, buffers);
}
result<std::size_t> stream::writev(const context& ctx, std::span<const ::iovec> buffers) const {
  return write_vectors(desc_, detail::node_of(ctx), buffers);
}

result<void> stream::close_write() const { return direct(desc_, &sys::shutdown, SHUT_WR); }
result<void> stream::close_read() const { return direct(desc_, &sys::shutdown, SHUT_RD); }

address stream::local_addr() const {
  const fd_use use(desc_);
  return use.fd() >= 0 ? sys::local_address(use.fd()) : address();
}
address stream::remote_addr() const {
  const fd_use use(desc_);
  return use.fd() >= 0 ? sys::peer_address(use.fd()) : address();
}

result<void> stream::set_no_delay(bool on) const {
  return direct(desc_, &set_no_delay_on, on ? 1 : 0);
}
result<void> stream::set_keep_alive(std::chrono::seconds idle) const {
  if (idle.count() < 0 || idle.count() > 32767) return failure(errc::invalid_argument);
  return direct(desc_, &set_keep_alive_on, static_cast<int>(idle.count()));
}

result<conn> adopt(int fd, std::source_location where) {
  if (const int answer = sys::set_non_blocking(fd); answer < 0) {
    return failure(system_error(answer));
  }
  poll_desc* d = detail::desc_open(fd, true, sys::is_socket(fd), detail::site_of(where));
  if (d == nullptr) return failure(system_error(-ENOMEM));
  return conn(d);
}

}  // namespace weft::inline v0::net
