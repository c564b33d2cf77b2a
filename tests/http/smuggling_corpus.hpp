// SPDX-License-Identifier: Apache-2.0
// Requests that two readers could understand differently, or that no honest client sends, each
// with the status it must get. Used against the parser and, over a socket, against the server.
#pragma once

#include <string>
#include <vector>

namespace weft_test {

struct bad_request {
  const char* name;
  std::string bytes;
  int status;
};

inline const std::vector<bad_request>& smuggling_corpus() {
  using namespace std::string_literals;
  static const std::string post = "POST / HTTP/1.1\r\nHost: a\r\n";
  static const std::string get = "GET / HTTP/1.1\r\nHost: a\r\n";
  static const std::string chunked = post + "Transfer-Encoding: chunked\r\n\r\n";
  static const std::vector<bad_request> corpus{
      // which of the two lengths holds
      {"te_and_cl", post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400},
      {"cl_and_te", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"cl_zero_and_te", post + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       400},
      {"two_lengths", post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400},
      {"two_equal_lengths", post + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400},
      {"length_list", post + "Content-Length: 5, 5\r\n\r\nhello", 400},
      {"length_list_close", post + "Content-Length: 5,5\r\n\r\nhello", 400},
      {"length_plus", post + "Content-Length: +5\r\n\r\nhello", 400},
      {"length_minus", post + "Content-Length: -5\r\n\r\nhello", 400},
      {"length_minus_one", post + "Content-Length: -1\r\n\r\n", 400},
      {"length_hex", post + "Content-Length: 0x5\r\n\r\nhello", 400},
      {"length_fraction", post + "Content-Length: 5.0\r\n\r\nhello", 400},
      {"length_word", post + "Content-Length: five\r\n\r\nhello", 400},
      {"length_empty", post + "Content-Length:\r\n\r\n", 400},
      {"length_inner_space", post + "Content-Length: 1 0\r\n\r\nhello", 400},
      {"length_quoted", post + "Content-Length: \"5\"\r\n\r\nhello", 400},
      {"length_2_63", post + "Content-Length: 9223372036854775808\r\n\r\n", 413},
      {"length_2_64", post + "Content-Length: 18446744073709551616\r\n\r\n", 400},
      {"length_2_64_plus_5", post + "Content-Length: 18446744073709551621\r\n\r\nhello", 400},
      {"length_huge", post + "Content-Length: 99999999999999999999999999\r\n\r\n", 400},
      // which transfer coding
      {"te_twice",
       post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"te_twice_identity",
       post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400},
      {"te_identity", post + "Transfer-Encoding: identity\r\n\r\n", 400},
      {"te_gzip_chunked", post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400},
      {"te_chunked_gzip", post + "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400},
      {"te_chunked_chunked", post + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400},
      {"te_xchunked", post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400},
      {"te_chunkedx", post + "Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n", 400},
      {"te_empty", post + "Transfer-Encoding:\r\n\r\n0\r\n\r\n", 400},
      {"te_quoted", post + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400},
      {"te_parameter", post + "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 400},
      {"te_leading_comma", post + "Transfer-Encoding: , chunked\r\n\r\n0\r\n\r\n", 400},
      {"te_vertical_tab",
       post + "Transfer-Encoding: \x0b"
              "chunked\r\n\r\n0\r\n\r\n",
       400},
      {"te_null", post + "Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n"s, 400},
      {"te_space_before_colon", post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400},
      {"te_tab_before_colon", post + "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", 400},
      {"te_folded", post + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400},
      {"te_http_1_0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       400},
      // where a line ends
      {"bare_lf_request_line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
      {"bare_lf_everywhere", "GET / HTTP/1.1\nHost: a\n\n", 400},
      {"bare_lf_field", get + "X: 1\nY: 2\r\n\r\n", 400},
      {"bare_lf_end", get + "\n", 400},
      {"bare_cr_field", get + "X: 1\rY: 2\r\n\r\n", 400},
      {"bare_cr_request_line", "GET / HTTP/1.1\rHost: a\r\n\r\n", 400},
      {"cr_cr_lf", get + "X: 1\r\r\n\r\n", 400},
      {"lf_cr", "GET / HTTP/1.1\n\rHost: a\r\n\r\n", 400},
      {"fold_space", get + "X: 1\r\n 2\r\n\r\n", 400},
      {"fold_tab", get + "X: 1\r\n\tContent-Length: 5\r\n\r\nhello", 400},
      {"fold_first", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
      // fields
      {"nul_in_value", get + "X: a\0b\r\n\r\n"s, 400},
      {"nul_in_name", get + "X\0: a\r\n\r\n"s, 400},
      {"escape_in_value", get + "X: \x1b[31m\r\n\r\n", 400},
      {"del_in_value", get + "X: a\x7f\r\n\r\n", 400},
      {"no_colon", get + "X\r\n\r\n", 400},
      {"empty_name", get + ": a\r\n\r\n", 400},
      {"name_with_space", get + "X Y: a\r\n\r\n", 400},
      {"name_with_bracket", get + "X(y): a\r\n\r\n", 400},
      {"name_high_byte", get + "X\xe9: a\r\n\r\n", 400},
      {"name_slash", get + "Content/Length: 5\r\n\r\n", 400},
      // for whom
      {"no_host", "GET / HTTP/1.1\r\n\r\n", 400},
      {"two_hosts", get + "Host: b\r\n\r\n", 400},
      {"two_equal_hosts", get + "Host: a\r\n\r\n", 400},
      {"two_hosts_1_0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"host_list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400},
      {"host_userinfo", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400},
      {"host_path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
      {"host_space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
      // the request line
      {"two_spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"space_in_target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"tab_separator", "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"leading_space", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"trailing_space", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
      {"no_target", "GET HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"no_version", "GET /\r\n\r\n", 400},
      {"fragment", "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"high_byte_target", "GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"nul_target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"s, 400},
      {"relative_target", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"foreign_scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"asterisk_get", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"method_bracket", "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"lower_http", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
      {"version_short", "GET / HTTP/1\r\nHost: a\r\n\r\n", 400},
      {"version_long", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400},
      {"version_word", "GET / HTTP/1.x\r\nHost: a\r\n\r\n", 400},
      {"version_1_2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
      {"version_0_9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505},
      {"version_2_0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
      {"version_9_9", "GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505},
      {"h2_preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"unknown_method", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
      {"lower_method", "get / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
      {"connect", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501},
      {"empty_lines", "\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"empty_line_lf", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"tls_hello", "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"s, 400},
      {"expectation", post + "Expect: 200-ok\r\nContent-Length: 5\r\n\r\nhello", 417},
      // chunks
      {"chunk_bare_lf_size", chunked + "5\nhello\r\n0\r\n\r\n", 400},
      {"chunk_bare_lf_ext", chunked + "5;a\nhello\r\n0\r\n\r\n", 400},
      {"chunk_bare_lf_data", chunked + "5\r\nhello\n0\r\n\r\n", 400},
      {"chunk_bare_cr_size", chunked + "5\rhello\r\n0\r\n\r\n", 400},
      {"chunk_empty_size", chunked + "\r\nhello\r\n0\r\n\r\n", 400},
      {"chunk_plus", chunked + "+5\r\nhello\r\n0\r\n\r\n", 400},
      {"chunk_minus", chunked + "-5\r\nhello\r\n0\r\n\r\n", 400},
      {"chunk_prefix_0x", chunked + "0x5\r\nhello\r\n0\r\n\r\n", 400},
      {"chunk_underscore", chunked + "0_5\r\nhello\r\n0\r\n\r\n", 400},
      {"chunk_leading_space", chunked + " 5\r\nhello\r\n0\r\n\r\n", 400},
      {"chunk_trailing_space", chunked + "5 \r\nhello\r\n0\r\n\r\n", 400},
      {"chunk_too_long", chunked + "5\r\nhello!\r\n0\r\n\r\n", 400},
      {"chunk_too_short", chunked + "5\r\nhell\r\n0\r\n\r\n", 400},
      {"chunk_17_digits", chunked + "00000000000000005\r\nhello\r\n0\r\n\r\n", 400},
      {"chunk_2_64", chunked + "10000000000000005\r\nhello\r\n0\r\n\r\n", 400},
      {"chunk_huge", chunked + "ffffffffffffffff\r\nhello\r\n0\r\n\r\n", 413},
      {"chunk_2_63", chunked + "8000000000000000\r\nhello\r\n0\r\n\r\n", 413},
      {"chunk_ext_too_long", chunked + "5;" + std::string(300, 'a') + "\r\nhello\r\n0\r\n\r\n",
       400},
      {"chunk_ext_nul", chunked + "5;a\0b\r\nhello\r\n0\r\n\r\n"s, 400},
      {"chunk_ext_cr", chunked + "5;a\rb\r\nhello\r\n0\r\n\r\n", 400},
      {"trailer_bare_lf", chunked + "0\r\nX: 1\n\r\n", 400},
      {"trailer_folded", chunked + "0\r\nX: 1\r\n 2\r\n\r\n", 400},
      {"trailer_space_colon", chunked + "0\r\nX : 1\r\n\r\n", 400},
      {"trailer_no_colon", chunked + "0\r\nGET / HTTP/1.1\r\n\r\n", 400},
  };
  return corpus;
}

}  // namespace weft_test
