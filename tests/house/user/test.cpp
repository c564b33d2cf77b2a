// SPDX-License-Identifier: Apache-2.0
// A user's own test, linked with weft::testing.
#include <gtest/gtest.h>

#include <weft/weft.hpp>

TEST(User, RunsFibersInTheirTests) {
  const int got = weft::run([] {
    auto c = weft::make_chan<int>();
    weft::go([=] { c.send(42); });
    return c.recv().value_or(0);
  });
  EXPECT_EQ(got, 42);
}
