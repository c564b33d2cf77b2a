// SPDX-License-Identifier: Apache-2.0
// The request parser: what it accepts, what it refuses with which status, and that neither depends
// on how the bytes arrive.
#include "http/request_parser.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tests/http/parse_helper.hpp"
#include "tests/http/smuggling_corpus.hpp"

namespace {

using weft_test::parse_bytewise;
using weft_test::parse_pieces;
using weft_test::parse_run;
using weft_test::parse_text;
using weft_test::smuggling_corpus;

const std::string get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Good requests of every shape, and what they must come out as.
struct good_request {
  std::string bytes;
  std::string text;
};

const std::vector<good_request>& good_requests() {
  using namespace std::string_literals;
  static const std::vector<good_request> all{
      {get, "GET|/|1.1|keep\nHost=a\n"},
      {"\r\n\r\n" + get, "GET|/|1.1|keep\nHost=a\n"},
      {"GET /a?b=c&d HTTP/1.1\r\nHost: a:80\r\nX:\t 1 \t\r\nEmpty:\r\nAlso-Empty: \r\n\r\n",
       "GET|/a?b=c&d|1.1|keep\nHost=a:80\nX=1\nEmpty=\nAlso-Empty=\n"},
      {"GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n", "GET|http://a/b|1.1|keep\nHost=a\n"},
      {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS|*|1.1|keep\nHost=a\n"},
      {"GET / HTTP/1.1\r\nHost: [::1]:8080\r\nConnection: close\r\n\r\n",
       "GET|/|1.1|close\nHost=[::1]:8080\nConnection=close\n"},
      {"GET / HTTP/1.0\r\n\r\n", "GET|/|1.0|close\n"},
      {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
       "GET|/|1.0|keep\nConnection=keep-alive\n"},
      {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
       "GET|/|1.0|close\nConnection=keep-alive, close\n"},
      {"GET / HTTP/1.1\r\nHost:\r\nX: caf\xe9\r\n\r\n", "GET|/|1.1|keep\nHost=\nX=caf\xe9\n"},
      {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
       "HTTP2-Settings: AAMAAABk\r\n\r\n",
       "GET|/|1.1|keep\nHost=a\nConnection=Upgrade, HTTP2-Settings\nUpgrade=h2c\n"
       "HTTP2-Settings=AAMAAABk\n"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
       "POST|/|1.1|keep\nHost=a\nContent-Length=5\nhello"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
       "POST|/|1.1|keep\nHost=a\nContent-Length=0\n"},
      {"POST / HTTP/1.1\r\nHost: a\r\ncontent-length:  005 \r\nExpect: 100-Continue\r\n\r\nhello",
       "POST|/|1.1|keep|continue\nHost=a\ncontent-length=005\nExpect=100-Continue\nhello"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: upgrade\r\nUpgrade: x\r\n"
       "\r\nhello",
       "POST|/|1.1|keep\nHost=a\nContent-Length=5\nConnection=upgrade\nUpgrade=x\nhello"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked \r\n\r\n"
       "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
       "POST|/|1.1|keep\nHost=a\nTransfer-Encoding=Chunked\nhello world"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
       "00A;name=\"v\"\r\n0123456789\r\n1\r\nx\r\n000\r\nTrailer: dropped\r\nB: 2\r\n\r\n",
       "POST|/|1.1|keep\nHost=a\nTransfer-Encoding=chunked\n0123456789x"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
       "0\r\n\r\n",
       "POST|/|1.1|close\nHost=a\nTransfer-Encoding=chunked\nConnection=close\n"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n\r\n\0\n\rGET"s,
       "POST|/|1.1|keep\nHost=a\nContent-Length=8\n\r\n\0\n\rGET"s},
  };
  return all;
}

TEST(request_parser, reads_every_good_request) {
  for (const auto& g : good_requests()) {
    const parse_run run = parse_text(g.bytes);
    ASSERT_EQ(run.messages.size(), 1U) << g.bytes;
    EXPECT_EQ(run.messages[0].status, 0) << g.bytes << run.messages[0].text;
    EXPECT_EQ(run.messages[0].text, g.text);
    EXPECT_FALSE(run.wants_more);
  }
}

TEST(request_parser, result_does_not_depend_on_any_split_in_two) {
  std::vector<std::string> inputs;
  for (const auto& g : good_requests()) inputs.push_back(g.bytes + get);
  for (const auto& b : smuggling_corpus()) inputs.push_back(b.bytes);
  for (const auto& bytes : inputs) {
    const parse_run whole = parse_text(bytes);
    const std::string_view all(bytes);
    for (std::size_t cut = 1; cut < all.size(); ++cut) {
      ASSERT_EQ(parse_pieces({all.substr(0, cut), all.substr(cut)}), whole)
          << "cut at " << cut << " of\n"
          << bytes;
    }
    ASSERT_EQ(parse_bytewise(all), whole) << bytes;
  }
}

TEST(request_parser, result_does_not_depend_on_random_splits_of_a_pipeline) {
  std::string all;
  for (int round = 0; round < 3; ++round) {
    for (const auto& g : good_requests()) all += g.bytes;
  }
  const parse_run whole = parse_text(all);
  ASSERT_EQ(whole.messages.size(), 3 * good_requests().size());
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string_view> pieces;
    for (std::string_view rest = all; !rest.empty();) {
      const std::size_t n = std::min<std::size_t>(rest.size(), 1 + random() % 97);
      pieces.push_back(rest.substr(0, n));
      rest.remove_prefix(n);
    }
    ASSERT_EQ(parse_pieces(pieces), whole);
  }
}

TEST(request_parser, refuses_the_smuggling_corpus) {
  ASSERT_GE(smuggling_corpus().size(), 100U);
  for (const auto& b : smuggling_corpus()) {
    const parse_run run = parse_text(b.bytes);
    ASSERT_FALSE(run.messages.empty()) << b.name << ": waits for more";
    EXPECT_EQ(run.messages.size(), 1U) << b.name << ": first came " << run.messages[0].text;
    EXPECT_EQ(run.messages[0].status, b.status) << b.name << ": " << run.messages[0].text;
  }
}

TEST(request_parser, refuses_every_control_byte_in_a_head) {
  for (int c = 0; c < 0x21; ++c) {
    const char byte = c == 0x20 ? '\x7f' : static_cast<char>(c);
    const std::string in_value =
        "GET / HTTP/1.1\r\nHost: a\r\nX: a" + std::string(1, byte) + "b\r\n\r\n";
    const std::string in_target = "GET /" + std::string(1, byte) + " HTTP/1.1\r\nHost: a\r\n\r\n";
    const int allowed = byte == '\t' ? 0 : 400;
    EXPECT_EQ(parse_text(in_value).messages.at(0).status, allowed) << c;
    EXPECT_EQ(parse_text(in_target).messages.at(0).status, 400) << c;
  }
}

TEST(request_parser, line_limit_is_414_for_the_request_line_and_431_for_a_field) {
  const std::string at_limit(8192 - std::string("GET / HTTP/1.1").size(), 'a');
  EXPECT_EQ(parse_text("GET /" + at_limit + " HTTP/1.1\r\nHost: a\r\n\r\n").messages.at(0).status,
            0);
  EXPECT_EQ(parse_text("GET /" + at_limit + "a HTTP/1.1\r\nHost: a\r\n\r\n").messages.at(0).status,
            414);
  const std::string value(8192 - 3, 'v');
  EXPECT_EQ(
      parse_text("GET / HTTP/1.1\r\nHost: a\r\nX: " + value + "\r\n\r\n").messages.at(0).status, 0);
  EXPECT_EQ(
      parse_text("GET / HTTP/1.1\r\nHost: a\r\nX: " + value + "v\r\n\r\n").messages.at(0).status,
      431);
}

TEST(request_parser, endless_lines_are_refused_before_they_end) {
  EXPECT_EQ(parse_text("GET /" + std::string(9000, 'a')).messages.at(0).status, 414);
  EXPECT_EQ(parse_text(std::string(9000, 'a')).messages.at(0).status, 414);
  EXPECT_EQ(parse_text("GET / HTTP/1.1\r\nX: " + std::string(9000, 'a')).messages.at(0).status,
            431);
  EXPECT_EQ(parse_bytewise(std::string(9000, 'a')), parse_text(std::string(9000, 'a')));
}

TEST(request_parser, head_limit_is_431) {
  std::string head = "GET / HTTP/1.1\r\nHost: a\r\n";
  while (head.size() < (64 << 10)) head += "X: " + std::string(4000, 'v') + "\r\n";
  EXPECT_EQ(parse_text(head).messages.at(0).status, 431);
  EXPECT_EQ(parse_bytewise(head), parse_text(head));
}

TEST(request_parser, a_hundred_fields_pass_and_one_more_is_431) {
  std::string head = "GET / HTTP/1.1\r\nHost: a\r\n";
  for (int i = 1; i < 100; ++i) head += "X: v\r\n";
  EXPECT_EQ(parse_text(head + "\r\n").messages.at(0).status, 0);
  EXPECT_EQ(parse_text(head + "X: v\r\n\r\n").messages.at(0).status, 431);
}

TEST(request_parser, body_limit_is_413_before_the_body_comes) {
  weft::http::detail::parse_limits limits;
  limits.body = 10;
  const std::string post = "POST / HTTP/1.1\r\nHost: a\r\n";
  EXPECT_EQ(parse_text(post + "Content-Length: 10\r\n\r\n0123456789", limits).messages.at(0).status,
            0);
  EXPECT_EQ(parse_text(post + "Content-Length: 11\r\n\r\n", limits).messages.at(0).status, 413);
  const std::string chunked = post + "Transfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(parse_text(chunked + "a\r\n0123456789\r\n0\r\n\r\n", limits).messages.at(0).status, 0);
  EXPECT_EQ(parse_text(chunked + "b\r\n", limits).messages.at(0).status, 413);
  EXPECT_EQ(parse_text(chunked + "a\r\n0123456789\r\n1\r\n", limits).messages.at(0).status, 413);
}

TEST(request_parser, chunk_overhead_is_bounded) {
  std::string body = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 200; ++i) body += "1;" + std::string(250, 'x') + "\r\na\r\n";
  EXPECT_EQ(parse_text(body + "0\r\n\r\n").messages.at(0).status, 400);
  std::string honest = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 10000; ++i) honest += "1\r\na\r\n";
  const auto run = parse_text(honest + "0\r\n\r\n");
  ASSERT_EQ(run.messages.at(0).status, 0) << run.messages[0].text;
  EXPECT_TRUE(run.messages[0].text.ends_with(std::string(10000, 'a')));
}

