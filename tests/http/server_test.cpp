// SPDX-License-Identifier: Apache-2.0
// The server as a client on a socket sees it: answers, limits, errors, timeouts. Every test ends
// with the accounts being what they were.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include <weft/weft.hpp>

#include "tests/http/accounts.hpp"
#include "tests/http/server_helper.hpp"
#include "tests/http/smuggling_corpus.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::answer;
using weft_test::get_root;
using weft_test::quick_options;
using weft_test::raw_client;
using weft_test::test_server;

/// Runs `body(port)` against a server, and compares the accounts.
template <class F>
void with_server(weft::http::server_options options, F body) {
  weft::run([&] {
    const weft_test::accounts_guard same;
    test_server s(std::move(options));
    body(s);
  });
}

std::string post(std::string_view body, std::string_view more_fields = "") {
  return "POST /echo HTTP/1.1\r\nHost: a\r\n" + std::string(more_fields) +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

TEST(server, answers_and_keeps_the_connection) {
  with_server(quick_options(), [](test_server& s) {
    raw_client c(s.port());
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(c.send(get_root));
      const auto a = c.receive();
      ASSERT_TRUE(a.has_value());
      EXPECT_EQ(a->status, 200);
      EXPECT_EQ(a->body, "hello");
      EXPECT_FALSE(a->says_close());
      EXPECT_TRUE(a->field("Date").has_value());
    }
    EXPECT_EQ(s.server().stats().requests, 3U);
    EXPECT_EQ(s.server().stats().accepted, 1U);
  });
}

