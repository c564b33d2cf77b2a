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
  weft::detail::self_held_timer* given_up = nullptr;
  heap.clear(&given_up);
  EXPECT_EQ(given_up, nullptr);
}

// Deadlines from nanoseconds to months away, more of them than the heap proper holds: beside a
// sorted list again, and fired in order.
class FarTimers : public testing::Test {
 protected:
  struct timer : timer_node {
    timer() {
      fire = [](timer_node* t, std::int64_t) noexcept {
        auto* self = static_cast<timer*>(t);
        self->out_of_order = self->when < self->owner->last_fired;
        self->owner->last_fired = self->when;
        self->owner->wrong += self->out_of_order ? 1 : 0;
      };
    }
    FarTimers* owner = nullptr;
    bool out_of_order = false;
  };

  std::int64_t some_delay() {
    const auto bits = random() % 54;
    return static_cast<std::int64_t>((std::uint64_t{1} << bits) + random() % 1000);
  }
  // The last nanosecond of a bucket of some wheel, or the first of the next one.
  std::int64_t at_a_border(std::int64_t when) {
    const auto bits = 18 + 6 * (random() % 5);
    return (when | ((std::int64_t{1} << bits) - 1)) + static_cast<std::int64_t>(random() % 2);
  }
  void add(timer* t) {
    bool ok = false;
    std::int64_t when = now + some_delay();
    if (random() % 4 == 0) when = at_a_border(when);
    const std::int64_t before = heap.next_when();  // who sleeps on it wakes then
    EXPECT_EQ(heap.insert(t, when, &ok), when < before);
    ASSERT_TRUE(ok);
    model.emplace(when, t);
  }
  void take(timer* t) {
    EXPECT_TRUE(heap.remove(t));
    auto [at, end] = model.equal_range(t->when);
    while (at != end && at->second != t) ++at;
    ASSERT_NE(at, end);
    model.erase(at);
  }
  void go_on_to(std::int64_t then) {
    now = then;
    last_fired = 0;
    std::size_t due = 0;
    while (!model.empty() && model.begin()->first <= now) {
      model.erase(model.begin());
      ++due;
    }
    ASSERT_EQ(heap.run(now), due);
    ASSERT_EQ(wrong, 0);
    ASSERT_GT(heap.next_when(), now);
  }
  void compare() {
    ASSERT_EQ(heap.size(), model.size());
    ASSERT_LE(heap.next_when(), model.empty() ? weft::detail::never : model.begin()->first);
    ASSERT_TRUE(heap.check_invariants());
  }

  std::mt19937_64 random{2024};
  std::int64_t now = weft::detail::now_ns();
  std::int64_t last_fired = 0;
  int wrong = 0;
  std::multimap<std::int64_t, timer*> model;
  timer_heap heap;
};

TEST_F(FarTimers, AgreeWithASortedListOnRandomOperations) {
  std::vector<timer> nodes(6000);
  for (timer& t : nodes) t.owner = this;
  for (int step = 0; step < 60'000; ++step) {
    timer* t = &nodes[random() % nodes.size()];
    if (t->heap.load() == nullptr) {
      add(t);
    } else if (random() % 4 == 0) {
      take(t);
    }
    if (step % 16 == 0)
      go_on_to(now + (random() % 64 == 0 ? some_delay() : some_delay() % 100'000));
    if (step % 2048 == 0) compare();
    if (HasFatalFailure()) return;
  }
  while (!model.empty()) go_on_to(heap.next_when());
  compare();
}

// What a server does with time limits: set for each request, and nearly always taken back.
TEST_F(FarTimers, ThatAreTakenBackLeaveNoTrace) {
  std::vector<timer> nodes(1000);
  for (timer& t : nodes) t.owner = this;
  for (int round = 0; round < 200; ++round) {
    for (timer& t : nodes) add(&t);
    for (timer& t : nodes) take(&t);
    if (round % 50 == 0) compare();
    if (HasFatalFailure()) return;
  }
  EXPECT_EQ(heap.next_when(), weft::detail::never);
  EXPECT_EQ(heap.run(now + (std::int64_t{1} << 50)), 0U);
}

TEST_F(FarTimers, MoveToAnotherHeapAndAreForgottenWhenItEnds) {
  std::vector<timer> nodes(3000);
  for (timer& t : nodes) t.owner = this;
  timer_heap from;
  bool ok = false;
  for (timer& t : nodes) {
    const std::int64_t when = now + some_delay();
    static_cast<void>(from.insert(&t, when, &ok));
    ASSERT_TRUE(ok);
    model.emplace(when, &t);
  }
  ASSERT_TRUE(from.move_to(heap));
  EXPECT_EQ(from.size(), 0U);
  EXPECT_EQ(from.next_when(), weft::detail::never);
  EXPECT_TRUE(from.check_invariants());
  compare();
  for (std::size_t i = 0; i < nodes.size(); i += 3) take(&nodes[i]);
  go_on_to(now + 1'000'000'000);
  compare();
  weft::detail::self_held_timer* given_up = nullptr;
  heap.clear(&given_up);
  EXPECT_EQ(given_up, nullptr);
  for (timer& t : nodes) EXPECT_EQ(t.heap.load(), nullptr);
  EXPECT_EQ(heap.next_when(), weft::detail::never);
}

// A burst's memory goes back, and the heap works as before.
TEST_F(FarTimers, ABurstOfThemIsFollowedByQuietWork) {
  std::vector<timer> nodes(100'000);
  for (timer& t : nodes) t.owner = this;
  for (int round = 0; round < 3; ++round) {
    for (timer& t : nodes) add(&t);
    compare();
    go_on_to(now + (std::int64_t{1} << 55));
    compare();
    EXPECT_EQ(heap.size(), 0U);
    if (HasFatalFailure()) return;
  }
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
