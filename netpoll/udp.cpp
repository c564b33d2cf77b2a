// SPDX-License-Identifier: Apache-2.0
#include <weft/net/udp.hpp>

#include <netinet/in.h>

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

result<std::size_t> send_datagram(poll_desc* d, cancel_node* ctx, std::span<const std::byte> data,
                                  const address& to) {
  fd_turn turn(d, detail::write_side, ctx);
  if (turn.error()) return failure(turn.error());
  for (;;) {
    const ssize_t n = sys::send_to(turn.fd(), data, to);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (n != -EAGAIN) return failure(system_error(n));
    if (auto error = turn.wait_ready()) return failure(error);
  }
}

result<datagram> receive_datagram(poll_desc* d, cancel_node* ctx, std::span<std::byte> buffer) {
  fd_turn turn(d, detail::read_side, ctx);
  if (turn.error()) return failure(turn.error());
  for (;;) {
    datagram received;
    const ssize_t n = sys::receive_from(turn.fd(), buffer, received.from);
    if (n >= 0) {
      received.size = static_cast<std::size_t>(n);
      return received;
    }
    if (n != -EAGAIN) return failure(system_error(n));
    if (auto error = turn.wait_ready()) return failure(error);
  }
}

result<poll_desc*> bind_text(std::string_view network, std::string_view addr, cancel_node* ctx,
                             const void* site) {
  if (auto error = end_of(ctx)) return failure(error);
  const auto kind = parse_network(network);
  if (!kind || kind->type != SOCK_DGRAM) return failure(errc::invalid_argument);
  auto addresses = resolve(*kind, network, addr, address_use::listen, ctx);
  if (!addresses) return failure(addresses.error());
  const address& at = addresses->front();
  const int fd = sys::open_socket(at.family(), SOCK_DGRAM);
  if (fd < 0) return failure(system_error(fd));
  int answer = 0;
  if (at.family() == AF_INET6) {
    answer = sys::set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, kind->family == AF_INET6 ? 1 : 0);
  }
  if (answer >= 0) answer = sys::bind(fd, at);
  poll_desc* d = answer >= 0 ? detail::desc_open(fd, true, true, site) : nullptr;
  if (d == nullptr) {
    sys::close(fd);
    return failure(system_error(answer < 0 ? answer : -ENOMEM));
  }
  return d;
}

}  // namespace

result<udp_socket> udp_socket::bind(std::string_view network, std::string_view addr,
                                    std::source_location where) {
  auto d = bind_text(network, addr, nullptr, detail::site_of(where));
  if (!d) return failure(d.error());
  return udp_socket(*d);
}
result<udp_socket> udp_socket::bind(const context& ctx, std::string_view network,
                                    std::string_view addr, std::source_location where) {
  auto d = bind_text(network, addr, detail::node_of(ctx), detail::site_of(where));
  if (!d) return failure(d.error());
  return udp_socket(*d);
}

result<void> udp_socket::connect(const address& peer) const {
  const fd_use use(desc_);
  if (use.fd() < 0) return failure(errc::closed);
  if (const int answer = sys::connect(use.fd(), peer); answer < 0) {
    return failure(system_error(answer));
  }
  return {};
}

result<std::size_t> udp_socket::send_to(std::span<const std::byte> data, const address& to) const {
  return send_datagram(desc_, nullptr, data, to);
}
result<std::size_t> udp_socket::send_to(const context& ctx, std::span<const std::byte> data,
                                        const address& to) const {
  return send_datagram(desc_, detail::node_of(ctx), data, to);
}
result<std::size_t> udp_socket::send(std::span<const std::byte> data) const {
  return send_datagram(desc_, nullptr, data, address());
}
result<std::size_t> udp_socket::send(const context& ctx, std::span<const std::byte> data) const {
  return send_datagram(desc_, detail::node_of(ctx), data, address());
}
result<datagram> udp_socket::recv_from(std::span<std::byte> buffer) const {
  return receive_datagram(desc_, nullptr, buffer);
}
result<datagram> udp_socket::recv_from(const context& ctx, std::span<std::byte> buffer) const {
  return receive_datagram(desc_, detail::node_of(ctx), buffer);
}

address udp_socket::local_addr() const {
  const fd_use use(desc_);
  return use.fd() >= 0 ? sys::local_address(use.fd()) : address();
}

}  // namespace weft::inline v0::net
