// SPDX-License-Identifier: Apache-2.0
// sched/fresh_deque.hpp, the very code, in every interleaving of small programs. The race that
// matters is for the last fiber.
#include "sched/fresh_deque.hpp"

#include <gtest/gtest.h>

#include "tests/model/books.hpp"

namespace {

using namespace weft_model;
using std::memory_order;

using deque = weft::detail::basic_fresh_deque<model_sync, item, 4>;

// The owner pushes two, takes two, pushes one more; two thieves take one each.
void last_one(world& w) {
  auto& d = w.make<deque>();
  auto& b = w.make<books<3>>();
  w.thread([&] {
    check(d.push(b.write(0)), "full");
    check(d.push(b.write(1)), "full");
    b.take(d.pop());
    b.take(d.pop());
    check(d.push(b.write(2)), "full");
    b.take(d.pop());
  });
  for (int t = 0; t < 2; ++t) {
    w.thread([&] { b.take(d.steal()); });
  }
  w.at_end([&] {
    while (item* i = d.pop()) b.take(i);
    b.all_taken();
  });
}

TEST(FreshDequeModel, TheLastOneIsTakenOnce) {
  const outcome o = explore(last_one);
  EXPECT_EQ(o.violation, "") << o.trace;
  EXPECT_TRUE(o.complete);
  EXPECT_GT(o.states, 1000U);
}

TEST(FreshDequeModel, BreaksWhenTheOwnersClaimOfTheLastIsNotInTheOneOrder) {
  const mutant m{"::pop", op::store, memory_order::seq_cst, memory_order::release};
  EXPECT_NE(explore(last_one, {m}).violation, "");
}

TEST(FreshDequeModel, BreaksWhenTheOwnerLooksForThievesOutsideTheOneOrder) {
  const mutant m{"::pop", op::load, memory_order::seq_cst, memory_order::acquire};
  EXPECT_NE(explore(last_one, {m}).violation, "");
}

TEST(FreshDequeModel, BreaksWhenAThiefLooksOutsideTheOneOrder) {
  const mutant m{"::steal", op::load, memory_order::seq_cst, memory_order::acquire};
  EXPECT_NE(explore(last_one, {m}).violation, "");
}

TEST(FreshDequeModel, BreaksWhenATailIsPublishedWithoutRelease) {
  const mutant m{"::push", op::store, memory_order::release, memory_order::relaxed};
  EXPECT_NE(explore(last_one, {m}).violation, "");
}

}  // namespace
