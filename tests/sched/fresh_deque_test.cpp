// SPDX-License-Identifier: Apache-2.0
// The deque of fibers that have not run: nothing lost, nothing twice, whatever owner and thieves do
// at once, above all about the last one.
#include "sched/fresh_deque.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <thread>
#include <vector>

namespace {

using weft::detail::fiber_core;
using weft::detail::fresh_deque;

fiber_core* steal_one(fresh_deque& d) {
  fiber_core* g = nullptr;
  static_cast<void>(d.steal(&g, 1));
  return g;
}

TEST(FreshDeque, GivesItsOwnerTheNewestAndThievesTheOldest) {
  auto d = std::make_unique<fresh_deque>();
  std::vector<fiber_core> g(5);
  for (auto& f : g) ASSERT_TRUE(d->push(&f));
  EXPECT_EQ(d->size(), 5U);
  EXPECT_EQ(d->pop(), &g[4]);
  EXPECT_EQ(steal_one(*d), &g[0]);
  EXPECT_EQ(d->take_oldest(), &g[1]);
  EXPECT_EQ(d->pop(), &g[3]);
  EXPECT_EQ(steal_one(*d), &g[2]);
  EXPECT_EQ(d->pop(), nullptr);
  EXPECT_EQ(steal_one(*d), nullptr);
  EXPECT_EQ(d->take_oldest(), nullptr);
  EXPECT_TRUE(d->empty());
}

TEST(FreshDeque, GivesAThiefHalf) {
  auto d = std::make_unique<fresh_deque>();
  std::vector<fiber_core> g(7);
  for (auto& f : g) ASSERT_TRUE(d->push(&f));
  std::array<fiber_core*, 8> got{};
  ASSERT_EQ(d->steal(got.data(), 8), 4U);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(got[i], &g[i]);
  ASSERT_EQ(d->steal(got.data(), 1), 1U);
  EXPECT_EQ(got[0], &g[4]);
  EXPECT_EQ(d->size(), 2U);
}

TEST(FreshDeque, GrowsWithABurstAndGivesTheMemoryBack) {
  auto d = std::make_unique<fresh_deque>();
  constexpr std::size_t n = 100'000;
  std::vector<fiber_core> g(n);
  for (int round = 0; round < 3; ++round) {
    for (auto& f : g) ASSERT_TRUE(d->push(&f));
    EXPECT_EQ(d->size(), n);
    for (std::size_t i = 0; i < n / 2; ++i) ASSERT_EQ(steal_one(*d), &g[i]);
    d->trim();  // not now
    for (std::size_t i = n; i-- > n / 2;) ASSERT_EQ(d->pop(), &g[i]);
    EXPECT_TRUE(d->empty());
    d->trim();
  }
}

// The owner keeps the deque short, so that owner and thieves want the same fiber most of the time.
// (Fails without the barrier in steal().)
TEST(FreshDeque, StressTheLastOneIsTakenOnce) {
#if WEFT_TSAN || WEFT_ASAN
  constexpr std::uint32_t n = 200'000;
#else
  constexpr std::uint32_t n = 2'000'000;
#endif
  weft::detail::asymmetric_barrier_init();
  auto d = std::make_unique<fresh_deque>();
  std::vector<fiber_core> pool(64);
  std::vector<std::atomic<std::uint32_t>> in_deque(pool.size());
  std::atomic<std::uint64_t> taken{0};
  std::atomic<bool> doubled{false};
  std::atomic<bool> done{false};
  auto take = [&](fiber_core* g) {
    auto& mark = in_deque[static_cast<std::size_t>(g - pool.data())];
    if (mark.exchange(0) != 1) doubled = true;
    taken.fetch_add(1);
  };
  std::vector<std::thread> thieves;
  for (int t = 0; t < 2; ++t) {
    thieves.emplace_back([&] {
      while (!done.load()) {
        std::array<fiber_core*, 4> got{};
        const std::uint32_t got_n = d->steal(got.data(), 4);
        for (std::uint32_t k = 0; k < got_n; ++k) take(got[k]);
      }
    });
  }
  std::uint64_t pushed = 0;
  for (std::uint32_t i = 0; pushed < n; ++i) {
    const std::size_t k = i % pool.size();
    if (in_deque[k].load() == 0) {
      in_deque[k].store(1);
      if (!d->push(&pool[k])) break;  // never that full, unless it has lost count
      ++pushed;
    }
    if (i % 4 != 0) {
      if (fiber_core* g = d->pop()) take(g);
    }
  }
  done = true;
  for (auto& t : thieves) t.join();
  while (fiber_core* g = d->pop()) take(g);
  EXPECT_FALSE(doubled.load());
  EXPECT_EQ(pushed, n);
  EXPECT_EQ(taken.load(), pushed);
}

}  // namespace
