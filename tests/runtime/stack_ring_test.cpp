// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack_ring.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <random>

namespace {

using weft::detail::stack_ring;

TEST(StackRing, TheNewestIsUsedAndTheOldestGivenUp) {
  stack_ring ring;
  ASSERT_TRUE(ring.reserve(3));
  for (std::uint32_t n = 1; n <= 3; ++n) ring.push(n);
  EXPECT_EQ(ring.size(), 3U);
  EXPECT_EQ(ring.pop_newest(), 3U);
  EXPECT_EQ(ring.pop_oldest(), 1U);
  EXPECT_EQ(ring.pop_newest(), 2U);
  EXPECT_EQ(ring.size(), 0U);
}

TEST(StackRing, KeepsItsOrderWhileItWrapsAndGrows) {
  stack_ring ring;
  std::deque<std::uint32_t> model;
  std::minstd_rand random(7);  // the same numbers in every run
  std::uint32_t next = 0;
  for (std::size_t room = 4000; room <= 40'000; room += 4000) {
    ASSERT_TRUE(ring.reserve(room));
    for (int step = 0; step < 50'000; ++step) {
      const auto kind = random() % 4;
      if (kind <= 1 && model.size() < room) {
        ring.push(next);
        model.push_back(next++);
      } else if (kind == 2 && !model.empty()) {
        ASSERT_EQ(ring.pop_oldest(), model.front());
        model.pop_front();
      } else if (kind == 3 && !model.empty()) {
        ASSERT_EQ(ring.pop_newest(), model.back());
        model.pop_back();
      }
      ASSERT_EQ(ring.size(), model.size());
    }
    while (model.size() < room) {  // full when it grows
      ring.push(next);
      model.push_back(next++);
    }
    for (std::size_t i = 0; i < room / 2; ++i) {
      ASSERT_EQ(ring.pop_oldest(), model.front());
      model.pop_front();
      ring.push(next);
      model.push_back(next++);
    }
  }
}

TEST(StackRing, WithoutMemoryItStaysAsItIs) {
  stack_ring ring;
  ASSERT_TRUE(ring.reserve(1));
  ring.push(5);
  EXPECT_FALSE(ring.reserve(std::size_t{1} << 60));
  EXPECT_EQ(ring.size(), 1U);
  EXPECT_EQ(ring.pop_newest(), 5U);
}

}  // namespace
