// SPDX-License-Identifier: Apache-2.0
// From bytes to requests: llhttp reads, the framing guards refuse. Incremental, one message at a
// time; stops exactly at the message's end, so that what follows is the next one (pipelining).
//
// Law: the result depends on the bytes, never on how they were split. A chunked body is decoded in
// place: the buffer then holds head, decoded body and what is not parsed yet, one after the other.
// One fiber owns a parser; it allocates only while its list of fields grows.
#pragma once

#include <llhttp.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include <weft/http/request.hpp>

#include "http/framing_guard.hpp"
#include "http/input_buffer.hpp"

namespace weft::inline v0::http::detail {

class request_parser {
 public:
  request_parser() = default;
  request_parser(const request_parser&) = delete;
  request_parser& operator=(const request_parser&) = delete;

  /// Forgets the message: the next parse() starts a new one at the buffer's first byte.
  void reset() noexcept;

  /// Goes on with the message at the front of `in`. After need_more, append to `in` and call
  /// again; after failed, only why() means anything.
  [[nodiscard]] scan_state parse(input_buffer& in, const parse_limits& limits);

  /// Why the request is refused, after `failed`.
  [[nodiscard]] const fault& why() const noexcept { return fault_; }

  /// The head is whole and good; the body may still be on its way.
  [[nodiscard]] bool head_complete() const noexcept { return stage_ != stage::head; }
  /// The client waits for "100 Continue" before it sends the body.
  [[nodiscard]] bool expects_continue() const noexcept { return expects_continue_; }
  /// The length of the message in `in`: what to consume once the answer is made.
  [[nodiscard]] std::size_t message_bytes() const noexcept { return body_begin_ + body_bytes_; }

  /// The complete message. Its views die with the next change of `in` or of the parser.
  void fill(request& out, const input_buffer& in);

 private:
  enum class stage : std::uint8_t { head, sized_body, chunked_body, complete };

  // Offsets from the message's first byte: the buffer may move while the body is read.
  struct field_ref {
    std::uint32_t name_begin, name_size;
    std::uint32_t value_begin, value_size;
  };

  // What the field names say, before it is compared with what llhttp says.
  struct framing {
    bool chunked = false;
    bool has_length = false;
    std::uint64_t length = 0;
    std::size_t hosts = 0;
  };

  [[nodiscard]] static const llhttp_settings_t& settings() noexcept;
  [[nodiscard]] scan_state fail(fault f) noexcept;
  [[nodiscard]] scan_state fail_llhttp(llhttp_errno_t e) noexcept;
  [[nodiscard]] scan_state parse_head(input_buffer& in, const parse_limits& limits);
  [[nodiscard]] scan_state finish_head(const char* base, const parse_limits& limits);
  [[nodiscard]] scan_state parse_sized_body(const input_buffer& in);
  [[nodiscard]] scan_state parse_chunked_body(input_buffer& in, const parse_limits& limits);
  [[nodiscard]] fault check_fields(const char* base, framing& out);
  [[nodiscard]] fault check_special_field(std::string_view name, std::string_view value,
                                          framing& out);

  // Called by llhttp; they only take notes.
  static int on_url(llhttp_t* p, const char* at, std::size_t n);
  static int on_header_field(llhttp_t* p, const char* at, std::size_t n);
  static int on_header_value(llhttp_t* p, const char* at, std::size_t n);
  static int on_headers_complete(llhttp_t* p);
  static int on_body(llhttp_t* p, const char* at, std::size_t n);
  static int on_message_complete(llhttp_t* p);

  [[nodiscard]] std::uint32_t offset(const char* at) const noexcept {
    return static_cast<std::uint32_t>(at - base_);
  }

  llhttp_t llhttp_{};
  head_guard head_;
  chunk_guard chunks_;
  fault fault_;
  stage stage_ = stage::head;
  bool expects_continue_ = false;
  bool keep_alive_ = true;
  bool value_seen_ = false;    // the last field already has (part of) its value
  bool message_done_ = false;  // llhttp says so
  std::uint16_t llhttp_flags_ = 0;

  char* base_ = nullptr;  // the message's first byte, only while llhttp runs
  std::uint32_t target_begin_ = 0;
  std::uint32_t target_size_ = 0;
  std::size_t body_begin_ = 0;
  std::size_t body_bytes_ = 0;  // sized: announced; chunked: decoded so far
  std::vector<field_ref> refs_;
  std::vector<header> fields_;
};

}  // namespace weft::inline v0::http::detail
