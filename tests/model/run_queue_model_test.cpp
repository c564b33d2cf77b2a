// SPDX-License-Identifier: Apache-2.0
// sched/run_queue.hpp, the very code, in every interleaving of small programs: each fiber comes out
// once, and with all that was written before it went in. Then with orders broken on purpose.
#include "sched/run_queue.hpp"

#include <gtest/gtest.h>

#include <array>

#include "tests/model/books.hpp"

namespace {

using namespace weft_model;
using std::memory_order;

template <std::uint32_t Capacity>
using queue_of = weft::detail::basic_run_queue<model_sync, item, Capacity>;

template <std::uint32_t Capacity, std::size_t N>
void thief(queue_of<Capacity>& q, queue_of<Capacity>& mine, books<N>& b) {
  b.take(q.steal_into(mine));
  while (item* i = mine.pop()) b.take(i);
}

// The owner pushes three and takes what is left, two thieves steal halves.
void halves(world& w) {
  auto& q = w.make<queue_of<4>>();
  auto& b = w.make<books<3>>();
  w.thread([&] {
    for (int i = 0; i < 3; ++i) check(q.push(b.write(i)), "full");
    b.take(q.pop());
  });
  auto& first = w.make<queue_of<4>>();
  auto& second = w.make<queue_of<4>>();
  w.thread([&] { b.take(q.steal_into(first)); });
  w.thread([&] { b.take(q.steal_into(second)); });
  w.at_end([&] {
    for (auto* left : {&q, &first, &second}) {
      while (item* i = left->pop()) b.take(i);
    }
    b.all_taken();
  });
}

// A ring of two: every slot is written again while somebody steals.
void round_and_round(world& w) {
  auto& q = w.make<queue_of<2>>();
  auto& b = w.make<books<4>>();
  auto& mine = w.make<queue_of<2>>();
  w.thread([&] {
    for (int i = 0; i < 4; ++i) {
      item* next = b.write(i);
      while (!q.push(next)) b.take(q.pop());
    }
  });
  w.thread([&] {
    for (int i = 0; i < 2; ++i) thief<2>(q, mine, b);
  });
  w.at_end([&] {
    while (item* i = q.pop()) b.take(i);
    b.all_taken();
  });
}

// A yield turns the ring, a full one spills its older half.
void turned_and_spilled(world& w) {
  auto& q = w.make<queue_of<4>>();
  auto& b = w.make<books<3>>();
  auto& mine = w.make<queue_of<4>>();
  w.thread([&] {
    check(q.push(b.write(0)), "full");
    check(q.push(b.write(1)), "full");
    item* last = b.write(2);
    if (item* oldest = q.rotate(last, false)) {
      b.take(oldest);
    } else {
      check(q.push(last), "full");
    }
    std::array<item*, 2> older{};
    const std::uint32_t n = q.pop_half(older);
    for (std::uint32_t i = 0; i < n; ++i) b.take(older[i]);
  });
  w.thread([&] { thief<4>(q, mine, b); });
  w.at_end([&] {
    while (item* i = q.pop()) b.take(i);
    b.all_taken();
  });
}

// A thief's loot can be stolen from it.
void stolen_again(world& w) {
  auto& q = w.make<queue_of<4>>();
  auto& b = w.make<books<4>>();
  auto& first = w.make<queue_of<4>>();
  auto& second = w.make<queue_of<4>>();
  w.thread([&] {
    for (int i = 0; i < 4; ++i) check(q.push(b.write(i)), "full");
  });
  w.thread([&] { b.take(q.steal_into(first)); });
  w.thread([&] { b.take(first.steal_into(second)); });
  w.at_end([&] {
    for (auto* left : {&q, &first, &second}) {
      while (item* i = left->pop()) b.take(i);
    }
    b.all_taken();
  });
}

TEST(RunQueueModel, HalvesAreTakenOnce) {
  const outcome o = explore(halves);
  EXPECT_EQ(o.violation, "") << o.trace;
  EXPECT_TRUE(o.complete);
  EXPECT_GT(o.states, 1000U);
}

TEST(RunQueueModel, SlotsAreUsedAgainWhileSomebodySteals) {
  EXPECT_EQ(problem_with(round_and_round), "");
}

TEST(RunQueueModel, TurnedAndSpilled) { EXPECT_EQ(problem_with(turned_and_spilled), ""); }

TEST(RunQueueModel, LootIsStolenAgain) { EXPECT_EQ(problem_with(stolen_again), ""); }

TEST(RunQueueModel, BreaksWhenATailIsPublishedWithoutRelease) {
  const mutant m{"::push", op::store, memory_order::release, memory_order::relaxed};
  EXPECT_NE(explore(halves, {m}).violation, "");
}

TEST(RunQueueModel, BreaksWhenAThiefReadsTheTailWithoutAcquire) {
  const mutant m{"::steal_into", op::load, memory_order::acquire, memory_order::relaxed};
  EXPECT_NE(explore(halves, {m}).violation, "");
}

TEST(RunQueueModel, BreaksWhenLootIsPublishedWithoutRelease) {
  const mutant m{"::steal_into", op::store, memory_order::release, memory_order::relaxed};
  EXPECT_NE(explore(stolen_again, {m}).violation, "");
}

}  // namespace
