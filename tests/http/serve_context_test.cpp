// SPDX-License-Identifier: Apache-2.0
// serve() with a context: it ends the accepting on one listener and nothing else.
#include <gtest/gtest.h>

#include <optional>
#include <utility>

#include <weft/weft.hpp>

#include "tests/chan/support.hpp"
#include "tests/http/server_helper.hpp"

namespace {

using namespace weft_test;
using weft::background;

class ServeContext : public both_worlds {};
WEFT_BOTH_WORLDS(ServeContext);

/// One request and its answer.
void expect_hello(raw_client& c) {
  EXPECT_TRUE(c.send(get_root));
  const auto a = c.receive();
  ASSERT_TRUE(a.has_value());
  EXPECT_EQ(a->body, "hello");
}

TEST_P(ServeContext, ItsEndLeavesTheListenerAndTheConnections) {
  run([] {
    weft::http::server s(quick_options());
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    const auto port = ln->addr().port();
    auto [ctx, cancel] = weft::with_cancel(background());
    crew serving(in_fibers());
    serving.start([&, &until = ctx] {
      EXPECT_EQ(s.serve(until, std::move(*ln)).error(), weft::errc::canceled);
    });
    raw_client before(port);
    expect_hello(before);
    cancel();
    serving.join();
    EXPECT_TRUE(ln->is_open());
    expect_hello(before);
    raw_client queued(port);  // nobody accepts: it waits in the kernel's queue
    EXPECT_TRUE(queued.connected());
    EXPECT_TRUE(queued.send(get_root));
    serving.start([&] { EXPECT_TRUE(s.serve(background(), std::move(*ln))); });
    const auto a = queued.receive();
    EXPECT_TRUE(a.has_value() && a->body == "hello");
    EXPECT_EQ(s.stats().accepted, 2U);
    before.close();
    queued.close();
    EXPECT_TRUE(s.shutdown(background()));
    serving.join();
    EXPECT_FALSE(ln->is_open()) << "a shutdown closes it";
    EXPECT_FALSE(raw_client(port).connected());
  });
}

TEST_P(ServeContext, ADoneContextTakesNothing) {
  run([] {
    weft::http::server s(quick_options());
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    auto [ctx, cancel] = weft::with_cancel(background());
    cancel();
    EXPECT_EQ(s.serve(ctx, std::move(*ln)).error(), weft::errc::canceled);
    EXPECT_TRUE(s.shutdown(background()));
    EXPECT_EQ(s.serve(ctx, std::move(*ln)).error(), weft::errc::canceled);
    EXPECT_TRUE(ln->is_open());
    EXPECT_EQ(s.serve(background(), std::move(*ln)).error(), weft::errc::closed);
    EXPECT_FALSE(ln->is_open());
  });
}

TEST_P(ServeContext, ADeadlineEndsIt) {
  run([] {
    weft::http::server s(quick_options());
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    auto [ctx, cancel] = weft::with_timeout(background(), 5ms);
    EXPECT_EQ(s.serve(ctx, std::move(*ln)).error(), weft::errc::deadline_exceeded);
    EXPECT_TRUE(ln->is_open());
  });
}

// A serve that waits for the number of connections to fall gives up without taking a place.
TEST_P(ServeContext, ItsEndWhileTheServerIsFullTakesNoPlace) {
  run([] {
    auto options = quick_options();
    options.max_connections = 1;
    weft::http::server s(std::move(options));
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    const auto port = ln->addr().port();
    crew serving(in_fibers());
    auto [ctx, cancel] = weft::with_cancel(background());
    serving.start([&, &until = ctx] {
      EXPECT_EQ(s.serve(until, std::move(*ln)).error(), weft::errc::canceled);
    });
    raw_client first(port);
    expect_hello(first);
    raw_client second(port);
    EXPECT_TRUE(second.send(get_root));
    cancel();
    serving.join();
    EXPECT_EQ(s.stats().accepted, 1U);
    serving.start([&] { EXPECT_TRUE(s.serve(background(), std::move(*ln))); });
    first.close();
    const auto a = second.receive();
    EXPECT_TRUE(a.has_value() && a->body == "hello");
    second.close();
    EXPECT_TRUE(s.shutdown(background()));
    serving.join();
  });
}

TEST_P(ServeContext, TheServerMayGoAtOnce) {
  run([] {
    std::optional<weft::http::server> s(std::in_place, quick_options());
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    auto [ctx, cancel] = weft::with_cancel(background());
    crew serving(in_fibers());
    serving.start([&, &until = ctx] {
      EXPECT_EQ(s->serve(until, std::move(*ln)).error(), weft::errc::canceled);
    });
    raw_client c(ln->addr().port());
    expect_hello(c);
    cancel();
    serving.join();
    s.reset();
    EXPECT_TRUE(c.at_end());
  });
}

// Whenever it ends, a client is accepted by this serve or left to the next.
TEST_P(ServeContext, AnEndThatRacesAClientLosesNoneStress) {
  run([] {
    weft::http::server s(quick_options());
    auto ln = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(ln);
    const auto port = ln->addr().port();
    const auto serve_until = [&](const weft::context& ctx) {
      EXPECT_EQ(s.serve(ctx, std::move(*ln)).error(), weft::errc::canceled);
    };
    for (int i = 0; i < scaled(200); ++i) {
      auto [ctx, cancel] = weft::with_cancel(background());
      auto [next, cancel_next] = weft::with_cancel(background());
      crew serving(in_fibers());
      crew other(in_fibers());
      serving.start([&, &until = ctx] { serve_until(until); });
      other.start([&stop = cancel] { stop(); });
      raw_client c(port);
      EXPECT_TRUE(c.send(get_root));
      other.join();
      serving.join();
      serving.start([&, &later = next] { serve_until(later); });
      const auto a = c.receive();
      EXPECT_TRUE(a.has_value() && a->body == "hello");
      cancel_next();
      serving.join();
    }
    EXPECT_TRUE(ln->is_open());
  });
}

}  // namespace
