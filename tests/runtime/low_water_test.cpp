// SPDX-License-Identifier: Apache-2.0
#include "runtime/low_water.hpp"

#include <gtest/gtest.h>

namespace {

using weft::detail::low_water;

std::size_t give_up_all(low_water& w) {
  std::size_t n = 0;
  while (w.give_up()) ++n;
  return n;
}

TEST(LowWater, NothingIsUnwantedBeforeAPeriodIsOver) {
  low_water w;
  w.add(10);
  EXPECT_FALSE(w.some_unwanted());
  w.end_period();  // they came during this one
  EXPECT_EQ(give_up_all(w), 0U);
  w.end_period();
  EXPECT_EQ(give_up_all(w), 10U);
  EXPECT_EQ(w.have(), 0U);
}

TEST(LowWater, WhatIsTakenAndPutBackDuringAPeriodStays) {
  low_water w;
  w.add(10);
  w.end_period();
  for (int i = 0; i < 7; ++i) w.take();
  w.add(7);
  w.end_period();
  EXPECT_EQ(give_up_all(w), 3U);
  EXPECT_EQ(w.have(), 7U);
  w.end_period();
  EXPECT_EQ(give_up_all(w), 7U);
}

TEST(LowWater, NeverGivesUpMoreThanThereIs) {
  low_water w;
  w.add(10);
  w.end_period();
  w.end_period();
  for (int i = 0; i < 8; ++i) w.take();
  EXPECT_EQ(give_up_all(w), 2U);
  EXPECT_FALSE(w.some_unwanted());
}

TEST(LowWater, KeepsAReserveWhenAsked) {
  low_water w;
  w.add(10);
  w.keep_only(4);
  EXPECT_EQ(give_up_all(w), 6U);
  w.keep_only(8);
  EXPECT_EQ(give_up_all(w), 0U);
  EXPECT_EQ(w.have(), 4U);
}

}  // namespace
