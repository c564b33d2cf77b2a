// SPDX-License-Identifier: Apache-2.0
// Making connections, and waiting for descriptors that are somebody else's.
#pragma once

#include <source_location>
#include <string_view>

#include <weft/detail/config.hpp>
#include <weft/error.hpp>
#include <weft/net/address.hpp>
#include <weft/net/conn.hpp>

namespace weft::inline v0::net {

/// Connects to "tcp", "tcp4", "tcp6" ("host:port") or "unix" (a path or "@name"). Names are
/// resolved off the workers; their addresses are tried in the resolver's order, and the first error
/// is reported if none answers. Errors: the kernel's (connection_refused, ...), the resolver's (see
/// resolver_category), the context's, errc::no_runtime.
[[nodiscard]] WEFT_EXPORT result<conn> dial(
    std::string_view network, std::string_view addr,
    std::source_location where = std::source_location::current());
[[nodiscard]] WEFT_EXPORT result<conn> dial(
    const context& ctx, std::string_view network, std::string_view addr,
    std::source_location where = std::source_location::current());

/// Connects to an address that is known already.
[[nodiscard]] WEFT_EXPORT result<conn> dial(
    const address& to, std::source_location where = std::source_location::current());
[[nodiscard]] WEFT_EXPORT result<conn> dial(
    const context& ctx, const address& to,
    std::source_location where = std::source_location::current());

/// The category of failed look-ups ("resolver"); values are getaddrinfo's EAI_*.
[[nodiscard]] WEFT_EXPORT const std::error_category& resolver_category() noexcept;

/// Waits until `fd`, which stays the caller's and open meanwhile, is readable or writable (errors
/// and hang-up count). A regular file is always ready. Errors: the context's, errc::no_runtime, the
/// kernel's.
[[nodiscard]] WEFT_EXPORT result<void> readable(int fd);
[[nodiscard]] WEFT_EXPORT result<void> readable(const context& ctx, int fd);
[[nodiscard]] WEFT_EXPORT result<void> writable(int fd);
[[nodiscard]] WEFT_EXPORT result<void> writable(const context& ctx, int fd);

}  // namespace weft::inline v0::net
