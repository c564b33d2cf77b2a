// SPDX-License-Identifier: Apache-2.0
// See request_parser.hpp. The head goes through llhttp in one piece once its guard has seen its
// end; a sized body needs no parser; a chunked one goes through guard and llhttp as it arrives.
#include "http/request_parser.hpp"

#include <algorithm>
#include <cstring>

#include "http/chars.hpp"

namespace weft::inline v0::http::detail {
namespace {

[[nodiscard]] request_parser& self(llhttp_t* p) noexcept {
  return *static_cast<request_parser*>(p->data);
}

/// Digits only, and no more than fit: "+5", "5,5", "0x5" and "" are all refused.
[[nodiscard]] bool parse_length(std::string_view s, std::uint64_t& out) noexcept {
  out = 0;
  for (const char c : s) {
    if (!is_digit(c)) return false;
    if (__builtin_mul_overflow(out, std::uint64_t{10}, &out) ||
        __builtin_add_overflow(out, static_cast<std::uint64_t>(c - '0'), &out)) {
      return false;
    }
  }
  return !s.empty();
}

/// host [":" port], loosely: no byte that could make two readers see two hosts.
[[nodiscard]] bool is_host(std::string_view s) noexcept {
  return std::all_of(s.begin(), s.end(), [](char c) {
    const auto u = static_cast<unsigned char>(c);
    return u > 0x20 && u < 0x7f &&
           std::string_view("/\\@,?#<>\"^`{}|").find(c) == std::string_view::npos;
  });
}

}  // namespace

// ---- notes taken while llhttp runs ----

const llhttp_settings_t& request_parser::settings() noexcept {
  static const llhttp_settings_t table = [] {
    llhttp_settings_t s;
    llhttp_settings_init(&s);
    s.on_url = &on_url;
    s.on_header_field = &on_header_field;
    s.on_header_value = &on_header_value;
    s.on_headers_complete = &on_headers_complete;
    s.on_body = &on_body;
    s.on_message_complete = &on_message_complete;
    return s;
  }();
  return table;
}

int request_parser::on_url(llhttp_t* p, const char* at, std::size_t n) {
  request_parser& me = self(p);
  if (me.target_size_ == 0) me.target_begin_ = me.offset(at);
  me.target_size_ = me.offset(at) + static_cast<std::uint32_t>(n) - me.target_begin_;
  return 0;
}

int request_parser::on_header_field(llhttp_t* p, const char* at, std::size_t n) {
  request_parser& me = self(p);
  if (me.head_complete()) return 0;  // a trailer field: dropped
  const auto begin = me.offset(at);
  const auto size = static_cast<std::uint32_t>(n);
  const bool goes_on = !me.refs_.empty() && !me.value_seen_ &&
                       me.refs_.back().name_begin + me.refs_.back().name_size == begin;
  if (goes_on) {
    me.refs_.back().name_size += size;
  } else {
    me.refs_.push_back({begin, size, begin + size, 0});
  }
  me.value_seen_ = false;
  return 0;
}

int request_parser::on_header_value(llhttp_t* p, const char* at, std::size_t n) {
  request_parser& me = self(p);
  if (me.head_complete() || me.refs_.empty()) return 0;
  field_ref& f = me.refs_.back();
  if (!me.value_seen_) f.value_begin = me.offset(at);
  f.value_size = me.offset(at) + static_cast<std::uint32_t>(n) - f.value_begin;
  me.value_seen_ = true;
  return 0;
}

int request_parser::on_headers_complete(llhttp_t* p) {
  request_parser& me = self(p);
  me.llhttp_flags_ = p->flags;
  me.keep_alive_ = llhttp_should_keep_alive(p) != 0 && (p->flags & F_CONNECTION_CLOSE) == 0;
  p->upgrade = 0;  // no upgrade is offered: the request is answered as if it had not asked
  return 0;
}

int request_parser::on_body(llhttp_t* p, const char* at, std::size_t n) {
  request_parser& me = self(p);
  // In place: decoded bytes end where the framing before them began, never past the read position.
  std::memmove(me.base_ + me.body_begin_ + me.body_bytes_, at, n);
  me.body_bytes_ += n;
  return 0;
}

int request_parser::on_message_complete(llhttp_t* p) {
  self(p).message_done_ = true;
  return HPE_PAUSED;
}

// ---- stages ----

void request_parser::reset() noexcept {
  head_.reset();
  chunks_.reset();
  fault_ = {};
  stage_ = stage::head;
  expects_continue_ = false;
  keep_alive_ = true;
  value_seen_ = false;
  message_done_ = false;
  llhttp_flags_ = 0;
  target_begin_ = target_size_ = 0;
  body_begin_ = body_bytes_ = 0;
  refs_.clear();
}

scan_state request_parser::fail(fault f) noexcept {
  fault_ = f;
  return scan_state::failed;
}

scan_state request_parser::fail_llhttp(llhttp_errno_t e) noexcept {
  // The guard has seen a method that is a token: llhttp not knowing it is the server's limit.
  if (e == HPE_INVALID_METHOD) return fail({501, "unknown method"});
  if (e == HPE_INVALID_VERSION) return fail({505, "HTTP version not supported"});
  return fail({400, "malformed request"});
}

scan_state request_parser::parse(input_buffer& in, const parse_limits& limits) {
  if (fault_) return scan_state::failed;
  if (stage_ == stage::head) {
    const scan_state s = parse_head(in, limits);
    if (s != scan_state::complete) return s;
  }
  switch (stage_) {
    case stage::sized_body:
      return parse_sized_body(in);
    case stage::chunked_body:
      return parse_chunked_body(in, limits);
    case stage::head:
    case stage::complete:
      break;
  }
  return scan_state::complete;
}

/// complete: the head is parsed and stage_ says what comes next.
scan_state request_parser::parse_head(input_buffer& in, const parse_limits& limits) {
  const scan_state s = head_.scan({in.data(), in.size()}, limits);
  if (s == scan_state::failed) return fail(head_.why());
  if (s == scan_state::need_more) return s;

  llhttp_init(&llhttp_, HTTP_REQUEST, &settings());
  llhttp_.data = this;
  base_ = in.data();
  const llhttp_errno_t e =
      llhttp_execute(&llhttp_, base_ + head_.head_begin(), head_.head_end() - head_.head_begin());
  if (e != HPE_OK && !(e == HPE_PAUSED && message_done_)) return fail_llhttp(e);
  return finish_head(base_, limits);
}

scan_state request_parser::finish_head(const char* base, const parse_limits& limits) {
  framing ours;
  if (const fault f = check_fields(base, ours)) return fail(f);
  const bool llhttp_chunked = (llhttp_flags_ & F_CHUNKED) != 0;
  const bool llhttp_length = (llhttp_flags_ & F_CONTENT_LENGTH) != 0;
  const bool body_follows = ours.chunked || ours.length > 0;
  if (llhttp_chunked != ours.chunked || llhttp_length != ours.has_length ||
      (ours.length > 0 && llhttp_.content_length != ours.length) || message_done_ == body_follows) {
    return fail({400, "ambiguous message length"});
  }
  if (ours.length > limits.body) return fail({413, "request body too large"});

  body_begin_ = head_.head_end();
  body_bytes_ = static_cast<std::size_t>(ours.length);
  stage_ = ours.chunked ? stage::chunked_body : body_follows ? stage::sized_body : stage::complete;
  if (!body_follows || llhttp_.http_minor == 0) expects_continue_ = false;
  return scan_state::complete;
}

fault request_parser::check_fields(const char* base, framing& out) {
  for (field_ref& f : refs_) {
    const auto value = trim({base + f.value_begin, f.value_size});
    if (!value.empty()) f.value_begin = static_cast<std::uint32_t>(value.data() - base);
    f.value_size = static_cast<std::uint32_t>(value.size());
    if (const fault bad = check_special_field({base + f.name_begin, f.name_size}, value, out)) {
      return bad;
    }
  }
  const bool http_1_0 = llhttp_.http_minor == 0;
  if (out.hosts == 0 && !http_1_0) return {400, "missing Host"};
  if (out.chunked && out.has_length) return {400, "Transfer-Encoding with Content-Length"};
  if (out.chunked && http_1_0) return {400, "Transfer-Encoding in HTTP/1.0"};
  return {};
}

/// The few fields that decide where the message ends or whom it is for.
fault request_parser::check_special_field(std::string_view name, std::string_view value,
                                          framing& out) {
  switch (name.size()) {
    case 4:
      if (!equals_lower(name, "host")) break;
      if (++out.hosts > 1) return {400, "repeated Host"};
      if (!is_host(value)) return {400, "malformed Host"};
      break;
    case 6:
      if (!equals_lower(name, "expect")) break;
      if (!equals_lower(value, "100-continue")) return {417, "unknown expectation"};
      expects_continue_ = true;
      break;
    case 14:
      if (!equals_lower(name, "content-length")) break;
      if (out.has_length) return {400, "repeated Content-Length"};
      if (!parse_length(value, out.length)) return {400, "malformed Content-Length"};
      out.has_length = true;
      break;
    case 17:
      if (!equals_lower(name, "transfer-encoding")) break;
      if (out.chunked) return {400, "repeated Transfer-Encoding"};
      if (!equals_lower(value, "chunked")) return {400, "Transfer-Encoding other than chunked"};
      out.chunked = true;
      break;
    default:
      break;
  }
  return {};
}

scan_state request_parser::parse_sized_body(const input_buffer& in) {
  if (in.size() - body_begin_ < body_bytes_) return scan_state::need_more;
  stage_ = stage::complete;
  return scan_state::complete;
}

scan_state request_parser::parse_chunked_body(input_buffer& in, const parse_limits& limits) {
  base_ = in.data();
  std::size_t raw = body_begin_ + body_bytes_;  // first byte that llhttp has not had
  llhttp_errno_t e = HPE_OK;
  while (e == HPE_OK) {
    const std::string_view rest{base_ + raw, in.size() - raw};
    const std::size_t n = chunks_.approve(rest, limits);
    if (n == 0) break;
    e = llhttp_execute(&llhttp_, rest.data(), n);
    raw += n;
  }
  if (chunks_.why()) return fail(chunks_.why());
  if (e != HPE_OK && !(e == HPE_PAUSED && message_done_)) return fail_llhttp(e);
  // Both must see the same end and the same number of bytes.
  if (chunks_.complete() != message_done_ ||
      (message_done_ && chunks_.announced() != body_bytes_)) {
    return fail({400, "ambiguous message length"});
  }
  in.erase(body_begin_ + body_bytes_, raw);
  if (!message_done_) return scan_state::need_more;
  stage_ = stage::complete;
  return scan_state::complete;
}

void request_parser::fill(request& out, const input_buffer& in) {
  const char* const base = in.data();
  fields_.clear();
  for (const field_ref& f : refs_) {
    fields_.push_back({{base + f.name_begin, f.name_size}, {base + f.value_begin, f.value_size}});
  }
  const std::string_view head(base + head_.head_begin(), target_begin_ - head_.head_begin());
  out.method = head.substr(0, head.find(' '));
  out.target = {base + target_begin_, target_size_};
  out.version = llhttp_.http_minor == 0 ? version::http_1_0 : version::http_1_1;
  out.headers = header_list(fields_);
  out.body = {base + body_begin_, body_bytes_};
  out.keep_alive = keep_alive_;
}

}  // namespace weft::inline v0::http::detail
