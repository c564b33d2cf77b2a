// SPDX-License-Identifier: Apache-2.0
#include "runtime/slabs.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <vector>

namespace {

using weft::detail::slab_id;
using weft::detail::slab_set;
using weft::detail::slab_supply;

constexpr std::size_t size = 1024;
constexpr std::size_t link = 8;  // not at the start

// All objects of one supply, dirtied.
std::vector<char*> take(slab_set& set) {
  slab_supply got;
  EXPECT_TRUE(set.supply(&got));
  std::vector<char*> objects;
  for (char* p = got.begin; p != got.end; p += size) {
    EXPECT_TRUE(std::all_of(p, p + size, [](char c) { return c == 0; }));
    objects.push_back(p);
  }
  for (auto* p = static_cast<char*>(got.list); p != nullptr;) {
    objects.push_back(p);
    std::memcpy(&p, p + link, sizeof(p));
  }
  for (char* p : objects) std::memset(p, 0x5a, size);
  return objects;
}

TEST(Slabs, ASlabLosesItsPagesWhenItsLastObjectIsFiled) {
  slab_set set(size, link);
  std::vector<char*> objects = take(set);
  ASSERT_EQ(objects.size(), set.objects_a_slab());
  const char* base = objects.front();
  for (std::size_t i = 0; i + 1 < objects.size(); ++i) EXPECT_EQ(set.file(objects[i]), 0U);
  EXPECT_FALSE(weft::detail::is_empty_slab(base));
  const slab_id whole = set.file(objects.back());
  ASSERT_NE(whole, 0U);
  weft::detail::slab_give_back(whole);
  set.add_empty(whole);
  EXPECT_TRUE(weft::detail::is_empty_slab(base));
  EXPECT_EQ(base[0], 0);
  // It comes first, and zeroed: take() looks.
  EXPECT_EQ(take(set).front(), base);
  EXPECT_FALSE(weft::detail::is_empty_slab(base));
}

TEST(Slabs, FiledObjectsComeBackBeforeOthers) {
  slab_set set(size, link);
  const std::vector<char*> first = take(set);
  const std::vector<char*> second = take(set);
  const std::set<char*> filed = {first[3], first[7], second[5]};
  for (char* p : filed) EXPECT_EQ(set.file(p), 0U);
  std::set<char*> back;
  while (back.size() < filed.size()) {
    for (char* p : take(set)) back.insert(p);
  }
  EXPECT_EQ(back, filed);
}

TEST(Slabs, OneThatWasEmptiedAndUsedAgainCanBeEmptiedAgain) {
  slab_set set(size, link);
  for (int round = 0; round < 3; ++round) {
    const std::vector<char*> objects = take(set);
    ASSERT_EQ(objects.size(), set.objects_a_slab());
    slab_id whole = 0;
    for (char* p : objects) whole = set.file(p);
    ASSERT_NE(whole, 0U);
    weft::detail::slab_give_back(whole);
    set.add_empty(whole);
  }
}

}  // namespace
