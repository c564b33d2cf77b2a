// SPDX-License-Identifier: Apache-2.0
// The timer heap against a sorted list, and its promises about stop.
#include "sched/timer_heap.hpp"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <set>
#include <thread>
#include <vector>

namespace {

using weft::detail::timer_heap;
using weft::detail::timer_node;

struct counted : timer_node {
  int fired = 0;
  counted() {
    fire = [](timer_node* t, std::int64_t) noexcept { ++static_cast<counted*>(t)->fired; };
  }
};

TEST(TimerHeap, AgreesWithASortedListOnRandomOperations) {
  timer_heap heap;
  std::vector<std::unique_ptr<counted>> nodes;
  for (int i = 0; i < 500; ++i) nodes.push_back(std::make_unique<counted>());
  std::multimap<std::int64_t, counted*> model;
  std::mt19937 random(12345);
  std::int64_t now = 0;
  for (int step = 0; step < 50'000; ++step) {
    counted* t = nodes[random() % nodes.size()].get();
    const bool armed = t->heap.load() != nullptr;
    switch (random() % 4) {
      case 0:
      case 1:
        if (!armed) {
          bool ok = false;
          const std::int64_t when = now + static_cast<std::int64_t>(random() % 1000);
          const bool earliest = heap.insert(t, when, &ok);
          ASSERT_TRUE(ok);
          if (model.empty() || when < model.begin()->first) {
            EXPECT_TRUE(earliest);
          }
          model.emplace(when, t);
        }
        break;
      case 2: {
        EXPECT_EQ(heap.remove(t), armed);
        if (armed) {
          for (auto it = model.begin(); it != model.end(); ++it) {
            if (it->second == t) {
              model.erase(it);
              break;
            }
          }
        }
        break;
      }
      default: {
        now += static_cast<std::int64_t>(random() % 50);
        std::size_t due = 0;
        while (!model.empty() && model.begin()->first <= now) {
          model.erase(model.begin());
          ++due;
        }
        EXPECT_EQ(heap.run(now), due);
        break;
      }
    }
    ASSERT_EQ(heap.size(), model.size());
    if (step % 1000 == 0) {
      ASSERT_TRUE(heap.check_invariants());
    }
    if (!model.empty()) {
      ASSERT_EQ(heap.next_when(), model.begin()->first);
    }
  }
  heap.clear();
}

TEST(TimerHeap, APeriodicTimerDropsMissedTicksAndDoesNotDrift) {
  timer_heap heap;
  counted t;
  t.period = 10;
  bool ok = false;
  static_cast<void>(heap.insert(&t, 10, &ok));
  EXPECT_EQ(heap.run(9), 0U);
  EXPECT_EQ(heap.run(35), 1U);  // 10, 20 and 30 are one tick
  EXPECT_EQ(heap.next_when(), 40);
  EXPECT_TRUE(heap.remove(&t));
  EXPECT_EQ(heap.run(1000), 0U);
  EXPECT_EQ(t.fired, 1);
}

TEST(TimerHeap, StressAfterARemoveThatReturnedTrueNothingFires) {
  timer_heap heap;
  constexpr int rounds = 20'000;
  std::atomic<bool> done{false};
  std::thread runner([&] {
    while (!done.load()) heap.run(100);
  });
  int removed = 0;
  int fired = 0;
  for (int i = 0; i < rounds; ++i) {
    auto t = std::make_unique<counted>();
    bool ok = false;
    static_cast<void>(heap.insert(t.get(), i % 2 == 0 ? 50 : 150, &ok));
    if (heap.remove(t.get())) {
      ++removed;
      EXPECT_EQ(t->fired, 0);
    } else {
      ++fired;
      EXPECT_EQ(t->fired, 1);
    }
    // t is destroyed at once: run() must not touch it any more.
  }
  done = true;
  runner.join();
  EXPECT_EQ(removed + fired, rounds);
  EXPECT_EQ(heap.size(), 0U);
}

TEST(TimerHeap, MovedTimersAreStoppedAndFiredWhereTheyAreNow) {
  timer_heap from;
  timer_heap to;
  std::vector<counted> nodes(1000);
  bool ok = false;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    timer_heap& heap = i % 3 == 0 ? to : from;
    static_cast<void>(heap.insert(&nodes[i], static_cast<std::int64_t>(i * 7919 % 1000), &ok));
  }
  EXPECT_TRUE(from.move_to(to));
  EXPECT_EQ(from.size(), 0U);
  EXPECT_EQ(from.next_when(), weft::detail::never);
  EXPECT_EQ(to.size(), nodes.size());
  EXPECT_EQ(to.next_when(), 0);
  EXPECT_TRUE(from.check_invariants());
  EXPECT_TRUE(to.check_invariants());
  EXPECT_FALSE(from.remove(&nodes[1]));
  EXPECT_TRUE(to.remove(&nodes[1]));
  EXPECT_EQ(to.run(1000), nodes.size() - 1);
  EXPECT_EQ(nodes[1].fired, 0);
  EXPECT_EQ(nodes[2].fired, 1);
  EXPECT_TRUE(from.move_to(to)) << "nothing to move is no failure";
}

}  // namespace
