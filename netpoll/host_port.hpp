// SPDX-License-Identifier: Apache-2.0
// The text forms of addresses and networks, taken apart without a look-up.
#pragma once

#include <optional>
#include <string_view>

#include <weft/detail/config.hpp>

namespace weft::inline v0::net {

struct host_port {
  std::string_view host;  // without brackets; may be empty
  std::string_view port;  // a number or a service name
};

/// "host:port", "[v6]:port", ":port"; nothing if it is none of these.
[[nodiscard]] std::optional<host_port> split_host_port(std::string_view text) noexcept;

struct network_kind {
  int family;  // AF_UNSPEC: either IP version
  int type;    // SOCK_STREAM, SOCK_DGRAM
};

/// "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix"; nothing for anything else.
[[nodiscard]] std::optional<network_kind> parse_network(std::string_view name) noexcept;

}  // namespace weft::inline v0::net
