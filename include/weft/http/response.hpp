// SPDX-License-Identifier: Apache-2.0
// The answer that a handler builds. It lives in the connection and is reused from request to
// request, so that a steady state allocates nothing. Only the handler's fiber may touch it, and
// only while the handler runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <weft/detail/config.hpp>
#include <weft/error.hpp>

namespace weft::inline v0::http {

struct request;

namespace detail {

/// Where answers go: the connection, or a test.
class answer_sink {
 public:
  answer_sink() = default;
  answer_sink(const answer_sink&) = delete;
  answer_sink& operator=(const answer_sink&) = delete;

  /// Bytes that go out with the next send, in order. Answers are appended here.
  [[nodiscard]] virtual std::string& pending() noexcept = 0;
  /// Sends pending() and then `tail`, and empties pending().
  [[nodiscard]] virtual result<void> send(std::string_view tail) = 0;
  /// Asked once an answer: must its head say "Connection: close"?
  [[nodiscard]] virtual bool must_close() = 0;

 protected:
  ~answer_sink() = default;
};

}  // namespace detail

/// Collects status, header fields and body. The head goes out when the handler returns, with
/// Content-Length; or at the first flush(), or once the body has outgrown the buffer (64 KiB), and
/// then chunked unless content_length() was called. HEAD, 204 and 304 drop the body themselves.
class WEFT_EXPORT response {
 public:
  response() = default;
  explicit response(detail::answer_sink& sink) noexcept : sink_(&sink) {}
  response(const response&) = delete;
  response& operator=(const response&) = delete;
  ~response() = default;

  /// The status code, 200 unless set. Throws logic_error outside 200..599, or after the head left.
  response& status(int code);
  [[nodiscard]] int status() const noexcept { return status_; }

  /// Sets a field, replacing those of the same name. Throws logic_error if the name is no token,
  /// the value holds a control byte, the head has left, or the field is Transfer-Encoding (the
  /// server's business). "Connection: close" closes the connection after this answer.
  response& set_header(std::string_view name, std::string_view value);
  /// Adds a field beside those of the same name, e.g. Set-Cookie. Throws as set_header does.
  response& add_header(std::string_view name, std::string_view value);
  /// States the body's length in advance: it is then streamed as it is instead of chunked.
  response& content_length(std::uint64_t bytes);
  /// The connection ends after this answer.
  response& close() noexcept {
    close_ = true;
    return *this;
  }

  /// Appends to the body. May block once the buffer is full. A failed connection swallows what
  /// follows: see failed().
  response& write(std::string_view bytes);
  response& write(std::span<const std::byte> bytes) {
    return write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  /// Status, "text/plain; charset=utf-8" and body in one call.
  response& text(int code, std::string_view body);

  /// Sends what there is now: for bodies that come over time. Errors are the connection's.
  [[nodiscard]] result<void> flush();
  /// Whether the peer can no longer be written to.
  [[nodiscard]] bool failed() const noexcept { return failed_; }
  /// Whether the head has left, and with it the chance to change it.
  [[nodiscard]] bool head_sent() const noexcept { return head_sent_; }

 private:
  friend struct response_access;

  enum class framing : std::uint8_t { undecided, sized, chunked, until_close };

  void begin(bool is_head, bool is_http_1_0, bool keep_alive) noexcept;
  void finish();
  void restart() noexcept;
  void append_head(framing f, std::uint64_t length);
  void require_open_head() const;
  void remove_header(std::string_view name) noexcept;
  [[nodiscard]] bool take_over(std::string_view name, std::string_view value);
  [[nodiscard]] bool bodyless() const noexcept;
  [[nodiscard]] result<void> stream(std::string_view tail);

  detail::answer_sink* sink_ = nullptr;  // set before a handler sees it
  std::string fields_;                   // "name: value\r\n" each
  std::string body_;                     // not sent yet
  std::uint64_t declared_ = 0;
  std::uint64_t streamed_ = 0;
  int status_ = 200;
  framing framing_ = framing::undecided;
  bool has_declared_ = false;
  bool has_date_ = false;
  bool head_sent_ = false;
  bool is_head_ = false;
  bool is_http_1_0_ = false;
  bool keep_alive_ = true;
  bool close_ = false;
  bool failed_ = false;
};

}  // namespace weft::inline v0::http
