// SPDX-License-Identifier: Apache-2.0
// WEFT_DEBUG=schedtrace: lines in Go's words, also while everything is idle.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <regex>
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
  const std::regex line(
      R"(SCHED \d+ms: gomaxprocs=\d+ idleprocs=\d+ threads=\d+ spinningthreads=\d+ )"
      R"(needspinning=0 idlethreads=\d+ runqueue=\d+ \[[\d ]+\])");
  EXPECT_TRUE(std::regex_search(text, line)) << text;
}

TEST(SchedTrace, InDetailPrintsEachProcessorAndFiber) {
  const std::string text = trace_of("schedtrace=50,scheddetail=1");
  EXPECT_TRUE(std::regex_search(text, std::regex(R"(\n  P0: status=\d schedtick=\d+ .* m=-?\d+ )")))
      << text;
  EXPECT_TRUE(std::regex_search(text, std::regex(R"(\n  G\d+: status=waiting)"))) << text;
}

TEST(SchedTrace, IsSilentUnasked) {
  EXPECT_EQ(trace_of("spin=0").find("SCHED"), std::string::npos);
}

}  // namespace
