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

// What a child prints whose two fibers wait for so long, with this WEFT_DEBUG.
std::string trace_of(const char* debug, std::chrono::milliseconds time) {
  const auto r = weft_test::run_child([=] {
    ::setenv("WEFT_DEBUG", debug, 1);
    weft::run(weft::options{.procs = 2}, [=] {
      weft::go([] { weft::sleep_for(1h); });
      weft::sleep_for(time);
    });
  });
  EXPECT_EQ(r.code, 0) << r.error;
  return r.error;
}

// The trace of a child that waited for long enough: the end may overtake a sysmon that was kept
// from its core all the time.
std::string trace_with(const char* debug, const char* wanted) {
  std::string text;
  for (const auto time : {300ms, 2000ms, 10'000ms}) {
    text = trace_of(debug, time);
    if (text.find(wanted) != std::string::npos) break;
  }
  return text;
}

TEST(SchedTrace, PrintsALineAPeriodWithTheLengthsOfTheQueues) {
  const std::string text = trace_with("schedtrace=50", "SCHED ");
  EXPECT_THAT(text, testing::ContainsRegex(
                        "SCHED [0-9]+ms: gomaxprocs=[0-9]+ idleprocs=[0-9]+ threads=[0-9]+ "
                        "spinningthreads=[0-9]+ needspinning=0 idlethreads=[0-9]+ "
                        "runqueue=[0-9]+ \\[[0-9 ]+\\]"));
}

TEST(SchedTrace, InDetailPrintsEachProcessorAndFiber) {
  const std::string text = trace_with("schedtrace=50,scheddetail=1", "status=waiting");
  EXPECT_THAT(text,
              testing::ContainsRegex("\n  P0: status=[0-9] schedtick=[0-9]+ [^\n]* m=-?[0-9]+ "));
  EXPECT_THAT(text, testing::ContainsRegex("\n  G[0-9]+: status=waiting"));
}

TEST(SchedTrace, IsSilentUnasked) {
  EXPECT_EQ(trace_of("spin=0", 300ms).find("SCHED"), std::string::npos);
}

}  // namespace
