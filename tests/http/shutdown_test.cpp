// SPDX-License-Identifier: Apache-2.0
// Graceful shutdown: nothing that had begun is dropped, nothing that is idle is kept.
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <string>

#include <weft/weft.hpp>

#include "tests/http/accounts.hpp"
#include "tests/http/server_helper.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::get_root;
using weft_test::quick_options;
using weft_test::raw_client;
using weft_test::test_server;

// For tests that do something within the grace, however slow the machine is.
constexpr auto long_grace = 4s;

template <class F>
void with_server(weft::http::server_options options, F body) {
  weft::run([&] {
    const weft_test::accounts_guard same;
    test_server s(std::move(options));
    body(s);
  });
}

/// Returns once the server has been told to end: then it says "Connection: close".
void wait_for_grace(test_server& s) {
  for (;;) {
    raw_client probe(s.port());
    ASSERT_TRUE(probe.send(get_root));
    const auto a = probe.receive();
    ASSERT_TRUE(a.has_value());
    if (a->says_close()) return;
  }
}

TEST(shutdown, closes_idle_connections_and_returns) {
  with_server(quick_options(), [](test_server& s) {
    raw_client fresh(s.port());
    raw_client used(s.port());
    ASSERT_TRUE(used.send(get_root));
    ASSERT_TRUE(used.receive().has_value());
    auto stopping = weft::spawn([&] { EXPECT_TRUE(s.stop(30s).has_value()); });
    EXPECT_TRUE(fresh.at_end());
    EXPECT_TRUE(used.at_end());
    fresh.close();
    used.close();
    stopping.join();
    EXPECT_EQ(s.server().stats().connections(), 0U);
    EXPECT_FALSE(raw_client(s.port()).connected());
  });
}

TEST(shutdown, in_grace_idle_and_new_connections_are_answered_with_close) {
  auto options = quick_options();
  options.grace = long_grace;
  with_server(std::move(options), [](test_server& s) {
    raw_client idle(s.port());
    ASSERT_TRUE(idle.send(get_root));
    ASSERT_FALSE(idle.receive()->says_close());
    auto stopping = weft::spawn([&] { EXPECT_TRUE(s.stop(30s).has_value()); });
    wait_for_grace(s);
    ASSERT_TRUE(idle.send(get_root));
    const auto a = idle.receive();
    ASSERT_TRUE(a.has_value());
    EXPECT_EQ(a->body, "hello");
    EXPECT_TRUE(a->says_close());
    EXPECT_TRUE(idle.at_end());
    idle.close();
    raw_client late(s.port());
    ASSERT_TRUE(late.send(get_root));
    const auto b = late.receive();
    ASSERT_TRUE(b.has_value());
    EXPECT_TRUE(b->says_close());
    late.close();
    stopping.join();
  });
}

TEST(shutdown, pipelined_requests_are_all_answered_and_the_last_says_close) {
  auto options = quick_options();
  options.grace = long_grace;
  with_server(std::move(options), [](test_server& s) {
    raw_client c(s.port());
    auto stopping = weft::spawn([&] { EXPECT_TRUE(s.stop(30s).has_value()); });
    wait_for_grace(s);
    std::string all;
    for (int i = 0; i < 16; ++i) all += get_root;
    ASSERT_TRUE(c.send(all));
    for (int i = 0; i < 16; ++i) {
      const auto a = c.receive();
      ASSERT_TRUE(a.has_value()) << i;
      EXPECT_EQ(a->says_close(), i == 15) << i;
    }
    EXPECT_TRUE(c.at_end());
    c.close();
    stopping.join();
  });
}

