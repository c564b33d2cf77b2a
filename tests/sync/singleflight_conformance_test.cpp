// SPDX-License-Identifier: Apache-2.0
// What the tests of golang.org/x/sync/singleflight check and singleflight_test.cpp does not. Each
// test names the one whose idea it is. (DoChan is async here.)
#include <weft/singleflight.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <weft/chan.hpp>
#include <weft/fiber.hpp>
#include <weft/latch.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;

class SingleFlightConformance : public both_worlds {};
WEFT_BOTH_WORLDS(SingleFlightConformance);

// Go: x/sync/singleflight TestPanicDoChan, TestPanicDoSharedByDoChan: what a call throws comes out
// of a future, too, whichever of the two began the call.
TEST_P(SingleFlightConformance, AnExceptionReachesCallersAndFuturesAlike) {
  run([] {
    for (const bool future_begins : {false, true}) {
      weft::singleflight<int, int> f;
      auto open = weft::make_chan<weft::unit>();
      std::atomic<int> caught{0};
      weft::latch looked(2);  // both hold it before one lets go: see singleflight_test.cpp
      const auto throws = [open]() -> int {
        (void)open.recv();
        throw std::runtime_error("from the call");
      };
      const auto expect_throw = [&](auto call) {
        try {
          (void)call();
          ADD_FAILURE() << "nothing was thrown";
        } catch (const std::runtime_error&) {
          ++caught;
          looked.arrive_and_wait();
        }
      };
      const auto do_it = [&f, throws] { return f.do_(1, throws).first; };
      crew callers(in_fibers());
      weft::future<int> later;
      for (const bool turn : {true, false}) {
        if (turn == future_begins) {
          later = weft::async(do_it);
        } else {
          callers.start([&] { expect_throw(do_it); });
        }
        yield_until([&] { return f.callers(1) == (turn ? 1U : 2U); });
      }
      open.send({});
      expect_throw([&] { return later.get(); });
      callers.join();
      EXPECT_EQ(caught, 2);
      EXPECT_EQ(f.callers(1), 0U);
      EXPECT_EQ(f.do_(1, [] { return 7; }).first, 7);
    }
  });
}

}  // namespace
