// SPDX-License-Identifier: Apache-2.0
// <weft/weft.hpp> alone is all of weft: the HTTP server with everything its handlers use is in it.
#include <weft/weft.hpp>

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

namespace {

// Setters may be chained, and may not be.
void answer(const weft::http::request& q, weft::http::response& r) {
  r.status(200).set_header("X-Path", q.path()).write("all of ").write("it");
  r.close();
}

static_assert(
    std::is_invocable_v<weft::http::handler&, const weft::http::request&, weft::http::response&>);
static_assert(std::is_convertible_v<weft::http::mux, weft::http::handler>);

TEST(Umbrella, HasTheHttpServer) {
  weft::run([] {
    weft::http::mux routes;
    routes.handle("GET /", answer);
    auto listener = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(listener);
    const weft::net::address where = listener->addr();
    weft::http::server server({.handler = routes, .grace = {}});
    auto serving = weft::async([&] { return server.serve(std::move(*listener)); });
    auto client = weft::net::dial("tcp", where.to_string());
    ASSERT_TRUE(client);
    client->set_deadline(weft::clock::now() + std::chrono::seconds(30));
    EXPECT_TRUE(client->write_all("GET / HTTP/1.1\r\nHost: here\r\n\r\n"));
    std::string got;
    std::array<std::byte, 512> buffer;
    for (;;) {
      const auto n = client->read(buffer);
      if (!n || *n == 0) break;
      got.append(reinterpret_cast<const char*>(buffer.data()), *n);
    }
    EXPECT_NE(got.find("X-Path: /"), std::string::npos) << got;
    EXPECT_NE(got.find("all of it"), std::string::npos) << got;
    client->close();
    EXPECT_TRUE(server.shutdown(weft::background()));
    EXPECT_TRUE(serving.get());
  });
}

}  // namespace