TEST(shutdown, a_request_that_has_begun_is_finished_after_the_grace) {
  with_server(quick_options(), [](test_server& s) {
    raw_client slow(s.port());
    ASSERT_TRUE(slow.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nfir"));
    while (s.server().stats().reading == 0) weft::sleep_for(1ms);
    auto stopping = weft::spawn([&] { EXPECT_TRUE(s.stop(30s).has_value()); });
    while (raw_client(s.port()).connected()) weft::sleep_for(1ms);  // the door is shut
    weft::sleep_for(100ms);  // whoever was to be woken by that has been, or the test is less sharp
    ASSERT_TRUE(slow.send("st!"));
    const auto a = slow.receive();
    ASSERT_TRUE(a.has_value());
    EXPECT_EQ(a->body, "first!");
    EXPECT_TRUE(a->says_close());
    slow.close();
    stopping.join();
  });
}

TEST(shutdown, connections_in_the_accept_queue_with_a_request_are_served) {
  auto options = quick_options();
  options.max_connections = 1;
  with_server(std::move(options), [](test_server& s) {
    raw_client busy(s.port());
    ASSERT_TRUE(busy.send(get_root));
    ASSERT_TRUE(busy.receive().has_value());
    raw_client queued(s.port());  // the limit keeps it in the kernel's queue
    ASSERT_TRUE(queued.send(get_root));
    auto stopping = weft::spawn([&] { EXPECT_TRUE(s.stop(30s).has_value()); });
    const auto a = queued.receive();
    ASSERT_TRUE(a.has_value());
    EXPECT_EQ(a->body, "hello");
    EXPECT_TRUE(a->says_close());
    queued.close();
    busy.close();
    stopping.join();
  });
}

TEST(shutdown, a_connection_of_the_last_moment_may_still_send_its_request) {
  auto options = quick_options();
  options.grace = long_grace;
  with_server(std::move(options), [](test_server& s) {
    auto stopping = weft::spawn([&] { EXPECT_TRUE(s.stop(30s).has_value()); });
    wait_for_grace(s);
    // The last connection that gets in, whenever the door closes.
    std::optional<raw_client> last;
    for (;;) {
      raw_client c(s.port());
      if (!c.connected()) break;
      last.emplace(std::move(c));
      weft::sleep_for(20ms);
    }
    ASSERT_TRUE(last.has_value());
    ASSERT_TRUE(last->send(get_root));
    const auto a = last->receive();
    ASSERT_TRUE(a.has_value());
    EXPECT_EQ(a->body, "hello");
    EXPECT_TRUE(a->says_close());
    last->close();
    stopping.join();
  });
}

TEST(shutdown, drops_no_request_under_load) {
  static constexpr auto grace = 200ms;
  auto options = quick_options();
  options.grace = grace;
  with_server(std::move(options), [](test_server& s) {
    std::atomic<bool> told{false};
    std::atomic<int> answered{0};
    std::atomic<int> dropped{0};
    weft::clock::time_point begun;
    weft::wait_group clients;
    for (int i = 0; i < 64; ++i) {
      clients.go([&] {
        for (;;) {
          raw_client c(s.port());
          if (!c.connected()) return;
          for (;;) {
            // On loopback a request is in the server's socket once send() has returned. What came
            // there before the grace was over is owed an answer.
            const bool sent = c.send(get_root);
            const bool is_owed = !told.load() || weft::clock::now() < begun + grace;
            const auto a = sent ? c.receive() : std::nullopt;
            if (!a || a->body != "hello") {
              if (is_owed) dropped.fetch_add(1);
              break;
            }
            answered.fetch_add(1);
            if (a->says_close()) break;
          }
        }
      });
    }
    while (answered.load() < 2000) weft::sleep_for(1ms);
    begun = weft::clock::now();
    told.store(true);
    EXPECT_TRUE(s.stop(30s).has_value());
    clients.wait();
    EXPECT_EQ(dropped.load(), 0);
  });
}

TEST(shutdown, gives_up_when_its_context_ends_and_tells_the_handlers) {
  auto options = quick_options();
  weft::wait_group entered;
  entered.add(1);
  std::atomic<bool> told{false};
  options.handler = [&](const weft::http::request& q, weft::http::response&) {
    entered.done();
    (void)q.ctx().done().recv();
    told.store(true);
  };
  with_server(std::move(options), [&](test_server& s) {
    raw_client c(s.port());
    ASSERT_TRUE(c.send(get_root));
    entered.wait();
    const auto r = s.stop(50ms);
    ASSERT_FALSE(r.has_value());
    EXPECT_EQ(r.error(), weft::errc::deadline_exceeded);
    EXPECT_FALSE(c.receive().has_value());
  });
  EXPECT_TRUE(told.load());
}

TEST(shutdown, a_server_that_was_shut_down_serves_no_more) {
  weft::run([] {
    weft::http::server s(quick_options());
    ASSERT_TRUE(s.shutdown(weft::background()).has_value());
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln.has_value());
    const auto r = s.serve(std::move(*ln));
    ASSERT_FALSE(r.has_value());
    EXPECT_EQ(r.error(), weft::errc::closed);
  });
}

TEST(shutdown, dropping_a_serving_server_cuts_everything_off) {
  weft::run([] {
    const weft_test::accounts_guard same;
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln.has_value());
    const auto port = ln->addr().port();
    std::optional<weft::http::server> s(std::in_place, quick_options());
    auto serving = weft::spawn([&] { EXPECT_TRUE(s->serve(std::move(*ln)).has_value()); });
    raw_client c(port);
    ASSERT_TRUE(c.send(get_root));
    ASSERT_TRUE(c.receive().has_value());
    s.reset();
    serving.join();
    EXPECT_TRUE(c.at_end());
  });
}

}  // namespace
