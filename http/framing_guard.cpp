// SPDX-License-Identifier: Apache-2.0
// See framing_guard.hpp. Everything here is a pure scan: no allocation, no I/O.
#include "http/framing_guard.hpp"

#include <algorithm>

#include "http/chars.hpp"

namespace weft::inline v0::http::detail {
namespace {

// A few empty lines before a request are what old clients send after a body; more is an attack.
constexpr std::uint8_t max_empty_lines = 4;
// Framing may exceed 16 bytes a chunk plus twice its data by this much in all. Without it a client
// could send a megabyte of extensions around each byte (Go's CVE-2023-39326).
constexpr std::size_t max_chunk_overhead = 16 << 10;

[[nodiscard]] fault check_version(std::string_view version) {
  const bool shaped = version.size() == 8 && version.substr(0, 5) == "HTTP/" &&
                      is_digit(version[5]) && version[6] == '.' && is_digit(version[7]);
  if (!shaped) return {400, "malformed HTTP version"};
  if (version[5] != '1' || version[7] > '1') return {505, "HTTP version not supported"};
  return {};
}

[[nodiscard]] bool starts_with_scheme(std::string_view target) {
  return (target.size() > 7 && equals_lower(target.substr(0, 7), "http://")) ||
         (target.size() > 8 && equals_lower(target.substr(0, 8), "https://"));
}

[[nodiscard]] fault check_target(std::string_view method, std::string_view target) {
  for (const char c : target) {
    if (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7f ||
        c == '#') {
      return {400, "bad character in the request target"};
    }
  }
  if (method == "CONNECT") return {501, "CONNECT is not served"};
  if (target == "*") {
    return method == "OPTIONS" ? fault{} : fault{400, "asterisk target without OPTIONS"};
  }
  if (target.front() != '/' && !starts_with_scheme(target)) {
    return {400, "malformed request target"};
  }
  return {};
}

}  // namespace

fault check_request_line(std::string_view line) {
  const auto first = line.find(' ');
  const auto last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return {400, "malformed request line"};
  const auto method = line.substr(0, first);
  const auto target = line.substr(first + 1, last - first - 1);
  if (!is_token(method)) return {400, "malformed method"};
  if (target.empty()) return {400, "empty request target"};
  // The version first: what a later HTTP allows in the rest of the line is not ours to say.
  if (const fault f = check_version(line.substr(last + 1))) return f;
  return check_target(method, target);
}

fault check_field_line(std::string_view line) {
  if (line.front() == ' ' || line.front() == '\t') return {400, "folded header line"};
  std::size_t colon = 0;
  while (colon < line.size() && is_token_char(line[colon])) ++colon;
  if (colon == 0 || colon == line.size() || line[colon] != ':') {
    return {400, "malformed header field"};
  }
  if (!is_field_content(line.substr(colon + 1))) return {400, "control byte in a header field"};
  return {};
}

// ---- the head ----

scan_state head_guard::fail(fault f) noexcept {
  fault_ = f;
  return scan_state::failed;
}

/// The position of the first byte that this line may not reach.
std::size_t head_guard::first_forbidden(const parse_limits& limits) const noexcept {
  return std::min(line_begin_ + limits.line, head_begin_ + limits.head);
}

scan_state head_guard::scan(std::string_view data, const parse_limits& limits) {
  const char* const base = data.data();
  const char* const end = base + data.size();
  for (;;) {
    const char* const at = find_control(base + scanned_, end);
    scanned_ = static_cast<std::size_t>(at - base);
    // At the limit itself only the line's CR may stand.
    const std::size_t limit = first_forbidden(limits);
    if (scanned_ > limit || (scanned_ == limit && at != end && *at != '\r')) {
      return fail(request_line_seen_ ? fault{431, "header fields too large"}
                                     : fault{414, "request line too long"});
    }
    if (at == end) return scan_state::need_more;
    if (*at == '\t' && request_line_seen_) {
      ++scanned_;
      continue;
    }
    if (*at != '\r') {
      return fail({400, *at == '\n' ? "bare LF" : "control byte in the request head"});
    }
    if (at + 1 == end) return scan_state::need_more;
    if (at[1] != '\n') return fail({400, "bare CR"});
    const scan_state s =
        end_line(data.substr(line_begin_, scanned_ - line_begin_), scanned_ + 2, limits);
    if (s != scan_state::need_more) return s;
  }
}

/// A line is whole. need_more: the head goes on at `next`.
scan_state head_guard::end_line(std::string_view line, std::size_t next,
                                const parse_limits& limits) {
  scanned_ = line_begin_ = next;
  if (!request_line_seen_) {
    if (line.empty()) {
      head_begin_ = next;
      if (++empty_lines_ > max_empty_lines) return fail({400, "empty lines before a request"});
      return scan_state::need_more;
    }
    request_line_seen_ = true;
    if (const fault f = check_request_line(line)) return fail(f);
    return scan_state::need_more;
  }
  if (line.empty()) return scan_state::complete;
  if (++fields_ > limits.fields) return fail({431, "too many header fields"});
  if (const fault f = check_field_line(line)) return fail(f);
  return scan_state::need_more;
}

// ---- a chunked body ----

std::size_t chunk_guard::fail(fault f) noexcept {
  fault_ = f;
  return 0;
}

std::size_t chunk_guard::approve(std::string_view bytes, const parse_limits& limits) {
  if (bytes.empty() || fault_) return 0;
  switch (stage_) {
    case stage::size_line:
      return size_line(bytes, limits);
    case stage::data:
      return chunk_data(bytes);
    case stage::data_end:
      return data_end(bytes);
    case stage::trailer:
      return trailer_line(bytes, limits);
    case stage::done:
      break;
  }
  return 0;
}

/// chunk-size [ ";" extension ] CRLF
std::size_t chunk_guard::size_line(std::string_view bytes, const parse_limits& limits) {
  const std::size_t longest = limits.chunk_digits + limits.chunk_extension;
  const auto head = bytes.substr(0, longest + 2);
  std::size_t size = 0;
  std::size_t digits = 0;
  for (; digits < head.size() && hex_value(head[digits]) >= 0; ++digits) {
    if (digits == limits.chunk_digits) return fail({400, "chunk size too long"});
    const bool overflow =
        __builtin_mul_overflow(size, std::size_t{16}, &size) ||
        __builtin_add_overflow(size, static_cast<std::size_t>(hex_value(head[digits])), &size);
    if (overflow) return fail({400, "chunk size too large"});
  }
  if (digits == head.size()) return 0;
  if (digits == 0) return fail({400, "malformed chunk size"});
  if (head[digits] != ';' && head[digits] != '\r') return fail({400, "malformed chunk size"});
  std::size_t stop = digits;
  while (stop < head.size() && (!is_control(head[stop]) || head[stop] == '\t')) ++stop;
  if (stop - digits > limits.chunk_extension) return fail({400, "chunk extension too long"});
  if (stop == head.size()) return 0;
  if (head[stop] != '\r') return fail({400, "control byte in a chunk header"});
  if (stop + 1 == bytes.size()) return 0;
  if (bytes[stop + 1] != '\n') return fail({400, "bare CR in a chunk header"});

  std::size_t sum = 0;
  if (__builtin_add_overflow(announced_, size, &sum) || sum > limits.body) {
    return fail({413, "request body too large"});
  }
  // Honest chunking stays below 16 bytes a chunk plus the data itself, so credit is given for it.
  const std::size_t spent = overhead_ + stop + 4;
  const std::size_t credit = 16 + 2 * std::min(size, max_chunk_overhead);
  overhead_ = spent > credit ? spent - credit : 0;
  if (overhead_ > max_chunk_overhead) return fail({400, "too much chunk overhead"});
  announced_ = sum;
  left_ = size;
  stage_ = size == 0 ? stage::trailer : stage::data;
  return stop + 2;
}

std::size_t chunk_guard::chunk_data(std::string_view bytes) {
  const std::size_t n = std::min(left_, bytes.size());
  left_ -= n;
  if (left_ == 0) stage_ = stage::data_end;
  return n;
}

std::size_t chunk_guard::data_end(std::string_view bytes) {
  if (bytes[0] != '\r') return fail({400, "chunk longer than its size"});
  if (bytes.size() < 2) return 0;
  if (bytes[1] != '\n') return fail({400, "bare CR after a chunk"});
  stage_ = stage::size_line;
  return 2;
}

/// Trailer fields are held to the rules of the head, and then dropped (RFC 9110 6.5.1).
std::size_t chunk_guard::trailer_line(std::string_view bytes, const parse_limits& limits) {
  const std::size_t longest = std::min(limits.line, limits.head - trailer_bytes_);
  const auto end = bytes.substr(0, longest + 2).find('\n');
  if (end == std::string_view::npos) {
    if (bytes.size() >= longest + 2) return fail({431, "trailer fields too large"});
    return 0;
  }
  if (end == 0 || bytes[end - 1] != '\r') return fail({400, "bare LF in the trailer"});
  const auto line = bytes.substr(0, end - 1);
  if (line.empty()) {
    stage_ = stage::done;
    return end + 1;
  }
  trailer_bytes_ = std::min(trailer_bytes_ + end + 1, limits.head);
  if (++trailer_fields_ > limits.fields) return fail({431, "too many trailer fields"});
  if (const fault f = check_field_line(line)) return fail(f);
  return end + 1;
}

}  // namespace weft::inline v0::http::detail
