// SPDX-License-Identifier: Apache-2.0
// What all network objects share: a counted handle of a descriptor's record, deadlines and close.
//
// The record (netpoll/poll_desc.hpp) is type-stable; a handle keeps it from being reused. Closing
// marks the record, wakes everybody in an operation with errc::closed, and the descriptor's number
// goes back to the kernel when the last operation has left: it can never mean another file to them.
#pragma once

#include <cstdint>

#include <weft/clock.hpp>
#include <weft/detail/config.hpp>
#include <weft/error.hpp>

namespace weft::inline v0 {
class context;
}  // namespace weft::inline v0

namespace weft::inline v0::detail {

struct poll_desc;

/// Base of conn, conn_ref, listener, udp_socket. Const operations, from any fiber or thread.
class WEFT_EXPORT fd_handle {
 public:
  /// The file descriptor; -1 when closed or empty. It stays weft's: do not close it. It may be
  /// closed, and its number reused, as soon as somebody calls close().
  [[nodiscard]] int native_handle() const noexcept;
  /// False for an empty handle and after close().
  [[nodiscard]] bool is_open() const noexcept;
  [[nodiscard]] explicit operator bool() const noexcept { return is_open(); }

  /// Ends it: everybody who waits in an operation returns errc::closed, as do all later operations.
  /// Idempotent.
  void close() const noexcept;

 protected:
  fd_handle() noexcept = default;
  explicit fd_handle(poll_desc* adopted) noexcept : desc_(adopted) {}
  fd_handle(fd_handle&& other) noexcept : desc_(other.desc_) { other.desc_ = nullptr; }
  fd_handle(const fd_handle& other) noexcept;
  fd_handle& operator=(const fd_handle&) = delete;
  ~fd_handle();

  void swap(fd_handle& other) noexcept {
    poll_desc* d = desc_;
    desc_ = other.desc_;
    other.desc_ = d;
  }
  void set_deadline_ns(bool read, bool write, std::int64_t when) const noexcept;

  poll_desc* desc_ = nullptr;
};

}  // namespace weft::inline v0::detail
