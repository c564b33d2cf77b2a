// SPDX-License-Identifier: Apache-2.0
// Which handler a mux chooses, and what it answers when there is none.
#include <weft/http/mux.hpp>

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "http/response_writer.hpp"

namespace {

using weft::http::mux;
using weft::http::request;
using weft::http::response;

class string_sink final : public weft::http::detail::answer_sink {
 public:
  std::string& pending() noexcept override { return text; }
  weft::result<void> send(std::string_view tail) override {
    text += tail;
    return {};
  }
  bool must_close() override { return false; }
  std::string text;
};

weft::http::handler says(std::string_view word) {
  return [word](const request&, response& r) { r.write(word); };
}

mux example() {
  mux m;
  m.handle("GET /", says("root"));
  m.handle("GET /a", says("get-a"));
  m.handle("POST /a", says("post-a"));
  m.handle("/any", says("any"));
  m.handle("PUT /any", says("put-any"));
  m.handle("/files/", says("files"));
  m.handle("/files/deep/", says("deep"));
  m.handle("GET /files/exact", says("exact"));
  return m;
}

std::string ask(const mux& m, std::string_view method, std::string_view target) {
  string_sink sink;
  response r(sink);
  request q;
  q.method = method;
  q.target = target;
  weft::http::response_access::begin(r, q);
  m(q, r);
  weft::http::response_access::finish(r);
  const auto end = sink.text.find("\r\n\r\n");
  if (r.status() == 405) {
    const auto at = sink.text.find("Allow: ") + 7;
    return "405 " + sink.text.substr(at, sink.text.find('\r', at) - at);
  }
  return r.status() == 200 ? sink.text.substr(end + 4) : std::to_string(r.status());
}

TEST(mux, chooses_by_exact_path_and_method) {
  const mux m = example();
  EXPECT_EQ(ask(m, "GET", "/"), "root");
  EXPECT_EQ(ask(m, "GET", "/a?x=1"), "get-a");
  EXPECT_EQ(ask(m, "POST", "/a"), "post-a");
  EXPECT_EQ(ask(m, "GET", "http://host/a"), "get-a");
}

TEST(mux, unknown_paths_are_404) {
  const mux m = example();
  EXPECT_EQ(ask(m, "GET", "/b"), "404");
  EXPECT_EQ(ask(m, "GET", "/a/"), "404");
  EXPECT_EQ(ask(m, "GET", "/A"), "404");
  EXPECT_EQ(ask(m, "GET", "/files"), "404");
  EXPECT_EQ(ask(m, "OPTIONS", "*"), "404");
  EXPECT_EQ(ask(mux(), "GET", "/"), "404");
}

TEST(mux, known_paths_with_another_method_are_405_and_say_what_is_allowed) {
  const mux m = example();
  EXPECT_EQ(ask(m, "DELETE", "/a"), "405 GET, HEAD, POST");
  EXPECT_EQ(ask(m, "POST", "/"), "405 GET, HEAD");
}

TEST(mux, a_pattern_without_method_takes_them_all_but_the_named_ones) {
  const mux m = example();
  EXPECT_EQ(ask(m, "DELETE", "/any"), "any");
  EXPECT_EQ(ask(m, "PUT", "/any"), "put-any");
}

TEST(mux, the_longest_prefix_wins_and_an_exact_path_before_it) {
  const mux m = example();
  EXPECT_EQ(ask(m, "GET", "/files/"), "files");
  EXPECT_EQ(ask(m, "GET", "/files/x"), "files");
  EXPECT_EQ(ask(m, "GET", "/files/deep/x"), "deep");
  EXPECT_EQ(ask(m, "GET", "/files/exact"), "exact");
}

TEST(mux, a_star_takes_the_rest) {
  mux m = example();
  m.handle("/*", says("rest"));
  EXPECT_EQ(ask(m, "GET", "/b"), "rest");
  EXPECT_EQ(ask(m, "GET", "/a"), "get-a");
  EXPECT_EQ(ask(m, "GET", "/files/x"), "files");
}

TEST(mux, a_get_handler_answers_head) {
  const mux m = example();
  EXPECT_EQ(ask(m, "HEAD", "/a"), "");
  EXPECT_EQ(ask(m, "HEAD", "/b"), "404");
}

TEST(mux, malformed_or_repeated_patterns_are_misuse) {
  mux m = example();
  EXPECT_THROW(m.handle("GET /a", says("x")), weft::logic_error);
  EXPECT_THROW(m.handle("a", says("x")), weft::logic_error);
  EXPECT_THROW(m.handle("", says("x")), weft::logic_error);
  EXPECT_THROW(m.handle("G T /", says("x")), weft::logic_error);
  EXPECT_THROW(m.handle(" /", says("x")), weft::logic_error);
  EXPECT_THROW(m.handle("GET /new", {}), weft::logic_error);
}

}  // namespace
