// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack_pool.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <weft/fiber.hpp>
#include <weft/run.hpp>
#include <weft/stats.hpp>
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

// With no runtime there is nobody else who takes, gives or trims.
void trim_everything() {
  for (int period = 0; period < 2; ++period) {
    for (bool more = weft::detail::stack_pool_trim(true); more;) {
      more = weft::detail::stack_pool_trim(false);
    }
  }
}

TEST(StackPool, AfterABurstItsArenasAndPagesGoBack) {
  constexpr int c = 1;
  constexpr std::size_t n = 3500;  // several arenas
  const std::uint64_t mapped_before = weft::detail::stack_pool_stats().mapped_bytes;
  for (int round = 0; round < 2; ++round) {
    std::set<char*> stacks;
    for (std::size_t i = 0; i < n; ++i) {
      const stack_memory s = stack_acquire(c);
      ASSERT_TRUE(s);
      EXPECT_TRUE(stacks.insert(s.lo).second);
      s.lo[s.size / 2] = 1;
    }
    const auto peak = weft::detail::stack_pool_stats();
    EXPECT_GE(peak.most_out, n);
    EXPECT_GE(peak.resident_bytes, n * 4096);
    for (char* lo : stacks) stack_release(c, lo);
    EXPECT_GE(weft::detail::stack_pool_stats().in_depot, n);
    trim_everything();
    const auto after = weft::detail::stack_pool_stats();
    EXPECT_FALSE(weft::detail::stack_pool_can_shrink());
    EXPECT_LE(after.resident_bytes, peak.resident_bytes / 20);
    // Each class keeps the arena that its fresh stacks come from.
    EXPECT_LE(after.mapped_bytes, mapped_before + (64U << 20));
    EXPECT_EQ(after.stacks, after.in_depot);
  }
}

TEST(StackPool, AStackInUseKeepsItsArenaAndItsContents) {
  constexpr int c = 3;  // few an arena
  std::vector<stack_memory> stacks;
  for (int i = 0; i < 200; ++i) {
    stacks.push_back(stack_acquire(c));
    ASSERT_TRUE(stacks.back());
  }
  const stack_memory kept = stacks[70];
  std::memset(kept.lo, 7, kept.size);
  for (const stack_memory& s : stacks) {
    if (s.lo != kept.lo) stack_release(c, s.lo);
  }
  trim_everything();
  for (std::uint32_t i = 0; i < kept.size; ++i) ASSERT_EQ(kept.lo[i], 7);
  // Those beside it are cold: they come back zeroed, and guarded.
  for (int i = 0; i < 62; ++i) {
    const stack_memory s = stack_acquire(c);
    ASSERT_TRUE(s);
    EXPECT_NE(s.lo, kept.lo);
    stack_memory found;
    EXPECT_TRUE(weft::detail::is_stack_guard(s.lo - 1, &found));
    EXPECT_EQ(found.lo, s.lo);
    EXPECT_EQ(s.lo[s.size / 2], 0);
  }
}

TEST(StackPool, WhatWasWantedDuringAPeriodStaysWarm) {
  constexpr int c = 0;
  trim_everything();
  std::vector<char*> stacks;
  for (int i = 0; i < 100; ++i) stacks.push_back(stack_acquire(c).lo);
  for (char* lo : stacks) {
    lo[0] = 1;
    stack_release(c, lo);
  }
  static_cast<void>(weft::detail::stack_pool_trim(true));
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 60; ++i) stacks[static_cast<std::size_t>(i)] = stack_acquire(c).lo;
    for (int i = 0; i < 60; ++i) stack_release(c, stacks[static_cast<std::size_t>(i)]);
    // (By slices: a slice has fewer stacks where they are larger.)
    for (bool more = weft::detail::stack_pool_trim(round % 2 == 0); more;) {
      more = weft::detail::stack_pool_trim(false);
    }
  }
  int warm = 0;
  for (int i = 0; i < 60; ++i) {
    stacks[static_cast<std::size_t>(i)] = stack_acquire(c).lo;
    warm += stacks[static_cast<std::size_t>(i)][0] == 1 ? 1 : 0;
  }
  EXPECT_EQ(warm, 60);
  for (int i = 0; i < 60; ++i) stack_release(c, stacks[static_cast<std::size_t>(i)]);
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

// Holds `n` stacks at a time.
template <class F>
void with_parked_fibers(int n, F inside) {
  weft::run([&] {
    std::atomic<bool> open{false};
    std::atomic<int> there{0};
    std::vector<weft::fiber> fibers;
    for (int i = 0; i < n; ++i) {
      fibers.push_back(weft::spawn([&] {
        there.fetch_add(1);
        while (!open.load()) weft::yield();
      }));
    }
    while (there.load() < n) weft::yield();
    inside();
    open.store(true);
    for (auto& f : fibers) f.join();
  });
}

