// SPDX-License-Identifier: Apache-2.0
// Text to addresses. Numbers need no look-up; names go to getaddrinfo, which blocks and wants more
// stack than a fiber has: it runs on a fiber of its own with a big stack, announced as blocking.
#pragma once

#include <string_view>
#include <vector>

#include <weft/error.hpp>
#include <weft/net/address.hpp>

#include "netpoll/host_port.hpp"

namespace weft::inline v0::detail {
struct cancel_node;
}  // namespace weft::inline v0::detail

namespace weft::inline v0::net {

enum class address_use { listen, dial };

/// At least one address, in the resolver's order. An empty host means any address to a listener,
/// this machine to a dialler. A look-up whose context is cancelled goes on by itself and is
/// ignored.
[[nodiscard]] result<std::vector<address>> resolve(network_kind kind, std::string_view network,
                                                   std::string_view text, address_use use,
                                                   detail::cancel_node* ctx);

}  // namespace weft::inline v0::net
