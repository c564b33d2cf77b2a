// SPDX-License-Identifier: Apache-2.0
// What the process says when a fiber overflows its stack, and that sanitizers see fiber stacks.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <string>

#include <weft/detail/park.hpp>
#include <weft/fiber.hpp>
#include <weft/run.hpp>
#include "tests/support/child.hpp"

namespace {

// Recursion that the compiler cannot flatten, in frames of which only the far end is touched.
template <std::size_t Bytes>
WEFT_NOINLINE int dive(volatile char* previous, int depth) {
  volatile char frame[Bytes];
  frame[0] = previous == nullptr ? 1 : previous[0];
  asm volatile("" : : "r"(frame) : "memory");
  if (depth == 0) return frame[0];
  return dive<Bytes>(frame, depth - 1) + frame[0];
}

#if !WEFT_ASAN  // ASan reports a stack overflow in its own words: see the canary below
// Writes to the stack down to `lowest`, and so to each word on the way.
WEFT_NOINLINE int dive_to(const char* lowest) {
  volatile char frame[256];
  for (volatile char& c : frame) c = 1;
  if (static_cast<const char*>(__builtin_frame_address(0)) <= lowest) return frame[0];
  return dive_to(lowest) + frame[0];
}

void expect_report(const weft_test::child_result& r) {
  EXPECT_EQ(r.code, 2) << r.error;
  EXPECT_NE(r.error.find("fatal error: stack overflow"), std::string::npos) << r.error;
  EXPECT_NE(r.error.find("overflowed its stack of "), std::string::npos) << r.error;
  EXPECT_EQ(r.error.find("fiber 0 "), std::string::npos) << r.error;
  EXPECT_NE(r.error.find(" KiB"), std::string::npos) << r.error;
  EXPECT_NE(r.error.find("overflow_test.cpp:"), std::string::npos) << r.error;
}

class OverflowOfGuard : public testing::TestWithParam<const char*> {};

TEST_P(OverflowOfGuard, NamesTheFiberItsSizeAndItsCreationSite) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", GetParam(), 1);
    weft::run([] {
      auto f = weft::spawn([] { static_cast<void>(dive<512>(nullptr, 10'000'000)); });
      f.join();
    });
  });
  expect_report(r);
  EXPECT_EQ(r.error.find("canary"), std::string::npos) << r.error;
}

INSTANTIATE_TEST_SUITE_P(Kinds, OverflowOfGuard,
                         testing::Values("spin=1", "guard=madvise", "guard=mprotect"),
                         [](const auto& kind) {
                           const std::string text = kind.param;
                           return text == "spin=1" ? "unasked" : text.substr(6);
                         });

// Nothing stops it, and nothing else is hit as long as it goes no deeper than a guard would be.
TEST(Overflow, IsFoundByTheCanaryWhenTheFiberEnds) {
  for (const char* debug : {"guard=canary", "guard=canary,stacks=1"}) {
    const auto r = weft_test::run_child([&] {
      ::setenv("WEFT_DEBUG", debug, 1);
      weft::run([] {
        weft::spawn([] {}).join();
        weft::spawn([] {
          const char* lo = weft::detail::current_fiber()->stack_lo;
          static_cast<void>(dive_to(lo - 1024));
        }).join();
      });
    });
    expect_report(r);
    EXPECT_NE(r.error.find("canary"), std::string::npos) << r.error;
  }
}

TEST(Overflow, CanariesOfFibersThatStayOnTheirStacksAreIntact) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "guard=canary", 1);
    weft::run([] {
      std::atomic<int> sum{0};
      for (int i = 0; i < 200; ++i) {
        weft::spawn([&sum] {
          const weft::detail::fiber_core* g = weft::detail::current_fiber();
          weft::yield();
          // Nearly all of it; what the last call needs comes on top.
          sum += dive_to(g->stack_lo + g->stack_size() / 4) > 0 ? 1 : 0;
        }).join();
      }
      if (sum != 200) ::_exit(3);
    });
  });
  EXPECT_EQ(r.code, 0) << r.error;
}

// Not every frame is smaller than the guard: -fstack-clash-protection sees to the others.
TEST(Overflow, NoFrameStepsOverTheGuard) {
  const auto r = weft_test::run_child([] {
    weft::run([] {
      auto f = weft::spawn([] { static_cast<void>(dive<40'000>(nullptr, 1000)); });
      f.join();
    });
  });
  EXPECT_EQ(r.code, 2) << r.error;
  EXPECT_NE(r.error.find("stack overflow"), std::string::npos) << r.error;
}
#else
WEFT_NOINLINE void write_past_the_end(volatile char* p, int n) {
  for (int i = 0; i <= n; ++i) p[i] = 1;
}

TEST(Overflow, CanaryAsanSeesABufferOverflowOnAFiberStack) {
  const auto r = weft_test::run_child([] {
    weft::run([] {
      auto f = weft::spawn([] {
        volatile char buffer[32];
        weft::yield();
        write_past_the_end(buffer, 32);
      });
      f.join();
    });
  });
  EXPECT_NE(r.code, 0);
  EXPECT_NE(r.error.find("stack-buffer-overflow"), std::string::npos) << r.error;
}
#endif

#if WEFT_TSAN
TEST(Overflow, CanaryTsanSeesARaceBetweenTwoFibers) {
  const auto r = weft_test::run_child([] {
    weft::run(weft::options{.procs = 2}, [] {
      int shared = 0;
      std::atomic<int> started{0};
      auto body = [&] {
        // Two Ms at once: fibers that take turns on one are ordered by it.
        started.fetch_add(1, std::memory_order_relaxed);
        while (started.load(std::memory_order_relaxed) < 2) {
        }
        for (int i = 0; i < 1000; ++i) shared = shared + 1;  // the planted race
      };
      auto a = weft::spawn(body);
      auto b = weft::spawn(body);
      a.join();
      b.join();
    });
  });
  EXPECT_NE(r.error.find("data race"), std::string::npos) << r.error;
}
#endif

TEST(Overflow, ABigStackIsThereWhenAskedFor) {
  weft::run([] {
    int result = 0;
    auto f = weft::spawn(weft::fiber_options{.stack_size = 1U << 20},
                         [&] { result = dive<512>(nullptr, 200); });
    f.join();
    EXPECT_GT(result, 0);
  });
}

}  // namespace
