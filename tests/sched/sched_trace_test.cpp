// SPDX-License-Identifier: Apache-2.0
// WEFT_DEBUG=schedtrace: lines in Go's words, also while everything is idle.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <string>

#include <weft/weft.hpp>
#include "tests/support/child.hpp"

namespace {

using namespace std::chrono_literals;

// What a child prints whose two fibers wait for 300 ms, with this WEFT_DEBUG.
std::string trace_of(const char* debug) {
  const auto r = weft_test::run_child([debug] {
    ::setenv("WEFT_DEBUG", debug, 1);
    weft::run(weft::options{.procs = 2}, [] {
      weft::go([] { weft::sleep_for(1h); });
      weft::sleep_for(300ms);
    });
  });
  EXPECT_EQ(r.code, 0) << r.error;
  return r.error;
}

TEST(SchedTrace, PrintsALineAPeriodWithTheLengthsOfTheQueues) {
  const std::string text = trace_of("schedtrace=50");
  EXPECT_THAT(text, testing::ContainsRegex(
                        "SCHED [0-9]+ms: gomaxprocs=[0-9]+ idleprocs=[0-9]+ threads=[0-9]+ "
                        "spinningthreads=[0-9]+ needspinning=0 idlethreads=[0-9]+ "
                        "runqueue=[0-9]+ \\[[0-9 ]+\\]"));
}

TEST(SchedTrace, InDetailPrintsEachProcessorAndFiber) {
  const std::string text = trace_of("schedtrace=50,scheddetail=1");
  EXPECT_THAT(text,
              testing::ContainsRegex("\n  P0: status=[0-9] schedtick=[0-9]+ [^\n]* m=-?[0-9]+ "));
  EXPECT_THAT(text, testing::ContainsRegex("\n  G[0-9]+: status=waiting"));
}

TEST(SchedTrace, IsSilentUnasked) {
  EXPECT_EQ(trace_of("spin=0").find("SCHED"), std::string::npos);
}

}  // namespace
