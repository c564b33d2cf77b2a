// SPDX-License-Identifier: Apache-2.0
// See include/weft/http/response.hpp. The head is put together once, at the moment when the
// framing of the body is known: at the end (Content-Length), or when streaming starts.
#include "http/response_writer.hpp"

#include <charconv>
#include <utility>

#include "http/chars.hpp"

namespace weft::inline v0::http {
namespace {

// Bodies up to this size are collected and sent with Content-Length; larger ones are streamed, so
// that one answer cannot hold more memory than this. Equal to the largest request head.
constexpr std::size_t body_buffer_bytes = 64 << 10;
// Up to this size a copy beside the head costs less than a second segment in writev.
constexpr std::size_t copy_bytes = 8 << 10;

void append_number(std::string& out, std::uint64_t n, int base = 10) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, n, base);
  out.append(digits, end.ptr);
}

[[nodiscard]] WEFT_NOINLINE detail::date_cache& dates() noexcept {
  // Per thread: a head is put together without a switch in between.
  thread_local detail::date_cache cache;
  return cache;
}

}  // namespace

// ---- what the handler says ----

void response::require_open_head() const {
  if (head_sent_) throw logic_error("weft::http::response: the head has been sent");
}

response& response::status(int code) {
  require_open_head();
  if (code < 200 || code > 599) throw logic_error("weft::http::response: no such status");
  status_ = code;
  return *this;
}

/// Fields that decide the framing are kept as state, not as text. True: nothing to store.
bool response::take_over(std::string_view name, std::string_view value) {
  switch (name.size()) {
    case 4:
      if (detail::equals_lower(name, "date")) has_date_ = true;
      return false;
    case 10:
      if (!detail::equals_lower(name, "connection")) return false;
      if (detail::equals_lower(value, "close")) close_ = true;
      return true;
    case 14: {
      if (!detail::equals_lower(name, "content-length")) return false;
      std::uint64_t n = 0;
      const auto r = std::from_chars(value.data(), value.data() + value.size(), n);
      if (r.ec != std::errc{} || r.ptr != value.data() + value.size()) {
        throw logic_error("weft::http::response: malformed Content-Length");
      }
      content_length(n);
      return true;
    }
    case 17:
      if (!detail::equals_lower(name, "transfer-encoding")) return false;
      throw logic_error("weft::http::response: Transfer-Encoding is the server's to set");
    default:
      return false;
  }
}

response& response::add_header(std::string_view name, std::string_view value) {
  require_open_head();
  value = detail::trim(value);
  if (!detail::is_token(name) || !detail::is_field_content(value)) {
    throw logic_error("weft::http::response: malformed header field");
  }
  if (take_over(name, value)) return *this;
  fields_.append(name).append(": ").append(value).append("\r\n");
  return *this;
}

response& response::set_header(std::string_view name, std::string_view value) {
  require_open_head();
  if (!fields_.empty()) remove_header(name);
  return add_header(name, value);
}

void response::remove_header(std::string_view name) noexcept {
  std::size_t at = 0;
  while (at < fields_.size()) {
    const std::string_view all(fields_);
    const std::size_t next = all.find('\n', at) + 1;
    const auto line = all.substr(at, next - at);
    if (detail::equals_nocase(line.substr(0, line.find(':')), name)) {
      fields_.erase(at, next - at);
    } else {
      at = next;
    }
  }
}

response& response::content_length(std::uint64_t bytes) {
  require_open_head();
  declared_ = bytes;
  has_declared_ = true;
  return *this;
}

response& response::write(std::string_view bytes) {
  if (failed_) return *this;
  if (body_.size() + bytes.size() <= body_buffer_bytes) {
    body_.append(bytes);
  } else {
    // Told by failed(), and by the connection, which ends.
    (void)stream(bytes);
  }
  return *this;
}

response& response::text(int code, std::string_view body) {
  status(code);
  set_header("Content-Type", "text/plain; charset=utf-8");
  return write(body);
}

