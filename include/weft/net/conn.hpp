// SPDX-License-Identifier: Apache-2.0
// Stream connections: TCP, unix, and any descriptor that adopt() takes in. Every call suspends only
// the calling fiber (or plain thread).
#pragma once

#include <sys/uio.h>

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

class conn_ref;

/// What can be done with a connection, whoever owns it. All operations are const and safe from any
/// fiber or thread at once: readers take turns, so do writers, and a reader does not disturb a
/// writer. Errors beside the kernel's own: errc::closed, errc::deadline_exceeded, the context's
/// error, errc::no_runtime (a plain thread would have to wait and no runtime runs).
class WEFT_EXPORT stream : public detail::fd_handle {
 public:
  /// Reads at least one byte, at most the buffer; 0 is the end of the stream (or an empty buffer).
  [[nodiscard]] result<std::size_t> read(std::span<std::byte> buffer) const;
  [[nodiscard]] result<std::size_t> read(const context& ctx, std::span<std::byte> buffer) const;
  [[nodiscard]] result<std::size_t> read(std::span<char> buffer) const {
    return read(std::as_writable_bytes(buffer));
  }
  [[nodiscard]] result<std::size_t> read(const context& ctx, std::span<char> buffer) const {
    return read(ctx, std::as_writable_bytes(buffer));
  }

  /// Reads until the buffer is full or the stream ends; less than its size only at the end. Bytes
  /// read before an error are lost to the caller.
  [[nodiscard]] result<std::size_t> read_full(std::span<std::byte> buffer) const;
  [[nodiscard]] result<std::size_t> read_full(const context& ctx,
                                              std::span<std::byte> buffer) const;

  /// Writes at least one byte of a non-empty buffer and says how many.
  [[nodiscard]] result<std::size_t> write(std::span<const std::byte> data) const;
  [[nodiscard]] result<std::size_t> write(const context& ctx,
                                          std::span<const std::byte> data) const;
  [[nodiscard]] result<std::size_t> write(std::string_view text) const {
    return write(std::as_bytes(std::span(text)));
  }
  [[nodiscard]] result<std::size_t> write(const context& ctx, std::string_view text) const {
    return write(ctx, std::as_bytes(std::span(text)));
  }

  /// Writes everything, in one piece as other writers see it; returns the size. After an error part
  /// of it may have been written.
  [[nodiscard]] result<std::size_t> write_all(std::span<const std::byte> data) const;
  [[nodiscard]] result<std::size_t> write_all(const context& ctx,
                                              std::span<const std::byte> data) const;
  [[nodiscard]] result<std::size_t> write_all(std::string_view text) const {
    return write_all(std::as_bytes(std::span(text)));
  }
  [[nodiscard]] result<std::size_t> write_all(const context& ctx, std::string_view text) const {
    return write_all(ctx, std::as_bytes(std::span(text)));
  }

  /// Writes all the buffers, in order, in one piece as other writers see it; returns the total.
  [[nodiscard]] result<std::size_t> writev(
      std::span<const std::span<const std::byte>> buffers) const;
  [[nodiscard]] result<std::size_t> writev(
      const context& ctx, std::span<const std::span<const std::byte>> buffers) const;
  [[nodiscard]] result<std::size_t> writev(std::span<const ::iovec> buffers) const;
  [[nodiscard]] result<std::size_t> writev(const context& ctx,
                                           std::span<const ::iovec> buffers) const;

  /// Ends our side of the stream: the peer reads the end. Errors: the kernel's, errc::closed.
  [[nodiscard]] result<void> close_write() const;
  /// Our readers see the end from now on.
  [[nodiscard]] result<void> close_read() const;

  /// From this moment on reads (writes) fail with errc::deadline_exceeded, those that wait already
  /// included; a later time, or time_point::max() for none, makes them work again.
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

  /// Empty when closed.
  [[nodiscard]] address local_addr() const;
  [[nodiscard]] address remote_addr() const;

  /// TCP_NODELAY; on by default for TCP.
  [[nodiscard]] result<void> set_no_delay(bool on) const;
  /// Probes an idle TCP peer after `idle`, then every `idle`, three times; zero turns it off.
  [[nodiscard]] result<void> set_keep_alive(std::chrono::seconds idle) const;

  /// A counted handle of the same connection that does not close it.
  [[nodiscard]] conn_ref ref() const noexcept;

 protected:
  using fd_handle::fd_handle;
  stream(const stream&) noexcept = default;
  stream(stream&&) noexcept = default;
  ~stream() = default;
};

/// Owns a connection: closes it when dropped. Move-only; an empty one answers errc::closed.
class WEFT_EXPORT conn : public stream {
 public:
  conn() noexcept = default;
  explicit conn(detail::poll_desc* adopted) noexcept : stream(adopted) {}
  conn(conn&& other) noexcept = default;
  conn& operator=(conn&& other) noexcept {
    conn old(static_cast<conn&&>(*this));
    swap(other);
    return *this;
  }
  ~conn() { close(); }
};

/// Keeps a connection's handle usable (operations answer errc::closed once it is closed) without
/// keeping it open. Copyable.
class WEFT_EXPORT conn_ref : public stream {
 public:
  conn_ref() noexcept = default;
  explicit conn_ref(const stream& s) noexcept : stream(s) {}
  conn_ref(const conn_ref& other) noexcept = default;
  conn_ref(conn_ref&& other) noexcept = default;
  conn_ref& operator=(conn_ref other) noexcept {
    swap(other);
    return *this;
  }
  ~conn_ref() = default;
};

inline conn_ref stream::ref() const noexcept { return conn_ref(*this); }

/// Takes over an open descriptor (socket, pipe, terminal): sets O_NONBLOCK and closes it in the
/// end. On error it stays the caller's. Errors: the kernel's for a bad descriptor.
[[nodiscard]] WEFT_EXPORT result<conn> adopt(
    int fd, std::source_location where = std::source_location::current());

}  // namespace weft::inline v0::net