TEST(server, closes_when_the_client_asks) {
  with_server(quick_options(), [](test_server& s) {
    raw_client c(s.port());
    ASSERT_TRUE(c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    const auto a = c.receive();
    ASSERT_TRUE(a.has_value());
    EXPECT_TRUE(a->says_close());
    EXPECT_TRUE(c.at_end());
  });
}

TEST(server, http_1_0_closes_unless_told_otherwise) {
  with_server(quick_options(), [](test_server& s) {
    raw_client plain(s.port());
    ASSERT_TRUE(plain.send("GET / HTTP/1.0\r\n\r\n"));
    ASSERT_TRUE(plain.receive().has_value());
    EXPECT_TRUE(plain.at_end());
    raw_client kept(s.port());
    for (int i = 0; i < 2; ++i) {
      ASSERT_TRUE(kept.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
      const auto a = kept.receive();
      ASSERT_TRUE(a.has_value());
      EXPECT_EQ(a->field("Connection"), "keep-alive");
    }
  });
}

TEST(server, answers_sixteen_pipelined_requests_in_order) {
  with_server(quick_options(), [](test_server& s) {
    raw_client c(s.port());
    std::string all;
    for (int i = 0; i < 16; ++i) {
      all += i % 2 == 0 ? post("body " + std::to_string(i))
                        : "GET /target?" + std::to_string(i) + " HTTP/1.1\r\nHost: a\r\n\r\n";
    }
    ASSERT_TRUE(c.send(all));
    for (int i = 0; i < 16; ++i) {
      const auto a = c.receive();
      ASSERT_TRUE(a.has_value()) << i;
      EXPECT_EQ(a->body, (i % 2 == 0 ? "body " : "/target?") + std::to_string(i));
    }
  });
}

TEST(server, a_client_that_sends_one_byte_at_a_time_is_answered) {
  with_server(quick_options(), [](test_server& s) {
    raw_client c(s.port());
    const std::string chunked =
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    for (const std::string& request : {get_root, post("hello"), chunked}) {
      for (const char byte : request) {
        ASSERT_TRUE(c.send({&byte, 1}));
        weft::yield();
      }
    }
    EXPECT_EQ(c.receive()->body, "hello");
    EXPECT_EQ(c.receive()->body, "hello");
    EXPECT_EQ(c.receive()->body, "abcde");
  });
}

TEST(server, decodes_chunked_bodies_and_reads_on_after_them) {
  with_server(quick_options(), [](test_server& s) {
    raw_client c(s.port());
    std::string body;
    std::string coded = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (int i = 1; i < 200; ++i) {
      const std::string piece(static_cast<std::size_t>(i), static_cast<char>('a' + i % 26));
      char size[8];
      std::snprintf(size, sizeof size, "%x\r\n", i);
      coded += size + piece + "\r\n";
      body += piece;
    }
    ASSERT_TRUE(c.send(coded + "0\r\nX-Trailer: 1\r\n\r\n" + get_root));
    const auto a = c.receive();
    ASSERT_TRUE(a.has_value());
    EXPECT_EQ(a->body, body);
    EXPECT_EQ(c.receive()->body, "hello");
  });
}

TEST(server, large_bodies_pass_both_ways) {
  with_server(quick_options(), [](test_server& s) {
    raw_client c(s.port());
    const std::string body(1 << 20, 'x');
    ASSERT_TRUE(c.send("POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: " +
                       std::to_string(body.size()) + "\r\n\r\n" + body));
    const std::string all = c.receive_all();
    EXPECT_NE(all.find("Transfer-Encoding: chunked\r\n"), std::string::npos);
    EXPECT_NE(all.find("\r\n100000\r\n" + body + "\r\n0\r\n\r\n"), std::string::npos);
  });
}

TEST(server, answers_larger_than_the_buffer_are_streamed) {
  with_server(quick_options(), [](test_server& s) {
    raw_client c(s.port());
    ASSERT_TRUE(c.send("GET /medium HTTP/1.1\r\nHost: a\r\n\r\n"));
    EXPECT_EQ(c.receive()->body, std::string(40'000, 'm'));
    ASSERT_TRUE(c.send("GET /large HTTP/1.0\r\n\r\n"));
    bool clean = false;
    const std::string all = c.receive_all(&clean);
    EXPECT_TRUE(clean);
    EXPECT_EQ(all.size() - (all.find("\r\n\r\n") + 4), std::size_t{256} * 4096);
  });
}

TEST(server, head_gets_the_length_and_no_body) {
  with_server(quick_options(), [](test_server& s) {
    raw_client c(s.port());
    ASSERT_TRUE(c.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + get_root));
    const auto a = c.receive(true);
    ASSERT_TRUE(a.has_value());
    EXPECT_EQ(a->field("Content-Length"), "5");
    EXPECT_EQ(c.receive()->body, "hello");
  });
}

TEST(server, streams_in_chunks) {
  with_server(quick_options(), [](test_server& s) {
    raw_client c(s.port());
    ASSERT_TRUE(c.send("GET /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    EXPECT_TRUE(
        c.receive_all().ends_with("\r\n\r\n4\r\npart\r\n4\r\npart\r\n4\r\npart\r\n0\r\n\r\n"));
  });
}

TEST(server, invites_a_body_that_waits_for_100_continue) {
  with_server(quick_options(), [](test_server& s) {
    raw_client c(s.port());
    ASSERT_TRUE(
        c.send("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
               "Content-Length: 4\r\n\r\n"));
    const auto invitation = c.receive();
    ASSERT_TRUE(invitation.has_value());
    EXPECT_EQ(invitation->status, 100);
    ASSERT_TRUE(c.send("body"));
    EXPECT_EQ(c.receive()->body, "body");
  });
}

TEST(server, does_not_invite_a_body_that_it_will_refuse) {
  with_server(quick_options(), [](test_server& s) {
    raw_client c(s.port());
    ASSERT_TRUE(
        c.send("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
               "Content-Length: 9999999\r\n\r\n"));
    EXPECT_EQ(c.receive()->status, 413);
    EXPECT_TRUE(c.at_end());
  });
}

TEST(server, smuggled_and_malformed_requests_get_their_status_and_the_end) {
  with_server(quick_options(), [](test_server& s) {
    for (const auto& bad : weft_test::smuggling_corpus()) {
      raw_client c(s.port());
      ASSERT_TRUE(c.send(bad.bytes)) << bad.name;
      const auto a = c.receive();
      ASSERT_TRUE(a.has_value()) << bad.name;
      EXPECT_EQ(a->status, bad.status) << bad.name;
      EXPECT_TRUE(a->says_close()) << bad.name;
      EXPECT_TRUE(c.at_end()) << bad.name << ": something follows the refusal";
    }
    EXPECT_EQ(s.server().stats().requests, 0U);
    EXPECT_EQ(s.server().stats().refused, weft_test::smuggling_corpus().size());
  });
}

TEST(server, a_good_request_before_a_bad_one_is_answered) {
  with_server(quick_options(), [](test_server& s) {
    raw_client c(s.port());
    ASSERT_TRUE(c.send(get_root + "BAD\r\n\r\n" + get_root));
    EXPECT_EQ(c.receive()->body, "hello");
    EXPECT_EQ(c.receive()->status, 400);
    EXPECT_TRUE(c.at_end());
  });
}

TEST(server, a_refusal_reaches_a_client_that_goes_on_sending) {
  auto options = quick_options();
  options.drain_timeout = 5s;
  with_server(std::move(options), [](test_server& s) {
    raw_client c(s.port());
    ASSERT_TRUE(c.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n"));
    for (int i = 0; i < 40; ++i) (void)c.send(std::string(100'000, 'x'));
    ASSERT_TRUE(c.end_of_sending());
    const auto a = c.receive();
    ASSERT_TRUE(a.has_value()) << "the refusal was lost to a reset";
    EXPECT_EQ(a->status, 413);
    EXPECT_TRUE(c.at_end());
  });
}

TEST(server, limits_answer_with_their_status) {
  auto options = quick_options();
  options.max_line_bytes = 200;
  options.max_header_bytes = 400;
  options.max_fields = 4;
  options.max_body_bytes = 10;
  with_server(std::move(options), [](test_server& s) {
    const auto status_of = [&](const std::string& bytes) {
      raw_client c(s.port());
      EXPECT_TRUE(c.send(bytes));
      const auto a = c.receive();
      return a ? a->status : 0;
    };
    const std::string start = "GET / HTTP/1.1\r\nHost: a\r\n";
    EXPECT_EQ(status_of("GET /" + std::string(200, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n"), 414);
    EXPECT_EQ(status_of(start + "X: " + std::string(200, 'a') + "\r\n\r\n"), 431);
    EXPECT_EQ(status_of(start + "X: " + std::string(180, 'a') + "\r\nY: " + std::string(180, 'a') +
                        "\r\nZ: " + std::string(180, 'a') + "\r\n\r\n"),
              431);
    EXPECT_EQ(status_of(start + "A: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\n\r\n"), 431);
    EXPECT_EQ(status_of(start + "A: 1\r\nB: 1\r\nC: 1\r\n\r\n"), 200);
    EXPECT_EQ(status_of(post("12345678901")), 413);
    EXPECT_EQ(status_of(post("1234567890")), 200);
    EXPECT_EQ(status_of("GET /none HTTP/1.1\r\nHost: a\r\n\r\n"), 404);
    EXPECT_EQ(status_of("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n"), 405);
  });
}

TEST(server, slow_heads_and_slow_bodies_get_408) {
  auto options = quick_options();
  options.header_timeout = 50ms;
  options.body_timeout = 50ms;
  with_server(std::move(options), [](test_server& s) {
    for (const std::string& begun : {std::string("G"), std::string("GET / HTTP/1.1\r\nHost"),
                                     std::string("POST /echo HTTP/1.1\r\nHost: a\r\n"
                                                 "Content-Length: 5\r\n\r\nab")}) {
      raw_client c(s.port());
      ASSERT_TRUE(c.send(begun));
      const auto a = c.receive();
      ASSERT_TRUE(a.has_value());
      EXPECT_EQ(a->status, 408);
      EXPECT_TRUE(a->says_close());
      EXPECT_TRUE(c.at_end());
    }
  });
}

TEST(server, dripping_bytes_do_not_extend_the_header_timeout) {
  auto options = quick_options();
  options.header_timeout = 100ms;
  with_server(std::move(options), [](test_server& s) {
    raw_client c(s.port());
    const auto begun = weft::clock::now();
    while (weft::clock::now() - begun < 150ms) {
      if (!c.send("X")) break;
      weft::sleep_for(10ms);
    }
    const auto a = c.receive();
    ASSERT_TRUE(a.has_value());
    EXPECT_EQ(a->status, 408);
  });
}

TEST(server, idle_connections_are_closed_without_a_word) {
  auto options = quick_options();
  options.idle_timeout = 50ms;
  with_server(std::move(options), [](test_server& s) {
    raw_client fresh(s.port());
    std::optional<raw_client> used;
    for (;;) {
      const auto begun = weft::clock::now();
      used.emplace(s.port());
      if (used->send(get_root) && used->receive().has_value()) break;
      ASSERT_GE(weft::clock::now() - begun, 50ms) << "closed before its time";
    }
    EXPECT_TRUE(fresh.at_end());
    EXPECT_TRUE(used->at_end());
  });
}

TEST(server, a_long_idle_connection_still_serves) {
  with_server(quick_options(), [](test_server& s) {
    raw_client c(s.port());
    ASSERT_TRUE(c.send(get_root));
    ASSERT_TRUE(c.receive().has_value());
    weft::sleep_for(2200ms);  // long enough for the connection to give its buffers back
    EXPECT_EQ(s.server().stats().idle, 1U);
    ASSERT_TRUE(c.send(get_root + post("again")));
    EXPECT_EQ(c.receive()->body, "hello");
    EXPECT_EQ(c.receive()->body, "again");
  });
}

TEST(server, an_exception_in_a_handler_is_500_and_the_end) {
  std::vector<std::string> lines;
  weft::set_log_sink([&](std::string_view line) {
    if (line.starts_with("weft: http:")) lines.emplace_back(line);
  });
  with_server(quick_options(), [](test_server& s) {
    raw_client c(s.port());
    ASSERT_TRUE(c.send("GET /throw HTTP/1.1\r\nHost: a\r\n\r\n"));
    const auto a = c.receive();
    ASSERT_TRUE(a.has_value());
    EXPECT_EQ(a->status, 500);
    EXPECT_TRUE(a->says_close());
    EXPECT_EQ(a->body.find("on purpose"), std::string::npos);
    EXPECT_TRUE(c.at_end());
    raw_client late(s.port());
    ASSERT_TRUE(late.send("GET /throw-late HTTP/1.1\r\nHost: a\r\n\r\n"));
    const std::string all = late.receive_all();
    EXPECT_NE(all.find("5\r\nbegun\r\n"), std::string::npos);
    EXPECT_EQ(all.find("0\r\n\r\n"), std::string::npos)
        << "an incomplete answer must not look whole";
  });
  weft::set_log_sink({});
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_NE(lines[0].find("on purpose"), std::string::npos);
}

TEST(server, half_closed_clients_get_their_answers) {
  with_server(quick_options(), [](test_server& s) {
    raw_client c(s.port());
    ASSERT_TRUE(c.send(get_root + get_root));
    ASSERT_TRUE(c.end_of_sending());
    EXPECT_EQ(c.receive()->body, "hello");
    EXPECT_EQ(c.receive()->body, "hello");
    EXPECT_TRUE(c.at_end());
    raw_client half(s.port());
    ASSERT_TRUE(half.send("GET / HTTP/1.1\r\nHo"));
    ASSERT_TRUE(half.end_of_sending());
    EXPECT_EQ(half.receive()->status, 400);
  });
}

TEST(server, clients_that_vanish_leave_nothing) {
  with_server(quick_options(), [](test_server& s) {
    for (const std::string& begun :
         {std::string(), std::string("GET / HT"), get_root, get_root + get_root,
          std::string("GET /large HTTP/1.1\r\nHost: a\r\n\r\n"),
          std::string("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nabc")}) {
      for (int i = 0; i < 10; ++i) {
        raw_client c(s.port());
        ASSERT_TRUE(begun.empty() || c.send(begun));
        c.close();
      }
    }
    raw_client last(s.port());
    ASSERT_TRUE(last.send(get_root));
    EXPECT_EQ(last.receive()->body, "hello");
  });
}

TEST(server, the_number_of_connections_can_be_limited) {
  auto options = quick_options();
  options.max_connections = 2;
  with_server(std::move(options), [](test_server& s) {
    raw_client a(s.port());
    raw_client b(s.port());
    for (raw_client* c : {&a, &b}) {
      ASSERT_TRUE(c->send(get_root));
      ASSERT_TRUE(c->receive().has_value());
    }
    raw_client third(s.port());  // completed by the kernel, not yet accepted
    ASSERT_TRUE(third.send(get_root));
    EXPECT_EQ(s.server().stats().accepted, 2U);
    a.close();
    EXPECT_EQ(third.receive()->body, "hello");
    EXPECT_EQ(s.server().stats().accepted, 3U);
  });
}

TEST(server, many_connections_at_once) {
  with_server(quick_options(), [](test_server& s) {
    weft::wait_group clients;
    std::atomic<int> good{0};
    for (int i = 0; i < 100; ++i) {
      clients.go([&, i] {
        raw_client c(s.port());
        for (int k = 0; k < 20; ++k) {
          const std::string body = std::to_string(i) + ":" + std::to_string(k);
          if (!c.send(post(body))) return;
          const auto a = c.receive();
          if (a && a->body == body) good.fetch_add(1);
        }
      });
    }
    clients.wait();
    EXPECT_EQ(good.load(), 2000);
  });
}

TEST(server, without_a_handler_is_misuse) {
  EXPECT_THROW(weft::http::server({}), weft::logic_error);
}

}  // namespace
