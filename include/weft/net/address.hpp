// SPDX-License-Identifier: Apache-2.0
// A socket address as a value: IPv4, IPv6 or unix, with its text form.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

#include <weft/detail/config.hpp>
#include <weft/error.hpp>

namespace weft::inline v0::net {

/// Where a socket is bound or connected. A plain value; the default one is empty.
class WEFT_EXPORT address {
 public:
  address() noexcept = default;

  /// Copies what the kernel gave or wants; longer than a sockaddr_storage counts as empty.
  address(const ::sockaddr* raw, ::socklen_t size) noexcept;

  /// Numeric text only, no look-up: "127.0.0.1:80", "[::1]:80", ":80" (any address, IPv6 unless
  /// `network` ends in 4) for tcp and udp networks; a path, or "@name" for the abstract namespace,
  /// for "unix". Errors: invalid_argument.
  [[nodiscard]] static result<address> parse(std::string_view network, std::string_view text);

  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  /// AF_INET, AF_INET6, AF_UNIX; AF_UNSPEC when empty.
  [[nodiscard]] int family() const noexcept;
  /// 0 where there is none.
  [[nodiscard]] std::uint16_t port() const noexcept;
  /// "127.0.0.1", "::1", a path; empty for an unnamed unix socket.
  [[nodiscard]] std::string host() const;
  /// "127.0.0.1:80", "[::1]:80", "/path", "@name"; empty when empty.
  [[nodiscard]] std::string to_string() const;

  [[nodiscard]] const ::sockaddr* data() const noexcept {
    return reinterpret_cast<const ::sockaddr*>(&storage_);
  }
  [[nodiscard]] ::socklen_t size() const noexcept { return size_; }

  [[nodiscard]] bool operator==(const address& other) const noexcept;

 private:
  ::sockaddr_storage storage_{};
  ::socklen_t size_ = 0;
};

}  // namespace weft::inline v0::net