TEST(StackPool, MprotectGuardsEndAtTheirBudgetAndCanariesGoOn) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "guard=mprotect,guards=50", 1);
    with_parked_fibers(200, [] {
      const auto s = weft::stats();
      if (s.stacks < 200 || s.stacks_unguarded != s.stacks - 50) ::_exit(3);
      if (std::strcmp(s.stack_guard, "canary") != 0) ::_exit(4);
    });
  });
  EXPECT_EQ(r.code, 0) << r.error;
  EXPECT_NE(r.error.find("guard pages used up after 50"), std::string::npos) << r.error;
}

TEST(StackPool, CanariesThatBeganInTheMiddleAreLookedAt) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "guard=mprotect,guards=10", 1);
    std::vector<stack_memory> stacks;
    for (int i = 0; i < 20; ++i) stacks.push_back(stack_acquire(1));
    for (const stack_memory& s : stacks) {
      const bool canary = weft::detail::has_canary(s.lo);
      if (canary != (&s - stacks.data() >= 10)) ::_exit(3);
      if (!canary) std::memset(s.lo, 7, 64);  // its own to use
      stack_release(1, s.lo);
    }
    const stack_memory again = stack_acquire(1);  // the last one
    std::memset(again.lo, 7, 8);
    stack_release(1, again.lo);
  });
  EXPECT_EQ(r.code, 2) << r.error;
  EXPECT_NE(r.error.find("canary"), std::string::npos) << r.error;
}

TEST(StackPool, ColdStacksGetTheirCanariesBack) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "guard=canary", 1);
    for (int round = 0; round < 2; ++round) {
      std::vector<stack_memory> stacks;
      for (int i = 0; i < 100; ++i) stacks.push_back(stack_acquire(1));
      for (const stack_memory& s : stacks) stack_release(1, s.lo);
      trim_everything();
    }
  });
  EXPECT_EQ(r.code, 0) << r.error;
}

TEST(StackPool, TheActiveGuardIsLoggedOnRequestAndInTheFigures) {
  for (const std::string kind : {"mprotect", "canary", "madvise"}) {
    const auto r = weft_test::run_child([&] {
      ::setenv("WEFT_DEBUG", ("guard=" + kind).c_str(), 1);
      weft::run([] { std::fprintf(stderr, "figures: %s\n", weft::stats().stack_guard); });
    });
    EXPECT_EQ(r.code, 0) << r.error;
    // (A kernel before 6.13 has no MADV_GUARD_INSTALL: mprotect, and both say so.)
    const std::size_t at = r.error.find("figures: ");
    ASSERT_NE(at, std::string::npos) << r.error;
    const std::string active = r.error.substr(at + 9, r.error.find('\n', at) - at - 9);
    EXPECT_NE(r.error.find("weft: stacks: guard by " + active + "\n"), std::string::npos)
        << r.error;
    if (kind != "madvise") {
      EXPECT_EQ(active, kind);
    }
  }
  const auto silent = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "spin=1", 1);
    weft::run([] {});
  });
  EXPECT_EQ(silent.error.find("guard by"), std::string::npos) << silent.error;
}

TEST(StackPool, FiguresAreByClassAndTellIdleOnesFromThoseInUse) {
  const auto of = [](const weft::runtime_stats& s, std::size_t size) {
    for (const auto& c : s.stacks_by_class) {
      if (c.stack_size == size) return c;
    }
    return weft::stack_class_stats{};
  };
  constexpr std::size_t big = 1U << 20;
  weft::run([&] {
    const auto before = weft::stats();
    {
      std::vector<weft::fiber> fibers;
      std::atomic<bool> open{false};
      std::atomic<int> there{0};
      for (int i = 0; i < 10; ++i) {
        fibers.push_back(weft::spawn(weft::fiber_options{.stack_size = big}, [&] {
          there.fetch_add(1);
          while (!open.load()) weft::yield();
        }));
      }
      while (there.load() < 10) weft::yield();
      const auto s = weft::stats();
      EXPECT_GE(of(s, big).carved - of(s, big).idle, 10U);
      EXPECT_GE(s.stacks_most, 11U);
      EXPECT_GE(s.stack_bytes_resident, std::uint64_t{11} * 4096);
      EXPECT_LE(s.stack_bytes_resident, s.stack_bytes_mapped);
      std::ostringstream text;
      text << s;
      EXPECT_NE(text.str().find("of 1024 KiB"), std::string::npos) << text.str();
      open.store(true);
      for (auto& f : fibers) f.join();
    }
    while (weft::num_fibers() != 1) weft::yield();
    // They have left, but their stacks may still be on the way to a cache.
    auto after = weft::stats();
    while (of(after, big).carved - of(after, big).idle >
           of(before, big).carved - of(before, big).idle) {
      weft::yield();
      after = weft::stats();
    }
  });
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
