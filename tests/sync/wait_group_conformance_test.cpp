// SPDX-License-Identifier: Apache-2.0
// What Go's tests of sync.WaitGroup check and group_test.cpp does not: a group that is used again.
#include <weft/wait_group.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <weft/context.hpp>
#include <weft/detail/config.hpp>
#include <weft/fiber.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::background;

class WaitGroupConformance : public both_worlds {};
WEFT_BOTH_WORLDS(WaitGroupConformance);

// Go: sync/TestWaitGroupMisuse3: used again as soon as the wait has returned, while those of the
// round before are on their way out.
TEST_P(WaitGroupConformance, IsUsedAgainAsSoonAsTheWaitHasReturnedStress) {
  run([] {
    const int rounds = scaled(in_fibers() ? 2000 : 60);
    weft::wait_group wg;
    crew crowd(in_fibers());
    for (int r = 0; r < rounds; ++r) {
      std::array<int, 3> written{};
      wg.add(3);
      for (int& w : written) {
        crowd.start([&] {
          w = 1;
          wg.done();  // the last it does with either
        });
      }
      wg.wait();
      ASSERT_EQ(written, (std::array{1, 1, 1})) << "round " << r;
    }
  });
}

// Go: sync/TestWaitGroupMisuse2: an Add close to the end of a wait. Here that wait has given up, so
// the Add is right, whether the last done() of before is over or still inside; and the next wait is
// for what was added.
TEST_P(WaitGroupConformance, AWaitThatGaveUpDoesNotCutTheNextOneShortStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 3000 : 300); ++i) {
      weft::wait_group wg;
      wg.add(1);
      {
        const weft::scoped_context brief(background(), 10us);
        EXPECT_FALSE(wg.wait(brief));
      }
      std::atomic<bool> started{false};
      std::atomic<bool> go_on{false};
      std::atomic<bool> added{false};
      std::atomic<bool> written{false};
      crew others(in_fibers());
      others.start([&] {
        started = true;
        for (int k = 0; k < 1000 && !go_on; ++k) weft::detail::cpu_relax();  // at once, if it can
        yield_until([&] { return go_on.load(); });
        wg.done();
      });
      others.start([&] {
        yield_until([&] { return added.load(); });
        for (int k = 0; k < 20; ++k) weft::yield();
        written = true;
        wg.done();
      });
      yield_until([&] { return started.load(); });
      go_on = true;
      for (int k = 0; k < i % 32; ++k) weft::detail::cpu_relax();
      wg.add(1);
      added = true;
      wg.wait();
      ASSERT_TRUE(written) << "round " << i;
    }
  });
}

}  // namespace
