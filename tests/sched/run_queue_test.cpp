// SPDX-License-Identifier: Apache-2.0
// The local run queue: nothing lost, nothing twice, whatever owner and thieves do at once.
#include "sched/run_queue.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <thread>
#include <vector>

namespace {

using weft::detail::fiber_core;
using weft::detail::run_queue;
using older_half = std::array<fiber_core*, run_queue::capacity / 2>;

TEST(RunQueue, IsFifoAndRefusesWhenFull) {
  auto q = std::make_unique<run_queue>();
  std::vector<fiber_core> g(run_queue::capacity + 1);
  for (std::uint32_t i = 0; i < run_queue::capacity; ++i) ASSERT_TRUE(q->push(&g[i]));
  EXPECT_FALSE(q->push(&g[run_queue::capacity]));
  EXPECT_EQ(q->size(), run_queue::capacity);
  for (std::uint32_t i = 0; i < run_queue::capacity; ++i) EXPECT_EQ(q->pop(), &g[i]);
  EXPECT_EQ(q->pop(), nullptr);
}

TEST(RunQueue, PopHalfTakesTheOlderHalf) {
  auto q = std::make_unique<run_queue>();
  std::vector<fiber_core> g(10);
  for (auto& f : g) ASSERT_TRUE(q->push(&f));
  older_half half;
  EXPECT_EQ(q->pop_half(half), 5U);
  EXPECT_EQ(half[0], &g[0]);
  EXPECT_EQ(half[4], &g[4]);
  EXPECT_EQ(q->pop(), &g[5]);
}

TEST(RunQueue, AThiefTakesHalf) {
  auto victim = std::make_unique<run_queue>();
  auto thief = std::make_unique<run_queue>();
  std::vector<fiber_core> g(9);
  for (auto& f : g) ASSERT_TRUE(victim->push(&f));
  EXPECT_NE(victim->steal_into(*thief), nullptr);
  EXPECT_EQ(thief->size(), 4U);
  EXPECT_EQ(victim->size(), 4U);
}

TEST(RunQueue, StressNothingIsLostOrDoubled) {
#if WEFT_TSAN || WEFT_ASAN
  constexpr std::uint32_t n = 100'000;
#else
  constexpr std::uint32_t n = 1'000'000;
#endif
  constexpr int thieves = 3;
  auto q = std::make_unique<run_queue>();
  std::vector<fiber_core> pool(512);
  std::vector<std::atomic<std::uint32_t>> in_queue(pool.size());
  std::atomic<std::uint64_t> taken{0};
  std::atomic<bool> done{false};
  std::atomic<bool> doubled{false};
  auto take = [&](fiber_core* g) {
    auto& mark = in_queue[static_cast<std::size_t>(g - pool.data())];
    if (mark.exchange(0) != 1) doubled = true;
    taken.fetch_add(1);
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < thieves; ++t) {
    threads.emplace_back([&] {
      auto mine = std::make_unique<run_queue>();
      while (!done.load() || !q->empty()) {
        if (fiber_core* g = q->steal_into(*mine)) {
          take(g);
          while (fiber_core* more = mine->pop()) take(more);
        }
      }
    });
  }
  std::uint64_t pushed = 0;
  for (std::uint32_t i = 0; pushed < n; ++i) {
    const std::size_t k = i % pool.size();
    if (in_queue[k].load() == 0) {
      in_queue[k].store(1);
      if (q->push(&pool[k])) {
        ++pushed;
      } else {
        in_queue[k].store(0);
        older_half half;
        const std::uint32_t n_half = q->pop_half(half);
        for (std::uint32_t k_half = 0; k_half < n_half; ++k_half) take(half[k_half]);
      }
    }
    if (i % 3 == 0) {
      if (fiber_core* g = q->pop()) take(g);
    }
  }
  done = true;
  for (auto& t : threads) t.join();
  while (fiber_core* g = q->pop()) take(g);
  EXPECT_FALSE(doubled.load());
  EXPECT_EQ(taken.load(), pushed);
}

}  // namespace
