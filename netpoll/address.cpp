// SPDX-License-Identifier: Apache-2.0
#include <weft/net/address.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <optional>

#include "netpoll/host_port.hpp"

namespace weft::inline v0::net {
namespace {

constexpr std::size_t path_offset = offsetof(::sockaddr_un, sun_path);

std::optional<std::uint16_t> parse_port(std::string_view text) noexcept {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return {};
  return port;
}

address ip4(const ::in_addr& host, std::uint16_t port) noexcept {
  ::sockaddr_in raw{};
  raw.sin_family = AF_INET;
  raw.sin_addr = host;
  raw.sin_port = htons(port);
  return {reinterpret_cast<const ::sockaddr*>(&raw), sizeof(raw)};
}

address ip6(const ::in6_addr& host, std::uint16_t port) noexcept {
  ::sockaddr_in6 raw{};
  raw.sin6_family = AF_INET6;
  raw.sin6_addr = host;
  raw.sin6_port = htons(port);
  return {reinterpret_cast<const ::sockaddr*>(&raw), sizeof(raw)};
}

result<address> parse_unix(std::string_view text) {
  ::sockaddr_un raw{};
  raw.sun_family = AF_UNIX;
  // A path ends with a NUL that counts; an abstract name begins with one instead of its '@'.
  if (text.empty() || text.size() >= sizeof(raw.sun_path)) return failure(errc::invalid_argument);
  const bool abstract = text.front() == '@';
  if (!abstract && text.find('\0') != text.npos) return failure(errc::invalid_argument);
  std::memcpy(raw.sun_path, text.data(), text.size());
  if (abstract) raw.sun_path[0] = '\0';
  const std::size_t size = path_offset + text.size() + (abstract ? 0 : 1);
  return address(reinterpret_cast<const ::sockaddr*>(&raw), static_cast<::socklen_t>(size));
}

result<address> parse_ip(int family, std::string_view text) {
  const auto parts = split_host_port(text);
  if (!parts) return failure(errc::invalid_argument);
  const auto port = parse_port(parts->port);
  if (!port) return failure(errc::invalid_argument);
  if (parts->host.empty()) {
    return family == AF_INET ? ip4({htonl(INADDR_ANY)}, *port) : ip6(in6addr_any, *port);
  }
  const std::string host(parts->host);
  ::in_addr host4{};
  ::in6_addr host6{};
  if (family != AF_INET6 && ::inet_pton(AF_INET, host.c_str(), &host4) == 1) {
    return ip4(host4, *port);
  }
  if (family != AF_INET && ::inet_pton(AF_INET6, host.c_str(), &host6) == 1) {
    return ip6(host6, *port);
  }
  return failure(errc::invalid_argument);
}

}  // namespace

std::optional<host_port> split_host_port(std::string_view text) noexcept {
  if (text.find('\0') != text.npos) return {};
  const std::size_t colon = text.rfind(':');
  if (colon == text.npos) return {};
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find_first_of(":[]") != host.npos) {
    return {};  // "::1:80" could mean two things
  }
  return host_port{host, text.substr(colon + 1)};
}

std::optional<network_kind> parse_network(std::string_view name) noexcept {
  if (name == "unix") return network_kind{AF_UNIX, SOCK_STREAM};
  const bool udp = name.starts_with("udp");
  if (!udp && !name.starts_with("tcp")) return {};
  const std::string_view version = name.substr(3);
  const int type = udp ? SOCK_DGRAM : SOCK_STREAM;
  if (version.empty()) return network_kind{AF_UNSPEC, type};
  if (version == "4") return network_kind{AF_INET, type};
  if (version == "6") return network_kind{AF_INET6, type};
  return {};
}

address::address(const ::sockaddr* raw, ::socklen_t size) noexcept {
  if (size > sizeof(storage_) || size < sizeof(raw->sa_family)) return;
  std::memcpy(&storage_, raw, size);
  size_ = size;
}

result<address> address::parse(std::string_view network, std::string_view text) {
  const auto kind = parse_network(network);
  if (!kind) return failure(errc::invalid_argument);
  return kind->family == AF_UNIX ? parse_unix(text) : parse_ip(kind->family, text);
}

int address::family() const noexcept { return empty() ? AF_UNSPEC : storage_.ss_family; }

std::uint16_t address::port() const noexcept {
  if (family() == AF_INET) {
    return ntohs(reinterpret_cast<const ::sockaddr_in*>(&storage_)->sin_port);
  }
  if (family() == AF_INET6) {
    return ntohs(reinterpret_cast<const ::sockaddr_in6*>(&storage_)->sin6_port);
  }
  return 0;
}

std::string address::host() const {
  char text[INET6_ADDRSTRLEN] = {};
  if (family() == AF_INET) {
    ::inet_ntop(AF_INET, &reinterpret_cast<const ::sockaddr_in*>(&storage_)->sin_addr, text,
                sizeof(text));
    return text;
  }
  if (family() == AF_INET6) {
    ::inet_ntop(AF_INET6, &reinterpret_cast<const ::sockaddr_in6*>(&storage_)->sin6_addr, text,
                sizeof(text));
    return text;
  }
  if (family() != AF_UNIX || size_ <= path_offset) return {};
  const char* path = reinterpret_cast<const ::sockaddr_un*>(&storage_)->sun_path;
  const std::size_t length = size_ - path_offset;
  if (path[0] == '\0') return "@" + std::string(path + 1, length - 1);
  return {path, std::min(length, std::strlen(path))};
}

std::string address::to_string() const {
  if (family() == AF_INET) return host() + ":" + std::to_string(port());
  if (family() == AF_INET6) return "[" + host() + "]:" + std::to_string(port());
  return host();
}

bool address::operator==(const address& other) const noexcept {
  return size_ == other.size_ && std::memcmp(&storage_, &other.storage_, size_) == 0;
}

}  // namespace weft::inline v0::net
