// SPDX-License-Identifier: Apache-2.0
// Runs the request parser over bytes given in any split and writes down what came out, so that
// two runs can be compared.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "http/request_parser.hpp"

namespace weft_test {

/// One step of the parser's output: a request, the refusal that ended it, or "more".
struct parsed {
  std::string text;  // method, target, version, fields, body, keep-alive in one line each
  int status = 0;    // of the refusal, 0 for a request
  friend bool operator==(const parsed&, const parsed&) = default;
};

struct parse_run {
  std::vector<parsed> messages;
  bool wants_more = false;  // the end of the input lies inside a message
  friend bool operator==(const parse_run&, const parse_run&) = default;
};

/// Feeds `pieces` one after the other, as a connection would, until a refusal.
inline parse_run parse_pieces(const std::vector<std::string_view>& pieces,
                              const weft::http::detail::parse_limits& limits = {}) {
  namespace d = weft::http::detail;
  d::input_buffer in(64);
  d::request_parser parser;
  parse_run run;
  for (const auto piece : pieces) {
    in.append(piece);
    while (!in.empty()) {
      const d::scan_state s = parser.parse(in, limits);
      if (s == d::scan_state::need_more) break;
      if (s == d::scan_state::failed) {
        run.messages.push_back({parser.why().reason, parser.why().status});
        return run;
      }
      weft::http::request q;
      parser.fill(q, in);
      std::string text;
      text.append(q.method).append("|").append(q.target);
      text.append(q.version == weft::http::version::http_1_0 ? "|1.0|" : "|1.1|");
      text.append(q.keep_alive ? "keep" : "close");
      if (parser.expects_continue()) text.append("|continue");
      text.append("\n");
      for (const auto& h : q.headers) {
        text.append(h.name).append("=").append(h.value).append("\n");
      }
      text.append(q.body);
      run.messages.push_back({text, 0});
      in.consume(parser.message_bytes());
      parser.reset();
    }
  }
  run.wants_more = !in.empty();
  return run;
}

inline parse_run parse_text(std::string_view all,
                            const weft::http::detail::parse_limits& limits = {}) {
  return parse_pieces({all}, limits);
}

inline parse_run parse_bytewise(std::string_view all,
                                const weft::http::detail::parse_limits& limits = {}) {
  std::vector<std::string_view> pieces;
  for (std::size_t i = 0; i < all.size(); ++i) pieces.push_back(all.substr(i, 1));
  return parse_pieces(pieces, limits);
}

}  // namespace weft_test
