// SPDX-License-Identifier: Apache-2.0
// Strictness around llhttp. The guards look at the raw bytes before llhttp does and refuse what
// RFC 9112 lets a recipient refuse or what two recipients could read differently: bare CR or LF,
// control bytes, line folding, space before a colon, loose chunk sizes, and everything too long.
// They never interpret a message: a byte that both the guard and llhttp accept means what llhttp
// says.
//
// Law: a guard's answer depends on the bytes alone, not on how they were split into reads. Faults
// are found in the order of byte positions; a limit counts as crossed at the byte that crosses it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace weft::inline v0::http::detail {

/// Bounds on what a client may send. All in bytes but `fields`.
struct parse_limits {
  std::size_t line = 8 << 10;     ///< one line of the head, without its CRLF
  std::size_t head = 64 << 10;    ///< request line and fields together; trailers once more
  std::size_t fields = 100;       ///< header fields; trailer fields once more
  std::size_t body = 1 << 20;     ///< decoded body
  std::size_t chunk_digits = 16;  ///< hex digits of a chunk size
  std::size_t chunk_extension = 256;
};

/// Why a request is refused: the status to answer and a phrase for it. No fault: status 0.
struct fault {
  int status = 0;
  const char* reason = "";
  [[nodiscard]] explicit operator bool() const noexcept { return status != 0; }
};

enum class scan_state : std::uint8_t { need_more, complete, failed };

/// Finds the end of the head and checks each of its lines on the way.
class head_guard {
 public:
  void reset() noexcept { *this = head_guard{}; }

  /// `data` starts at the message's first byte and holds everything received since; a later call
  /// goes on where this one ended.
  [[nodiscard]] scan_state scan(std::string_view data, const parse_limits& limits);

  /// Where the request line starts: empty lines before it are allowed (RFC 9112 2.2).
  [[nodiscard]] std::size_t head_begin() const noexcept { return head_begin_; }
  /// One past the empty line that ends the head; valid once complete.
  [[nodiscard]] std::size_t head_end() const noexcept { return scanned_; }
  [[nodiscard]] const fault& why() const noexcept { return fault_; }

 private:
  [[nodiscard]] std::size_t first_forbidden(const parse_limits& limits) const noexcept;
  [[nodiscard]] scan_state end_line(std::string_view line, std::size_t next,
                                    const parse_limits& limits);
  [[nodiscard]] scan_state fail(fault f) noexcept;

  std::size_t scanned_ = 0;
  std::size_t line_begin_ = 0;
  std::size_t head_begin_ = 0;
  std::size_t fields_ = 0;
  bool request_line_seen_ = false;
  std::uint8_t empty_lines_ = 0;
  fault fault_;
};

/// Approves the framing of a chunked body, whole lines at a time.
class chunk_guard {
 public:
  void reset() noexcept { *this = chunk_guard{}; }

  /// How many of the bytes, which follow those approved before, may go to llhttp. 0 with neither
  /// complete() nor a fault: more bytes are needed first. Call again until it returns 0.
  [[nodiscard]] std::size_t approve(std::string_view bytes, const parse_limits& limits);

  [[nodiscard]] bool complete() const noexcept { return stage_ == stage::done; }
  [[nodiscard]] const fault& why() const noexcept { return fault_; }
  /// Sum of the chunk sizes so far: what llhttp must have delivered at the end.
  [[nodiscard]] std::size_t announced() const noexcept { return announced_; }

 private:
  enum class stage : std::uint8_t { size_line, data, data_end, trailer, done };

  [[nodiscard]] std::size_t size_line(std::string_view bytes, const parse_limits& limits);
  [[nodiscard]] std::size_t chunk_data(std::string_view bytes);
  [[nodiscard]] std::size_t data_end(std::string_view bytes);
  [[nodiscard]] std::size_t trailer_line(std::string_view bytes, const parse_limits& limits);
  std::size_t fail(fault f) noexcept;

  stage stage_ = stage::size_line;
  std::size_t left_ = 0;  // of the current chunk
  std::size_t announced_ = 0;
  std::size_t overhead_ = 0;  // framing bytes beyond what honest chunking needs
  std::size_t trailer_bytes_ = 0;
  std::size_t trailer_fields_ = 0;
  fault fault_;
};

/// Checks "method SP target SP HTTP/x.y": shape, characters, version.
[[nodiscard]] fault check_request_line(std::string_view line);
/// Checks "name ':' value": a token right before the colon, no folding, no control byte.
[[nodiscard]] fault check_field_line(std::string_view line);

}  // namespace weft::inline v0::http::detail
