// SPDX-License-Identifier: Apache-2.0
// What a handler's calls on a response put on the wire.
#include <weft/http/response.hpp>

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "http/response_writer.hpp"

namespace {

using weft::http::request;
using weft::http::response;
using weft::http::response_access;

/// Keeps what was sent; can refuse to go on.
class recording_sink final : public weft::http::detail::answer_sink {
 public:
  std::string& pending() noexcept override { return pending_; }
  weft::result<void> send(std::string_view tail) override {
    if (broken) return weft::failure(weft::errc::closed);
    sent += pending_;
    sent += tail;
    pending_.clear();
    ++sends;
    return {};
  }
  bool must_close() override { return closing; }

  /// Everything, sent or not, without the Date line.
  std::string wire() const {
    std::string all = sent + pending_;
    const auto date = all.find("Date: ");
    if (date != std::string::npos) all.erase(date, all.find('\n', date) + 1 - date);
    return all;
  }

  std::string sent;
  int sends = 0;
  bool broken = false;
  bool closing = false;

 private:
  std::string pending_;
};

struct response_test : testing::Test {
  recording_sink sink;
  response r{sink};

  void begin(std::string_view method = "GET", bool http_1_0 = false, bool keep_alive = true) {
    request q;
    q.method = method;
    q.version = http_1_0 ? weft::http::version::http_1_0 : weft::http::version::http_1_1;
    q.keep_alive = keep_alive;
    response_access::begin(r, q);
  }
  std::string finish() {
    response_access::finish(r);
    return sink.wire();
  }
};

TEST_F(response_test, an_untouched_answer_is_200_and_empty) {
  begin();
  EXPECT_EQ(finish(), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  EXPECT_FALSE(response_access::closes(r));
  EXPECT_EQ(sink.sends, 0);
}

TEST_F(response_test, a_small_body_goes_out_beside_its_head) {
  begin();
  r.status(404).set_header("X", " a ").write("not ").write("here");
  EXPECT_EQ(finish(), "HTTP/1.1 404 Not Found\r\nX: a\r\nContent-Length: 8\r\n\r\nnot here");
  EXPECT_EQ(sink.sends, 0);
}

TEST_F(response_test, every_answer_has_one_date) {
  begin();
  response_access::finish(r);
  EXPECT_NE(sink.pending().find("\r\nDate: "), std::string::npos);
  EXPECT_NE(sink.pending().find(" GMT\r\n"), std::string::npos);
  sink.pending().clear();
  begin();
  r.set_header("Date", "mine");
  EXPECT_EQ(finish(), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

TEST_F(response_test, set_replaces_and_add_adds) {
  begin();
  r.add_header("Set-Cookie", "a=1").add_header("Set-Cookie", "b=2");
  r.set_header("X-A", "1").set_header("x-a", "2").set_header("X-B", "3");
  EXPECT_EQ(finish(),
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nx-a: 2\r\n"
            "X-B: 3\r\nContent-Length: 0\r\n\r\n");
}

TEST_F(response_test, a_head_answer_has_the_length_and_no_body) {
  begin("HEAD");
  r.write("hello");
  EXPECT_EQ(finish(), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
}

TEST_F(response_test, a_head_answer_may_announce_a_length_it_did_not_write) {
  begin("HEAD");
  r.set_header("Content-Length", "12345");
  EXPECT_EQ(finish(), "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n");
}

TEST_F(response_test, no_content_and_not_modified_have_neither_body_nor_length) {
  begin();
  r.status(204).write("dropped");
  EXPECT_EQ(finish(), "HTTP/1.1 204 No Content\r\n\r\n");
  sink.pending().clear();
  begin();
  r.status(304).write("dropped");
  EXPECT_EQ(finish(), "HTTP/1.1 304 Not Modified\r\n\r\n");
}

TEST_F(response_test, a_flushed_answer_is_chunked) {
  begin();
  r.write("hello");
  ASSERT_TRUE(r.flush().has_value());
  EXPECT_TRUE(r.head_sent());
  r.write(std::string(16, 'x'));
  ASSERT_TRUE(r.flush().has_value());
  ASSERT_TRUE(r.flush().has_value());
  r.write("end");
  EXPECT_EQ(finish(),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n10\r\n"
            "xxxxxxxxxxxxxxxx\r\n3\r\nend\r\n0\r\n\r\n");
  EXPECT_FALSE(response_access::closes(r));
}

TEST_F(response_test, a_flushed_answer_with_a_length_is_sent_as_it_is) {
  begin();
  r.content_length(7).write("hell");
  ASSERT_TRUE(r.flush().has_value());
  r.write("o!!");
  EXPECT_EQ(finish(), "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nhello!!");
  EXPECT_FALSE(response_access::closes(r));
}

TEST_F(response_test, a_streamed_body_shorter_than_announced_ends_the_connection) {
  begin();
  r.content_length(7).write("hell");
  ASSERT_TRUE(r.flush().has_value());
  response_access::finish(r);
  EXPECT_TRUE(response_access::closes(r));
  EXPECT_TRUE(r.failed());
}

TEST_F(response_test, a_streamed_body_longer_than_announced_is_misuse) {
  begin();
  r.content_length(3).write("hello");
  EXPECT_THROW((void)r.flush(), weft::logic_error);
}

TEST_F(response_test, a_stream_to_http_1_0_ends_with_the_connection) {
  begin("GET", true, true);
  r.write("hello");
  ASSERT_TRUE(r.flush().has_value());
  EXPECT_EQ(finish(), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello");
  EXPECT_TRUE(response_access::closes(r));
}

TEST_F(response_test, keep_alive_is_said_to_http_1_0_only) {
  begin("GET", true, true);
  EXPECT_EQ(finish(), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n");
}

TEST_F(response_test, connection_close_is_said_when_client_handler_or_server_wants_it) {
  const std::string closing = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
  begin("GET", false, false);
  EXPECT_EQ(finish(), closing);
  EXPECT_TRUE(response_access::closes(r));
  sink.pending().clear();
  begin();
  r.set_header("connection", "Close");
  EXPECT_EQ(finish(), closing);
  sink.pending().clear();
  begin();
  sink.closing = true;
  EXPECT_EQ(finish(), closing);
  EXPECT_TRUE(response_access::closes(r));
}

TEST_F(response_test, a_body_too_large_to_collect_is_streamed) {
  begin();
  const std::string block(40 << 10, 'b');
  r.write(block).write(block);
  const std::string wire = finish();
  EXPECT_TRUE(wire.starts_with("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14000\r\n"));
  EXPECT_TRUE(wire.ends_with("b\r\n0\r\n\r\n"));
  EXPECT_EQ(sink.sends, 1);
}

TEST_F(response_test, a_head_answer_stays_without_body_when_streamed) {
  begin("HEAD");
  r.write(std::string(100 << 10, 'b'));
  ASSERT_TRUE(r.flush().has_value());
  EXPECT_EQ(finish(), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
}

TEST_F(response_test, fields_that_would_split_the_answer_are_misuse) {
  begin();
  EXPECT_THROW(r.set_header("X", "a\r\nY: b"), weft::logic_error);
  EXPECT_THROW(r.set_header("X", std::string_view("a\0b", 3)), weft::logic_error);
  EXPECT_THROW(r.set_header("X:", "a"), weft::logic_error);
  EXPECT_THROW(r.set_header("", "a"), weft::logic_error);
  EXPECT_THROW(r.set_header("Transfer-Encoding", "chunked"), weft::logic_error);
  EXPECT_THROW(r.set_header("Content-Length", "5, 5"), weft::logic_error);
  EXPECT_THROW(r.status(100), weft::logic_error);
  EXPECT_THROW(r.status(600), weft::logic_error);
}

TEST_F(response_test, the_head_cannot_change_once_sent) {
  begin();
  ASSERT_TRUE(r.flush().has_value());
  EXPECT_THROW(r.status(404), weft::logic_error);
  EXPECT_THROW(r.set_header("X", "a"), weft::logic_error);
}

TEST_F(response_test, a_dead_connection_swallows_the_rest) {
  begin();
  sink.broken = true;
  EXPECT_FALSE(r.flush().has_value());
  EXPECT_TRUE(r.failed());
  r.write(std::string(200 << 10, 'x'));
  response_access::finish(r);
  EXPECT_TRUE(response_access::closes(r));
  EXPECT_EQ(sink.sent, "");
}

TEST_F(response_test, an_error_answer_replaces_what_the_handler_wrote) {
  begin();
  r.set_header("X", "a").write("half");
  response_access::restart(r);
  r.text(500, "sorry").close();
  EXPECT_EQ(finish(),
            "HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain; "
            "charset=utf-8\r\nContent-Length: 5\r\nConnection: close\r\n\r\nsorry");
}

TEST_F(response_test, each_answer_starts_afresh) {
  begin();
  r.status(404).set_header("X", "a").write("x").close();
  (void)finish();
  sink.pending().clear();
  begin();
  EXPECT_EQ(finish(), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

TEST(date_cache, names_the_second_as_http_wants_it) {
  weft::http::detail::date_cache dates;
  EXPECT_EQ(dates.at(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(dates.at(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(dates.at(784111778), "Sun, 06 Nov 1994 08:49:38 GMT");
  EXPECT_EQ(dates.at(951782400), "Tue, 29 Feb 2000 00:00:00 GMT");
}

}  // namespace
