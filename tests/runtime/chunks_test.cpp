// SPDX-License-Identifier: Apache-2.0
#include "runtime/chunks.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace {

using weft::detail::chunk_bytes;
using weft::detail::chunk_map;
using weft::detail::chunk_unmap;
using weft::detail::chunk_use;
using weft::detail::find_chunk;

TEST(Chunks, AreAlignedAndFoundByEachOfTheirAddresses) {
  std::vector<char*> chunks;
  for (std::uint32_t i = 0; i < 5; ++i) {
    char* base = chunk_map({chunk_use::slabs, 1000 + i}, "test");
    ASSERT_NE(base, nullptr);
    EXPECT_EQ(weft::detail::offset_in_chunk(base), 0U);
    base[0] = base[chunk_bytes - 1] = 1;
    chunks.push_back(base);
  }
  for (std::uint32_t i = 0; i < 5; ++i) {
    for (const std::size_t at : {std::size_t{0}, chunk_bytes / 2, chunk_bytes - 1}) {
      EXPECT_EQ(find_chunk(chunks[i] + at).use, chunk_use::slabs);
      EXPECT_EQ(find_chunk(chunks[i] + at).index, 1000 + i);
    }
  }
  for (char* base : chunks) chunk_unmap(base);
}

TEST(Chunks, AreNotFoundBeforeAndAfterTheirLife) {
  int local = 0;
  EXPECT_EQ(find_chunk(&local).use, chunk_use::none);
  EXPECT_EQ(find_chunk(nullptr).use, chunk_use::none);
  EXPECT_EQ(find_chunk(reinterpret_cast<const void*>(~std::uintptr_t{0})).use, chunk_use::none);
  char* base = chunk_map({chunk_use::stacks, 7}, "test");
  ASSERT_NE(base, nullptr);
  EXPECT_EQ(find_chunk(base).use, chunk_use::stacks);
  chunk_unmap(base);
  EXPECT_EQ(find_chunk(base).use, chunk_use::none);
}

}  // namespace