result<void> response::flush() { return stream({}); }

// ---- what goes out ----

void response::begin(bool is_head, bool is_http_1_0, bool keep_alive) noexcept {
  restart();
  is_head_ = is_head;
  is_http_1_0_ = is_http_1_0;
  keep_alive_ = keep_alive;
  close_ = !keep_alive;
  failed_ = false;
}

void response::restart() noexcept {
  fields_.clear();
  body_.clear();
  declared_ = streamed_ = 0;
  status_ = 200;
  framing_ = framing::undecided;
  has_declared_ = has_date_ = head_sent_ = false;
}

bool response::bodyless() const noexcept { return status_ == 204 || status_ == 304; }

void response::append_head(framing f, std::uint64_t length) {
  framing_ = f;
  if (f == framing::until_close || sink_->must_close()) close_ = true;
  std::string& out = sink_->pending();
  detail::append_status_line(out, status_);
  if (!has_date_) out.append("Date: ").append(dates().now()).append("\r\n");
  out.append(fields_);
  if (f == framing::chunked) {
    out.append("Transfer-Encoding: chunked\r\n");
  } else if (f == framing::sized && (!bodyless() || (status_ == 304 && length > 0))) {
    out.append("Content-Length: ");
    append_number(out, length);
    out.append("\r\n");
  }
  if (close_) {
    out.append("Connection: close\r\n");
  } else if (is_http_1_0_) {
    out.append("Connection: keep-alive\r\n");
  }
  out.append("\r\n");
  head_sent_ = true;
}

/// Sends the head if it has not left, body_ and `tail`.
result<void> response::stream(std::string_view tail) {
  if (failed_) return failure(errc::closed);
  if (!head_sent_) {
    const framing f = has_declared_ || bodyless() ? framing::sized
                      : is_http_1_0_              ? framing::until_close
                                                  : framing::chunked;
    append_head(f, declared_);
  }
  const std::uint64_t n = body_.size() + tail.size();
  streamed_ += n;
  std::string& out = sink_->pending();
  if (is_head_ || bodyless()) {
    tail = {};
  } else if (n > 0) {
    if (framing_ == framing::sized && streamed_ > declared_) {
      failed_ = true;
      throw logic_error("weft::http::response: body longer than its Content-Length");
    }
    if (framing_ == framing::chunked) {
      append_number(out, n, 16);
      out.append("\r\n");
    }
    out.append(body_);
  }
  body_.clear();
  auto sent = sink_->send(tail);
  if (!sent) {
    failed_ = true;
    return sent;
  }
  if (framing_ == framing::chunked && n > 0 && !is_head_) sink_->pending().append("\r\n");
  return {};
}

void response::finish() {
  if (failed_) return;
  if (!head_sent_) {
    // The length is what was written; only an answer to HEAD may announce more than it wrote.
    const bool announced = has_declared_ && (is_head_ || bodyless());
    append_head(framing::sized, announced ? declared_ : bodyless() ? 0 : body_.size());
    if (is_head_ || bodyless()) {
      body_.clear();
    } else if (body_.size() <= copy_bytes) {
      sink_->pending().append(body_);
      body_.clear();
    } else {
      failed_ = !sink_->send(body_).has_value();
      body_.clear();
    }
    return;
  }
  if (!body_.empty() && !stream({})) return;
  if (is_head_ || bodyless()) return;
  if (framing_ == framing::chunked) sink_->pending().append("0\r\n\r\n");
  // Too short a body leaves the client waiting: the end of the connection tells it.
  if (framing_ == framing::sized && streamed_ != declared_) failed_ = true;
}

void response_access::trim(response& r, std::size_t keep_bytes) {
  if (r.body_.capacity() > keep_bytes) r.body_ = std::string();
  if (r.fields_.capacity() > keep_bytes) r.fields_ = std::string();
}

}  // namespace weft::inline v0::http
