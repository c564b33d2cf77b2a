// SPDX-License-Identifier: Apache-2.0
#include "chan/block_pool.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "tests/chan/support.hpp"

namespace {

using weft::detail::block_alloc;
using weft::detail::block_free;

TEST(BlockPool, BlocksAreAlignedAndApart) {
  std::vector<std::pair<char*, std::size_t>> blocks;
  for (std::size_t size = 1; size < 2000; size += 61) {
    for (int i = 0; i < 20; ++i) {
      auto* p = static_cast<char*>(block_alloc(size));
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % 64, 0U);
      std::memset(p, static_cast<int>(size % 251), size);
      blocks.emplace_back(p, size);
    }
  }
  for (auto [p, size] : blocks) {
    for (std::size_t i = 0; i < size; ++i) ASSERT_EQ(p[i], static_cast<char>(size % 251));
    block_free(p, size);
  }
}

TEST(BlockPool, OverAlignedBlocks) {
  for (const std::size_t align : {128U, 1024U, 4096U}) {
    void* p = block_alloc(40, align);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % align, 0U);
    block_free(p, 40, align);
  }
}

// One thread makes, the other drops: blocks come round through the global list.
TEST(BlockPool, BlocksWanderBetweenThreadsStress) {
  const int rounds = weft_test::scaled(200);
  for (int r = 0; r < rounds; ++r) {
    std::vector<void*> blocks;
    for (int i = 0; i < 200; ++i) blocks.push_back(block_alloc(200));
    std::thread([&] {
      for (void* p : blocks) block_free(p, 200);
    }).join();
  }
}

}  // namespace
