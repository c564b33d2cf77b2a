// SPDX-License-Identifier: Apache-2.0
// The echo server on weft, see weft_server.hpp.
#include "echo/weft_server.hpp"

#include <array>
#include <cstddef>
#include <span>
#include <utility>

namespace bench {

namespace {

void serve(const weft::net::conn& conn) {
  std::array<std::byte, 4096> buffer;
  for (;;) {
    const auto got = conn.read(buffer);
    if (!got || *got == 0) return;
    if (!conn.write_all(std::span<const std::byte>(buffer).first(*got))) return;
  }
}

}  // namespace

void serve_echo(const weft::net::listener& listener) {
  weft::wait_group wg;
  for (;;) {
    auto conn = listener.accept();
    if (!conn) break;
    wg.go([conn = std::move(*conn)] { serve(conn); });
  }
  wg.wait();
}

}  // namespace bench
