// SPDX-License-Identifier: Apache-2.0
// WEFT_DEBUG=stalls: a fiber that keeps its thread is named, once, with its stack and its origin.
#include "sched/stall_watch.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include <weft/weft.hpp>
#include "runtime/debug.hpp"
#include "tests/support/child.hpp"

namespace {

using namespace std::chrono_literals;

__attribute__((noinline)) void compute_for(std::chrono::milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
  }
}

template <class F>
std::string said(const char* debug, F&& fiber) {
  const auto r = weft_test::run_child([&] {
    ::setenv("WEFT_DEBUG", debug, 1);
    weft::run([&] { weft::spawn(fiber).join(); });
  });
  EXPECT_EQ(r.code, 0) << r.error;
  return r.error;
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

// So that the parent can tell this fiber from another that was kept from its core.
void say_who_i_am() {
  std::fprintf(stderr, "I am %llu.\n", static_cast<unsigned long long>(weft::this_fiber::id()));
}

std::string who_it_was(const std::string& text) {
  const std::size_t at = text.find("I am ");
  return at == std::string::npos ? "?" : text.substr(at + 5, text.find('.', at) - at - 5);
}

// How long the fiber keeps its thread. Where the machine itself stands still for so long, sysmon
// has not looked in time, or the thread has not answered in time; the next is longer.
constexpr std::array stall_times{300ms, 2000ms, 10'000ms};

TEST(StallWatch, NamesAFiberThatComputesOnce) {
  std::string text;
  std::string line;
  for (const auto time : stall_times) {
    text = said("stalls=20ms", [time] {
      say_who_i_am();
      compute_for(time);
    });
    line = "weft: stall: fiber " + who_it_was(text) + " keeps thread ";
    if (text.find(line) != std::string::npos) break;
  }
  EXPECT_EQ(count(text, line), 1U) << text;
  EXPECT_THAT(text, testing::ContainsRegex(line + "[0-9]+ (busy|blocked) for [0-9]+ ms\n"));
  EXPECT_THAT(text, testing::HasSubstr("stall_watch_test.cpp:"));
}

void block_for(std::chrono::milliseconds time) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) ::_exit(1);
  std::thread writer([&] {
    std::this_thread::sleep_for(time);
    if (::write(ends[1], "x", 1) != 1) ::_exit(2);
  });
  say_who_i_am();
  weft::yield();
  char c = 0;
  if (::read(ends[0], &c, 1) != 1) ::_exit(3);  // restarted after the signal
  writer.join();
}

TEST(StallWatch, NamesAFiberInABlockingCallThatGoesOnUnharmed) {
  std::string text;
  std::string line;
  for (const auto time : stall_times) {
    text = said("stalls=20ms", [time] { block_for(time); });
    // ThreadSanitizer keeps signals back until the call is over.
    const std::string who = WEFT_TSAN ? "(a fiber|fiber [0-9]+)" : "fiber " + who_it_was(text);
    line = who + " keeps thread [0-9]+ blocked for [0-9]+ ms";
    if (testing::Value(text, testing::ContainsRegex(line))) break;
  }
  EXPECT_THAT(text, testing::ContainsRegex(line));
}

// A fiber that was kept from its core between two of these steps is named, and rightly: not in
// every one of five children.
TEST(StallWatch, IsSilentAboutAnnouncedBlockingAndFibersThatWait) {
  std::string text;
  for (int child = 0; child < 5; ++child) {
    text = said("stalls=200ms", [] {
      weft::sleep_for(500ms);
      weft::blocking([] { std::this_thread::sleep_for(500ms); });
    });
    if (count(text, "weft: stall:") == 0) break;
  }
  EXPECT_EQ(count(text, "weft: stall:"), 0U) << text;
}

TEST(StallWatch, RefusesWhatIsNoTime) {
  EXPECT_THAT(said("stalls=soon", [] {}), testing::HasSubstr("stalls=soon: not a time"));
}

TEST(StallWatch, ReadsTimes) {
  using weft::detail::parse_duration_ns;
  EXPECT_EQ(parse_duration_ns("10ms"), 10'000'000);
  EXPECT_EQ(parse_duration_ns("10"), 10'000'000);
  EXPECT_EQ(parse_duration_ns("500us"), 500'000);
  EXPECT_EQ(parse_duration_ns("7ns"), 7);
  EXPECT_EQ(parse_duration_ns("2s"), 2'000'000'000);
  EXPECT_EQ(parse_duration_ns(""), -1);
  EXPECT_EQ(parse_duration_ns("ms"), -1);
  EXPECT_EQ(parse_duration_ns("-1ms"), -1);
  EXPECT_EQ(parse_duration_ns("1h"), -1);
  EXPECT_EQ(parse_duration_ns("9999999999999s"), -1);
}

}  // namespace