TEST(request_parser, trailers_are_held_to_the_limits_of_a_head) {
  const std::string start = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
  std::string many = start;
  for (int i = 0; i < 101; ++i) many += "X: v\r\n";
  EXPECT_EQ(parse_text(many + "\r\n").messages.at(0).status, 431);
  EXPECT_EQ(parse_text(start + "X: " + std::string(9000, 'v')).messages.at(0).status, 431);
  std::string large = start;
  for (int i = 0; i < 17; ++i) large += "X: " + std::string(4000, 'v') + "\r\n";
  EXPECT_EQ(parse_text(large).messages.at(0).status, 431);
  EXPECT_EQ(parse_bytewise(large), parse_text(large));
}

TEST(request_parser, stops_at_the_end_of_a_message_and_reports_its_length) {
  namespace d = weft::http::detail;
  const std::string first =
      "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3\r\nabc\r\n0\r\n\r\n";
  d::input_buffer in;
  in.append(first + get);
  d::request_parser parser;
  ASSERT_EQ(parser.parse(in, {}), d::scan_state::complete);
  in.consume(parser.message_bytes());
  EXPECT_EQ(std::string_view(in.data(), in.size()), get);
}

TEST(request_parser, tells_when_the_head_is_there_and_the_body_is_awaited) {
  namespace d = weft::http::detail;
  d::input_buffer in;
  in.append("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r");
  d::request_parser parser;
  ASSERT_EQ(parser.parse(in, {}), d::scan_state::need_more);
  EXPECT_FALSE(parser.head_complete());
  in.append("\n");
  ASSERT_EQ(parser.parse(in, {}), d::scan_state::need_more);
  EXPECT_TRUE(parser.head_complete());
  EXPECT_TRUE(parser.expects_continue());
  in.append("abc");
  EXPECT_EQ(parser.parse(in, {}), d::scan_state::complete);
}

