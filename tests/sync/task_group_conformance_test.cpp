// SPDX-License-Identifier: Apache-2.0
// What the tests of golang.org/x/sync/errgroup check and group_test.cpp does not. Each test names
// the one whose idea it is.
#include <weft/task_group.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <system_error>
#include <vector>
#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/fiber.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::background;
using weft::errc;

class TaskGroupConformance : public both_worlds {};
WEFT_BOTH_WORLDS(TaskGroupConformance);

const std::error_code fine;
const auto broken = std::make_error_code(std::errc::io_error);
const auto worse = std::make_error_code(std::errc::broken_pipe);

const std::vector<std::vector<std::error_code>> outcomes{
    {},
    {fine},
    {broken},
    {fine, broken},
    {broken, fine},
    {broken, fine, worse},
    {fine, worse, fine, broken, fine},
};

/// A group whose tasks end one after the other, with a wait after each.
template <class Group>
void expect_first_error_after_each_wait(const std::vector<std::error_code>& ends) {
  Group g;
  std::error_code first;
  EXPECT_FALSE(g.wait());
  for (const std::error_code end : ends) {
    g.go([end] { return end; });
    if (!first) first = end;
    EXPECT_EQ(g.wait(), first);
  }
  EXPECT_EQ(g.wait(), first);
}

// Go: x/sync/errgroup TestZeroGroup: each of several waits tells the first error there has been.
TEST_P(TaskGroupConformance, EachOfSeveralWaitsTellsTheFirstError) {
  run([] {
    for (const auto& ends : outcomes) {
      expect_first_error_after_each_wait<weft::task_group>(ends);
      expect_first_error_after_each_wait<weft::supervisor>(ends);
    }
  });
}

// Go: x/sync/errgroup TestWithContext: after the wait the context is done in any case, by the first
// error if there was one.
TEST_P(TaskGroupConformance, AfterTheWaitTheContextIsDoneWhateverCameOfIt) {
  run([] {
    auto [parent, cancel] = weft::with_cancel(background());
    for (const auto& ends : outcomes) {
      weft::task_group g{parent};
      g.set_limit(1);  // so that it is known which is the first
      std::error_code first;
      for (const std::error_code end : ends) {
        g.go([end] { return end; });
        if (!first) first = end;
      }
      const weft::context ctx = g.context();
      EXPECT_EQ(g.wait(), first);
      EXPECT_EQ(ctx.err(), errc::canceled);
      EXPECT_EQ(ctx.cause(), first ? first : ctx.err());
      EXPECT_FALSE(parent.err());
    }
  });
}

// Go: x/sync/errgroup TestTryGo: refused while the group is full, taken again when one has left.
TEST_P(TaskGroupConformance, AFullGroupRefusesUntilOneHasLeft) {
  run([] {
    constexpr int n = 20;
    auto hold = weft::make_chan<weft::unit>();
    std::atomic<int> ran{0};
    const auto held = [&ran, hold] {
      (void)hold.recv();
      ++ran;
    };
    weft::task_group g;
    g.set_limit(n);
    for (int i = 0; i < n; ++i) EXPECT_TRUE(g.try_go(held));
    EXPECT_FALSE(g.try_go([] { FAIL(); }));
    hold.send({});
    yield_until([&] { return g.try_go(held); });
    EXPECT_FALSE(g.try_go([] { FAIL(); }));
    crew other(in_fibers());
    other.start([&] { g.go(held); });  // waits for room
    hold.close();
    other.join();
    EXPECT_FALSE(g.wait());
    EXPECT_EQ(ran, n + 2);

    weft::task_group unlimited;
    for (int i = 0; i < 10 * n; ++i) EXPECT_TRUE(unlimited.try_go([&] { ++ran; }));
    EXPECT_FALSE(unlimited.wait());
    EXPECT_EQ(ran, 11 * n + 2);
  });
}

}  // namespace
