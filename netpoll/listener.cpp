// SPDX-License-Identifier: Apache-2.0
#include <weft/net/listener.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include <weft/context.hpp>
#include <weft/detail/spawn.hpp>

#include "netpoll/poll_desc.hpp"
#include "netpoll/resolve.hpp"
#include "netpoll/socket.hpp"

namespace weft::inline v0::net {

/// Makes listeners of what the functions below have built.
class listener_factory {
 public:
  [[nodiscard]] static listener make(detail::poll_desc* d, const address& addr,
                                     bool remove_file) noexcept {
    return {d, addr, remove_file};
  }
};

namespace {

using detail::cancel_node;
using detail::fd_turn;
using detail::poll_desc;

// Out of descriptors or buffers: what frees them is somebody else's close, so retry at leisure.
constexpr std::int64_t first_pause_ns = 5'000'000;
constexpr std::int64_t longest_pause_ns = 1'000'000'000;

enum class accept_failure { wait, retry, pause, fatal };

accept_failure classify(int error) noexcept {
  switch (error) {
    case EAGAIN:
      return accept_failure::wait;
    // The peer went away while it was queued; Linux passes the connection's own errors on here.
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
      return accept_failure::retry;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return accept_failure::pause;
    default:
      return accept_failure::fatal;
  }
}

result<conn> adopt_accepted(int fd, const void* site) {
  poll_desc* d = detail::desc_open(fd, true, true, site);
  if (d == nullptr) {
    sys::close(fd);
    return failure(system_error(-ENOMEM));
  }
  return conn(d);
}

result<conn> accept_one(poll_desc* listening, cancel_node* ctx, const void* site) {
  fd_turn turn(listening, detail::read_side, ctx);
  if (turn.error()) return failure(turn.error());
  std::int64_t pause = first_pause_ns;
  for (;;) {
    const int fd = sys::accept(turn.fd());
    if (fd >= 0) return adopt_accepted(fd, site);
    std::error_code error;
    switch (classify(-fd)) {
      case accept_failure::wait:
        error = turn.wait_ready();
        break;
      case accept_failure::retry:
        break;
      case accept_failure::pause:
        error = turn.pause(pause);
        pause = std::min(pause * 2, longest_pause_ns);
        break;
      case accept_failure::fatal:
        return failure(system_error(fd));
    }
    if (error) return failure(error);
  }
}

// Binds; a unix socket file that nobody serves any more is replaced.
int bind_fresh(int fd, const address& to, const listen_options& options) {
  const int answer = sys::bind(fd, to);
  if (answer != -EADDRINUSE || to.family() != AF_UNIX || !options.unlink) return answer;
  const int probe = sys::open_socket(AF_UNIX, SOCK_STREAM);
  if (probe < 0) return answer;
  const bool stale = sys::connect(probe, to) == -ECONNREFUSED;
  sys::close(probe);
  if (!stale || ::unlink(to.host().c_str()) != 0) return answer;
  return sys::bind(fd, to);
}

int set_options(int fd, int family, bool only_v6, const listen_options& options) noexcept {
  if (!is_tcp_family(family)) return 0;
  int answer = sys::set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (answer >= 0 && options.reuse_port) {
    answer = sys::set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  }
  if (answer >= 0 && family == AF_INET6) {
    answer = sys::set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, only_v6 ? 1 : 0);
  }
  // Inherited by accepted connections: no system call each.
  if (answer >= 0 && options.no_delay) answer = sys::set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  return answer;
}

bool has_file(const address& a) { return a.family() == AF_UNIX && !a.host().starts_with('@'); }

result<listener> listen_at(const address& at, bool only_v6, const listen_options& options,
                           const void* site) {
  const int fd = sys::open_socket(at.family(), SOCK_STREAM);
  if (fd < 0) return failure(system_error(fd));
  int answer = set_options(fd, at.family(), only_v6, options);
  if (answer >= 0) answer = bind_fresh(fd, at, options);
  if (answer >= 0) answer = sys::listen(fd, options.backlog);
  poll_desc* d = answer >= 0 ? detail::desc_open(fd, true, true, site) : nullptr;
  if (d == nullptr) {
    sys::close(fd);
    return failure(system_error(answer < 0 ? answer : -ENOMEM));
  }
  const address bound = sys::local_address(fd);
  return listener_factory::make(d, bound, options.unlink && has_file(bound));
}

result<listener> listen_text(std::string_view network, std::string_view addr,
                             const listen_options& options, cancel_node* ctx, const void* site) {
  if (auto error = end_of(ctx)) return failure(error);
  const auto kind = parse_network(network);
  if (!kind || kind->type != SOCK_STREAM) return failure(errc::invalid_argument);
  auto addresses = resolve(*kind, network, addr, address_use::listen, ctx);
  if (!addresses) return failure(addresses.error());
  auto made = listen_at(addresses->front(), kind->family == AF_INET6, options, site);
  // ":port" means both IP versions; a machine without IPv6 has one.
  if (!made && made.error() == std::errc::address_family_not_supported &&
      kind->family == AF_UNSPEC && addr.starts_with(':')) {
    if (auto any4 = address::parse("tcp4", addr)) made = listen_at(*any4, false, options, site);
  }
  return made;
}

}  // namespace

result<conn> listener::accept(std::source_location where) const {
  return accept_one(desc_, nullptr, detail::site_of(where));
}
result<conn> listener::accept(const context& ctx, std::source_location where) const {
  return accept_one(desc_, detail::node_of(ctx), detail::site_of(where));
}

void listener::close() const noexcept {
  if (desc_ == nullptr) return;
  if (remove_file_ && is_open()) ::unlink(addr_.host().c_str());
  detail::desc_close(desc_, true);
}

result<listener> listen(std::string_view network, std::string_view addr,
                        const listen_options& options, std::source_location where) {
  return listen_text(network, addr, options, nullptr, detail::site_of(where));
}
result<listener> listen(const context& ctx, std::string_view network, std::string_view addr,
                        const listen_options& options, std::source_location where) {
  return listen_text(network, addr, options, detail::node_of(ctx), detail::site_of(where));
}

result<listener> adopt_listener(int fd, std::source_location where) {
  if (const int answer = sys::set_non_blocking(fd); answer < 0) {
    return failure(system_error(answer));
  }
  poll_desc* d = detail::desc_open(fd, true, true, detail::site_of(where));
  if (d == nullptr) return failure(system_error(-ENOMEM));
  return listener_factory::make(d, sys::local_address(fd), false);
}

}  // namespace weft::inline v0::net
