// SPDX-License-Identifier: Apache-2.0
// Connecting: a non-blocking connect(2), asked again when the socket is writable until it says yes
// or why not. Also waiting for foreign descriptors.
#include <weft/net/dial.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cerrno>

#include <weft/context.hpp>
#include <weft/detail/spawn.hpp>

#include "netpoll/poll_desc.hpp"
#include "netpoll/resolve.hpp"
#include "netpoll/socket.hpp"

namespace weft::inline v0::net {
namespace {

using detail::cancel_node;
using detail::fd_turn;
using detail::poll_desc;

// A unix listener's queue is full and the kernel offers nothing to wait on: 1, 2, 4 ... 256 ms,
// half a second in all.
constexpr std::int64_t first_pause_ns = 1'000'000;
constexpr std::int64_t last_pause_ns = 256'000'000;

std::error_code finish_connect(poll_desc* d, const address& to, cancel_node* ctx) {
  fd_turn turn(d, detail::write_side, ctx);
  if (turn.error()) return turn.error();
  std::int64_t pause = first_pause_ns;
  for (;;) {
    // Asked again, connect() reports how the attempt stands; so a spurious wake-up does no harm.
    const int answer = sys::connect(turn.fd(), to);
    std::error_code error;
    switch (-answer) {
      case 0:
      case EISCONN:
        return {};
      case EINPROGRESS:
      case EALREADY:
        error = turn.wait_ready();
        break;
      case EAGAIN:
        if (to.family() != AF_UNIX || pause > last_pause_ns) return system_error(answer);
        error = turn.pause(pause);
        pause *= 2;
        break;
      default:
        return system_error(answer);
    }
    if (error) return error;
  }
}

// TCP may connect a socket to itself when it dials a free local port out of the ephemeral range.
bool is_self_connected(int fd) noexcept {
  const address local = sys::local_address(fd);
  return !local.empty() && is_tcp_family(local.family()) && local == sys::peer_address(fd);
}

result<conn> dial_one(const address& to, cancel_node* ctx, const void* site) {
  if (to.empty()) return failure(errc::invalid_argument);
  const int fd = sys::open_socket(to.family(), SOCK_STREAM);
  if (fd < 0) return failure(system_error(fd));
  poll_desc* d = detail::desc_open(fd, true, true, site);
  if (d == nullptr) {
    sys::close(fd);
    return failure(system_error(-ENOMEM));
  }
  conn made(d);
  if (is_tcp_family(to.family())) {
    static_cast<void>(sys::set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1));
  }
  if (auto error = finish_connect(d, to, ctx)) return failure(error);
  if (is_self_connected(fd)) return failure(system_error(-ECONNREFUSED));
  return made;
}

bool is_final(const std::error_code& error) noexcept {
  return error == errc::canceled || error == errc::deadline_exceeded || error == errc::no_runtime;
}

result<conn> dial_text(std::string_view network, std::string_view text, cancel_node* ctx,
                       const void* site) {
  const auto kind = parse_network(network);
  if (!kind || kind->type != SOCK_STREAM) return failure(errc::invalid_argument);
  if (ctx != nullptr && ctx->done()) return failure(ctx->err);
  auto addresses = resolve(*kind, network, text, address_use::dial, ctx);
  if (!addresses) return failure(addresses.error());
  std::error_code first;
  for (const address& to : *addresses) {
    auto made = dial_one(to, ctx, site);
    if (made || is_final(made.error())) return made;
    if (!first) first = made.error();
  }
  return failure(first);
}

result<void> wait_foreign(int fd, unsigned side, cancel_node* ctx) {
  if (fd < 0) return failure(system_error(-EBADF));
  if (ctx != nullptr && ctx->done()) return failure(ctx->err);
  poll_desc* d = detail::desc_open(fd, false, false, nullptr);
  if (d == nullptr) return failure(system_error(-ENOMEM));
  std::error_code error;
  do {  // a notification that was taken back counts as fired, here and nowhere else to be seen
    error = fd_turn(d, side, ctx).wait_ready();
  } while (!error && !sys::is_ready(fd, side == detail::write_side));
  detail::desc_close(d, false);
  detail::desc_drop_handle(d);
  if (error) return failure(error);
  return {};
}

}  // namespace

result<conn> dial(std::string_view network, std::string_view addr, std::source_location where) {
  return dial_text(network, addr, nullptr, detail::site_of(where));
}
result<conn> dial(const context& ctx, std::string_view network, std::string_view addr,
                  std::source_location where) {
  return dial_text(network, addr, detail::node_of(ctx), detail::site_of(where));
}
result<conn> dial(const address& to, std::source_location where) {
  return dial_one(to, nullptr, detail::site_of(where));
}
result<conn> dial(const context& ctx, const address& to, std::source_location where) {
  return dial_one(to, detail::node_of(ctx), detail::site_of(where));
}

result<void> readable(int fd) { return wait_foreign(fd, detail::read_side, nullptr); }
result<void> readable(const context& ctx, int fd) {
  return wait_foreign(fd, detail::read_side, detail::node_of(ctx));
}
result<void> writable(int fd) { return wait_foreign(fd, detail::write_side, nullptr); }
result<void> writable(const context& ctx, int fd) {
  return wait_foreign(fd, detail::write_side, detail::node_of(ctx));
}

}  // namespace weft::inline v0::net