TEST(request_parser, random_bytes_never_break_it) {
  const std::string alphabet = "GET / HTTP/1.1\r\n\r\nHost: a:Content-Length5chunked;\t\0x";
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = round % 2 == 0 ? get : std::string();
    const std::size_t n = random() % 60;
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t at = bytes.empty() ? 0 : random() % (bytes.size() + 1);
      bytes.insert(at, 1, alphabet[random() % alphabet.size()]);
    }
    ASSERT_EQ(parse_bytewise(bytes), parse_text(bytes)) << bytes;
  }
}

TEST(request, path_and_query_of_every_target_form) {
  weft::http::request q;
  const auto check = [&](std::string_view target, std::string_view path, std::string_view query) {
    q.target = target;
    EXPECT_EQ(q.path(), path) << target;
    EXPECT_EQ(q.query(), query) << target;
  };
  check("/", "/", "");
  check("/a/b?c=d?e", "/a/b", "c=d?e");
  check("/?", "/", "");
  check("*", "*", "");
  check("http://host/a?b", "/a", "b");
  check("http://host", "/", "");
  check("http://host?b", "/", "b");
  check("//a//b", "//a//b", "");
}

TEST(request, header_names_are_found_in_any_case) {
  const std::vector<weft::http::header> fields{{"Host", "a"}, {"X-One", "1"}, {"x-one", "2"}};
  const weft::http::header_list list(fields);
  EXPECT_EQ(list.get("x-ONE"), "1");
  EXPECT_EQ(list.get("host"), "a");
  EXPECT_FALSE(list.get("X").has_value());
  EXPECT_TRUE(list.contains("HOST"));
  EXPECT_EQ(list.size(), 3U);
}

}  // namespace
