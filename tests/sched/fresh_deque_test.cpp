// SPDX-License-Identifier: Apache-2.0
// The deque of fibers that have not run: nothing lost, nothing twice, whatever owner and thieves do
// at once, above all about the last one.
#include "sched/fresh_deque.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

namespace {

using weft::detail::fiber_core;
using weft::detail::fresh_deque;

TEST(FreshDeque, GivesItsOwnerTheNewestAndThievesTheOldest) {
  auto d = std::make_unique<fresh_deque>();
  std::vector<fiber_core> g(4);
  for (auto& f : g) ASSERT_TRUE(d->push(&f));
  EXPECT_EQ(d->size(), 4U);
  EXPECT_EQ(d->pop(), &g[3]);
  EXPECT_EQ(d->steal(), &g[0]);
  EXPECT_EQ(d->pop(), &g[2]);
  EXPECT_EQ(d->steal(), &g[1]);
  EXPECT_EQ(d->pop(), nullptr);
  EXPECT_EQ(d->steal(), nullptr);
  EXPECT_TRUE(d->empty());
}

TEST(FreshDeque, RefusesWhenFullAndWrapsAround) {
  auto d = std::make_unique<fresh_deque>();
  std::vector<fiber_core> g(fresh_deque::capacity + 1);
  for (int round = 0; round < 3; ++round) {
    for (std::uint32_t i = 0; i < fresh_deque::capacity; ++i) ASSERT_TRUE(d->push(&g[i]));
    EXPECT_FALSE(d->push(&g[fresh_deque::capacity]));
    EXPECT_EQ(d->size(), fresh_deque::capacity);
    for (std::uint32_t i = 0; i < fresh_deque::capacity / 2; ++i) EXPECT_EQ(d->steal(), &g[i]);
    for (std::uint32_t i = fresh_deque::capacity; i-- > fresh_deque::capacity / 2;) {
      EXPECT_EQ(d->pop(), &g[i]);
    }
  }
}

// The owner keeps the deque short, so that owner and thieves want the same fiber most of the time.
// (Fails when the store of tail in pop() is a mere release.)
TEST(FreshDeque, StressTheLastOneIsTakenOnce) {
#if WEFT_TSAN || WEFT_ASAN
  constexpr std::uint32_t n = 200'000;
#else
  constexpr std::uint32_t n = 2'000'000;
#endif
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
        if (fiber_core* g = d->steal()) take(g);
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
