// SPDX-License-Identifier: Apache-2.0
// The two ways in which weft tells of failure: `result<T>` for what a correct program must expect
// (cancelled, too late, closed, refused by the kernel), and `logic_error` for misuse.
#pragma once

#include <expected>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>

#include <weft/detail/config.hpp>

namespace weft::inline v0 {

/// Expected failures of weft itself. Errors of the kernel come in std::system_category().
enum class errc {
  canceled = 1,       ///< a context was cancelled; equals std::errc::operation_canceled
  deadline_exceeded,  ///< a deadline passed; equals std::errc::timed_out
  closed,             ///< the channel, connection or listener is closed
  no_runtime,         ///< called from a plain thread while no runtime runs
  queue_full,         ///< a bounded queue refused the item
  quota_exceeded,     ///< a budget or limit refused the request; equals no_buffer_space
  already_running,    ///< a second default runtime was asked for
  invalid_argument,   ///< an argument makes no sense; equals std::errc::invalid_argument
  unsupported,        ///< not available here; equals std::errc::operation_not_supported
  message_too_long,   ///< larger than a stated limit; equals std::errc::message_size
  protocol_error,     ///< the peer broke the protocol; equals std::errc::protocol_error
  circuit_open,       ///< a circuit_breaker refused the call: what it guards keeps failing
};

/// The category of weft::errc ("weft").
[[nodiscard]] WEFT_EXPORT const std::error_category& weft_category() noexcept;
[[nodiscard]] WEFT_EXPORT std::error_code make_error_code(errc e) noexcept;

/// Does `a` stand for what std calls `b`? (Of two enumerators std's own operators see nothing.)
[[nodiscard]] inline bool operator==(errc a, std::errc b) noexcept {
  return make_error_code(a) == b;
}

template <class T>
using result = std::expected<T, std::error_code>;

/// Makes the failed result: `return weft::failure(errc::closed);`
[[nodiscard]] inline std::unexpected<std::error_code> failure(std::error_code e) {
  return std::unexpected<std::error_code>(e);
}
[[nodiscard]] inline std::unexpected<std::error_code> failure(errc e) {
  return std::unexpected<std::error_code>(make_error_code(e));
}

/// Misuse of weft: a bug in the calling code, thrown in the fiber that made it.
class WEFT_EXPORT logic_error : public std::logic_error {
 public:
  using std::logic_error::logic_error;
  ~logic_error() override;
};

/// Send on, or close of, a closed channel; close of a nil channel.
class WEFT_EXPORT closed_channel : public logic_error {
 public:
  using logic_error::logic_error;
  ~closed_channel() override;
};

/// Thrown where a function without a result needs a runtime and there is none.
class WEFT_EXPORT no_runtime_error : public std::system_error {
 public:
  no_runtime_error();
  ~no_runtime_error() override;
};

}  // namespace weft::inline v0

template <>
struct std::is_error_code_enum<weft::errc> : std::true_type {};
