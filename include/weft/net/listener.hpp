// SPDX-License-Identifier: Apache-2.0
// Listening sockets.
#pragma once

#include <chrono>
#include <source_location>
#include <string_view>

#include <weft/detail/config.hpp>
#include <weft/error.hpp>
#include <weft/net/address.hpp>
#include <weft/net/conn.hpp>
#include <weft/net/handle.hpp>

namespace weft::inline v0::net {

struct listen_options {
  int backlog = 4096;       ///< connections that wait for accept(); the kernel caps it (somaxconn)
  bool reuse_port = false;  ///< SO_REUSEPORT: several listeners share the port
  bool no_delay = true;     ///< TCP_NODELAY on every accepted TCP connection
  bool unlink = true;  ///< "unix": a socket file that nobody serves is replaced; ours goes on close
};

/// Accepts connections. Move-only, closes when dropped; operations are const and safe from any
/// fiber or thread at once.
class WEFT_EXPORT listener : public detail::fd_handle {
 public:
  listener() noexcept = default;
  listener(listener&& other) noexcept = default;
  listener& operator=(listener&& other) noexcept {
    listener old(static_cast<listener&&>(*this));
    swap(other);
    addr_ = other.addr_;
    remove_file_ = other.remove_file_;
    return *this;
  }
  ~listener() { close(); }

  /// The next connection. When the process is out of descriptors or buffers it waits with growing
  /// pauses (5 ms to 1 s) and tries again; connections aborted by their peer are passed over.
  /// Errors: errc::closed, errc::deadline_exceeded, the context's, errc::no_runtime, the kernel's.
  [[nodiscard]] result<conn> accept(
      std::source_location where = std::source_location::current()) const;
  [[nodiscard]] result<conn> accept(
      const context& ctx, std::source_location where = std::source_location::current()) const;

  /// Stops listening: accept() calls return errc::closed. When it returns, the kernel has let go of
  /// the socket (normally at once; bounded at 100 ms) unless an accept() is just leaving.
  void close() const noexcept;

  /// Where it listens, with the port that the kernel chose; also after close().
  [[nodiscard]] const address& addr() const noexcept { return addr_; }

  template <class Clock, class Duration>
  void set_deadline(std::chrono::time_point<Clock, Duration> at) const {
    set_deadline_ns(true, false, detail::deadline_at(at));
  }

 private:
  friend class listener_factory;
  listener(detail::poll_desc* adopted, const address& addr, bool remove_file) noexcept
      : fd_handle(adopted), addr_(addr), remove_file_(remove_file) {}

  address addr_;
  bool remove_file_ = false;
};

/// Listens on "tcp", "tcp4", "tcp6" ("host:port", ":port", port 0 for any) or "unix" (a path, or
/// "@name"). Host names are resolved. Errors: invalid_argument for text that is no address, the
/// resolver's, the kernel's.
[[nodiscard]] WEFT_EXPORT result<listener> listen(
    std::string_view network, std::string_view addr, const listen_options& options = {},
    std::source_location where = std::source_location::current());
/// The same; ctx ends the look-up of a name, but not that of a plain thread, which does it itself.
[[nodiscard]] WEFT_EXPORT result<listener> listen(
    const context& ctx, std::string_view network, std::string_view addr,
    const listen_options& options = {},
    std::source_location where = std::source_location::current());

/// Takes over a socket that listens already (socket activation).
[[nodiscard]] WEFT_EXPORT result<listener> adopt_listener(
    int fd, std::source_location where = std::source_location::current());

}  // namespace weft::inline v0::net
