// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack_pool.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <weft/fiber.hpp>
#include <weft/run.hpp>
#include "tests/support/child.hpp"

namespace {

using weft::detail::stack_acquire;
using weft::detail::stack_cache;
using weft::detail::stack_class_for;
using weft::detail::stack_memory;
using weft::detail::stack_release;

[[maybe_unused]] std::size_t count_mappings() {
  std::ifstream maps("/proc/self/maps");
  std::size_t n = 0;
  for (std::string line; std::getline(maps, line);) ++n;
  return n;
}

TEST(StackPool, ChoosesTheSmallestClassThatFits) {
  EXPECT_EQ(stack_class_for(1), 0);
  EXPECT_EQ(stack_class_for(16U << 10), 0);
  EXPECT_EQ(stack_class_for((16U << 10) + 1), 1);
  EXPECT_EQ(stack_class_for(64U << 10), 1);
  EXPECT_EQ(stack_class_for(SIZE_MAX), 3);
}

TEST(StackPool, StacksAreDistinctWritableAndGuarded) {
  std::set<char*> seen;
  std::vector<stack_memory> stacks;
  for (int c = 0; c < weft::detail::stack_classes; ++c) {
    for (int i = 0; i < 20; ++i) {
      const stack_memory s = stack_acquire(c);
      ASSERT_TRUE(s);
      EXPECT_TRUE(seen.insert(s.lo).second);
      std::memset(s.lo, 1, s.size);
      stack_memory found;
      EXPECT_TRUE(weft::detail::is_stack_guard(s.lo - 1, &found));
      EXPECT_EQ(found.lo, s.lo);
      EXPECT_FALSE(weft::detail::is_stack_guard(s.lo, &found));
      stacks.push_back(s);
    }
    for (const auto& s : stacks) stack_release(c, s.lo);
    stacks.clear();
    seen.clear();
  }
  int local = 0;
  stack_memory found;
  EXPECT_FALSE(weft::detail::is_stack_guard(&local, &found));
}

TEST(StackPool, TheGuardStopsAWriteBelowTheStack) {
  const auto r = weft_test::run_child([] {
    const stack_memory s = stack_acquire(1);
    *(volatile char*)(s.lo - 1) = 1;
  });
  EXPECT_TRUE(r.signal == SIGSEGV || r.code != 0) << r.code;
}

TEST(StackPool, MprotectFallbackWorksAndIsReported) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "guard=mprotect", 1);
    int sum = 0;
    weft::run([&] {
      std::vector<weft::fiber> fibers;
      for (int i = 0; i < 200; ++i) {
        fibers.push_back(weft::spawn([&sum] {
          weft::yield();
          __atomic_fetch_add(&sum, 1, __ATOMIC_RELAXED);
        }));
      }
      for (auto& f : fibers) f.join();
    });
    if (sum != 200 || std::strcmp(weft::stats().stack_guard, "mprotect") != 0) ::_exit(3);
  });
  EXPECT_EQ(r.code, 0) << r.error;
}

TEST(StackPool, CanaryFallbackFindsAnOverwrittenStack) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "guard=canary", 1);
    const stack_memory s = stack_acquire(1);
    stack_release(1, s.lo);
    const stack_memory again = stack_acquire(1);
    std::memset(again.lo, 7, 64);
    stack_release(1, again.lo);
  });
  EXPECT_EQ(r.code, 2);
  EXPECT_NE(r.error.find("canary"), std::string::npos) << r.error;
}

#if !WEFT_TSAN  // TSan keeps at most a few thousand contexts
TEST(StackPool, AHundredThousandParkedFibersNeedFewMappings) {
#if WEFT_ASAN
  constexpr int n = 10'000;
#else
  constexpr int n = 100'000;
#endif
  weft::run([] {
    std::vector<weft::fiber> fibers;
    fibers.reserve(n + 1);
    auto gate = weft::spawn([] { weft::yield(); });
    // Each is parked in a join of the next one's predecessor: a chain that ends with the release.
    std::atomic<bool> open{false};
    std::atomic<int> parked{0};
    auto first = weft::spawn([&] {
      while (!open.load()) weft::yield();
    });
    fibers.push_back(std::move(first));
    for (int i = 0; i < n; ++i) {
      fibers.push_back(weft::spawn([&fibers, &parked, i] {
        parked.fetch_add(1);
        fibers[static_cast<std::size_t>(i)].join();
      }));
    }
    while (parked.load() < n) weft::yield();
    if (std::string(weft::stats().stack_guard) == "MADV_GUARD_INSTALL") {
      EXPECT_LT(count_mappings(), WEFT_ASAN ? 3000U : 600U);
      EXPECT_EQ(weft::stats().stacks_unguarded, 0U);
    }
    open.store(true);
    fibers.back().join();
    gate.join();
  });
}
#endif

}  // namespace
