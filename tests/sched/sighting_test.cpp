// SPDX-License-Identifier: Apache-2.0
// When fresh fibers of another P are ripe to be taken.
#include "sched/sighting.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>

namespace {

using weft::detail::fiber_core;
using weft::detail::processor;
using weft::detail::sighting;

struct SightingTest : testing::Test {
  SightingTest() {
    for (processor* p : {a.get(), b.get()}) {
      for (fiber_core& g : *fibers) EXPECT_TRUE(p->fresh.push(&g));
    }
  }
  void dispatch(processor& p) { p.budget.store(p.budget.load() - 1); }

  std::unique_ptr<processor> mine = std::make_unique<processor>();
  std::unique_ptr<processor> a = std::make_unique<processor>();
  std::unique_ptr<processor> b = std::make_unique<processor>();
  std::unique_ptr<std::array<fiber_core, 4>> fibers = std::make_unique<std::array<fiber_core, 4>>();
  sighting eye;
};

TEST_F(SightingTest, AnOldestThatStaysIsRipeInTime) {
  EXPECT_FALSE(eye.is_ripe(a.get(), mine.get(), 0));
  EXPECT_FALSE(eye.is_ripe(a.get(), mine.get(), sighting::ripe_beside_long_ns - 1));
  EXPECT_TRUE(eye.is_ripe(a.get(), mine.get(), sighting::ripe_beside_long_ns));
  dispatch(*a);
  EXPECT_FALSE(eye.is_ripe(a.get(), mine.get(), sighting::ripe_ns - 1));
  EXPECT_TRUE(eye.is_ripe(a.get(), mine.get(), sighting::ripe_ns));
}

TEST_F(SightingTest, AnotherOldestOrAnEmptyMomentBeginsAnew) {
  EXPECT_FALSE(eye.is_ripe(a.get(), mine.get(), 0));
  EXPECT_NE(a->fresh.take_oldest(), nullptr);
  EXPECT_FALSE(eye.is_ripe(a.get(), mine.get(), sighting::ripe_ns));
  while (fiber_core* g = a->fresh.pop()) EXPECT_NE(g, nullptr);
  for (fiber_core& g : *fibers) EXPECT_TRUE(a->fresh.push(&g));
  EXPECT_FALSE(eye.is_ripe(a.get(), mine.get(), 2 * sighting::ripe_ns));
  EXPECT_TRUE(eye.is_ripe(a.get(), mine.get(), 3 * sighting::ripe_ns));
}

// With several Ps that have something, each look at another must not start the time anew.
TEST_F(SightingTest, TwoThatAreLookedAtInTurnAreNotForgottenForEachOther) {
  bool ripe = false;
  for (std::int64_t now = 0; now <= sighting::ripe_ns; now += 1000) {
    ripe = eye.is_ripe(b.get(), mine.get(), now) || ripe;
    ripe = eye.is_ripe(a.get(), mine.get(), now) || ripe;
  }
  EXPECT_TRUE(ripe);
}

TEST_F(SightingTest, OneThatHasNothingMoreOrIsOursMakesRoom) {
  EXPECT_FALSE(eye.is_ripe(a.get(), mine.get(), 0));
  EXPECT_FALSE(eye.is_ripe(b.get(), a.get(), 1));  // the M has a now
  EXPECT_TRUE(eye.is_ripe(b.get(), a.get(), 1 + sighting::ripe_ns));
  while (b->fresh.pop() != nullptr) {
  }
  EXPECT_FALSE(eye.is_ripe(a.get(), mine.get(), 2 * sighting::ripe_ns));
  EXPECT_TRUE(eye.is_ripe(a.get(), mine.get(), 3 * sighting::ripe_ns));
}

}  // namespace
