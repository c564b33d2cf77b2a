// SPDX-License-Identifier: Apache-2.0
// The server's side of weft::http::response: starting, finishing and abandoning an answer, and the
// pieces of a head (status line, date). One fiber at a time.
#pragma once

#include <cstddef>
#include <ctime>
#include <string>
#include <string_view>

#include <weft/http/request.hpp>
#include <weft/http/response.hpp>

namespace weft::inline v0::http {

/// What only the connection may do with a response.
struct response_access {
  /// Makes the response ready for the answer to `q`.
  static void begin(response& r, const request& q) noexcept {
    r.begin(q.method == "HEAD", q.version == version::http_1_0, q.keep_alive);
  }
  /// Makes it ready for an error answer to something that never became a request.
  static void begin_error(response& r) noexcept { r.begin(false, false, false); }
  /// The handler is done: the whole answer is in the sink's pending bytes, or sent.
  static void finish(response& r) { r.finish(); }
  /// The handler failed after the head had left: the answer stays incomplete.
  static void abandon(response& r) noexcept { r.failed_ = true; }
  /// Lends the response to another connection.
  static void attach(response& r, detail::answer_sink& sink) noexcept { r.sink_ = &sink; }
  /// Forgets what the handler wrote, for an error answer in its place. Not after head_sent().
  static void restart(response& r) noexcept { r.restart(); }
  /// Whether the connection ends after this answer. Valid after finish().
  [[nodiscard]] static bool closes(const response& r) noexcept { return r.close_ || r.failed_; }
  /// Gives memory back that one large answer took.
  static void trim(response& r, std::size_t keep_bytes);
};

namespace detail {

/// "HTTP/1.1 200 OK\r\n"
void append_status_line(std::string& out, int status);

/// The standard phrase for a status, "" if there is none.
[[nodiscard]] std::string_view reason_phrase(int status) noexcept;

/// "Sat, 21 Nov 2026 06:41:49 GMT", remembered for the second it names. One per thread of control.
class date_cache {
 public:
  [[nodiscard]] std::string_view at(std::time_t now) noexcept;
  [[nodiscard]] std::string_view now() noexcept;

 private:
  std::time_t second_ = -1;
  char text_[32] = {};
};

}  // namespace detail
}  // namespace weft::inline v0::http
