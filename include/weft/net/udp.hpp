// SPDX-License-Identifier: Apache-2.0
// Datagrams.
#pragma once

#include <chrono>
#include <cstddef>
#include <source_location>
#include <span>
#include <string_view>

#include <weft/detail/config.hpp>
#include <weft/error.hpp>
#include <weft/net/address.hpp>
#include <weft/net/handle.hpp>

namespace weft::inline v0::net {

/// One datagram received: how many bytes it has (more than the buffer if it was cut) and from whom.
struct datagram {
  std::size_t size = 0;
  address from;
};

/// A UDP socket. Move-only, closes when dropped; operations are const and safe from any fiber or
/// thread at once. Errors as for conn.
class WEFT_EXPORT udp_socket : public detail::fd_handle {
 public:
  udp_socket() noexcept = default;
  udp_socket(udp_socket&& other) noexcept = default;
  udp_socket& operator=(udp_socket&& other) noexcept {
    udp_socket old(static_cast<udp_socket&&>(*this));
    swap(other);
    return *this;
  }
  ~udp_socket() { close(); }

  /// "udp", "udp4", "udp6"; address and context as for listen().
  [[nodiscard]] static result<udp_socket> bind(
      std::string_view network, std::string_view addr,
      std::source_location where = std::source_location::current());
  [[nodiscard]] static result<udp_socket> bind(
      const context& ctx, std::string_view network, std::string_view addr,
      std::source_location where = std::source_location::current());

  /// Fixes the peer: send() goes there, datagrams of others are dropped.
  [[nodiscard]] result<void> connect(const address& peer) const;

  [[nodiscard]] result<std::size_t> send_to(std::span<const std::byte> data,
                                            const address& to) const;
  [[nodiscard]] result<std::size_t> send_to(const context& ctx, std::span<const std::byte> data,
                                            const address& to) const;
  /// To the connected peer.
  [[nodiscard]] result<std::size_t> send(std::span<const std::byte> data) const;
  [[nodiscard]] result<std::size_t> send(const context& ctx, std::span<const std::byte> data) const;
  [[nodiscard]] result<datagram> recv_from(std::span<std::byte> buffer) const;
  [[nodiscard]] result<datagram> recv_from(const context& ctx, std::span<std::byte> buffer) const;

  [[nodiscard]] address local_addr() const;

  template <class Clock, class Duration>
  void set_deadline(std::chrono::time_point<Clock, Duration> at) const {
    set_deadline_ns(true, true, detail::deadline_at(at));
  }
  template <class Clock, class Duration>
  void set_read_deadline(std::chrono::time_point<Clock, Duration> at) const {
    set_deadline_ns(true, false, detail::deadline_at(at));
  }
  template <class Clock, class Duration>
  void set_write_deadline(std::chrono::time_point<Clock, Duration> at) const {
    set_deadline_ns(false, true, detail::deadline_at(at));
  }

 private:
  explicit udp_socket(detail::poll_desc* adopted) noexcept : fd_handle(adopted) {}
};

}  // namespace weft::inline v0::net
