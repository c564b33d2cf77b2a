// SPDX-License-Identifier: Apache-2.0
// arena: memory that is whole and aligned, given back all at once, and used again.
#include <weft/arena.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory_resource>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#include <weft/pool.hpp>

#include "tests/chan/heap_count.hpp"
#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;

class Arena : public both_worlds {};
WEFT_BOTH_WORLDS(Arena);

/// Counts what is taken from it and given back.
class counting_resource : public std::pmr::memory_resource {
 public:
  std::size_t bytes = 0;
  std::size_t blocks = 0;

 private:
  void* do_allocate(std::size_t n, std::size_t align) override {
    bytes += n;
    ++blocks;
    return ::operator new(n, std::align_val_t{align});
  }
  void do_deallocate(void* p, std::size_t n, std::size_t align) override {
    bytes -= n;
    --blocks;
    ::operator delete(p, std::align_val_t{align});
  }
  [[nodiscard]] bool do_is_equal(const memory_resource& other) const noexcept override {
    return this == &other;
  }
};

TEST_P(Arena, BlocksAreAlignedAndApart) {
  run([] {
    weft::arena a;
    struct block {
      unsigned char* p;
      std::size_t size;
      unsigned char fill;
    };
    for (int round = 0; round < 3; ++round) {
      std::vector<block> blocks;
      unsigned char fill = 0;
      for (std::size_t size = 1; size < 40'000; size += 1 + size / 5) {
        for (const std::size_t align : {1U, 8U, 64U, 4096U, 65536U}) {
          auto* p = static_cast<unsigned char*>(a.allocate(size, align));
          EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % align, 0U);
          std::memset(p, ++fill, size);
          blocks.push_back({p, size, fill});
        }
      }
      for (const block& b : blocks) {
        for (std::size_t i = 0; i < b.size; ++i) ASSERT_EQ(b.p[i], b.fill);
      }
      EXPECT_GT(a.stats().large_blocks, 0U);
      a.reset();
      EXPECT_EQ(a.stats().large_blocks, 0U);
    }
  });
}

TEST_P(Arena, HoldsStandardContainers) {
  run([] {
    weft::arena a;
    for (int round = 0; round < 5; ++round) {
      {
        std::pmr::vector<std::pmr::string> words(&a);
        for (int i = 0; i < 1000; ++i) words.emplace_back(std::to_string(i) + std::string(30, 'x'));
        for (int i = 0; i < 1000; ++i) {
          EXPECT_TRUE(words[static_cast<std::size_t>(i)].starts_with(std::to_string(i)));
        }
      }
      a.reset();
    }
    EXPECT_EQ(a.stats().resets, 5U);
    EXPECT_EQ(a.stats().used, 0U);
    EXPECT_GT(a.stats().peak_used, 30'000U);
  });
}

TEST(ArenaMemory, AResetGivesTheSameMemoryAgain) {
  weft::arena a;
  void* first = a.allocate(100, 16);
  for (int i = 0; i < 100; ++i) static_cast<void>(a.allocate(1000, 8));
  const std::size_t held = a.stats().reserved;
  a.reset();
  EXPECT_EQ(a.stats().reserved, held);
  EXPECT_EQ(a.allocate(100, 16), first);
  for (int i = 0; i < 100; ++i) static_cast<void>(a.allocate(1000, 8));
  EXPECT_EQ(a.stats().reserved, held);
  a.release();
  EXPECT_EQ(a.stats().reserved, 0U);
  EXPECT_EQ(a.stats().chunks, 0U);
}

TEST(ArenaMemory, ChunksDoubleUpToTheLargestAndResetKeepsWhatItIsTold) {
  weft::arena a({.first_chunk = 4096, .max_chunk = 16384, .keep = 12288});
  std::vector<std::size_t> steps;
  for (int i = 0; i < 400; ++i) {
    static_cast<void>(a.allocate(200, 8));
    if (steps.empty() || steps.back() != a.stats().reserved) steps.push_back(a.stats().reserved);
  }
  ASSERT_GE(steps.size(), 5U);
  EXPECT_EQ(steps[0], 4096U);
  EXPECT_EQ(steps[1], 4096U + 8192U);
  EXPECT_EQ(steps[2], 4096U + 8192U + 16384U);
  EXPECT_EQ(steps[3], 4096U + 8192U + 2 * 16384U);
  a.reset();
  EXPECT_EQ(a.stats().reserved, 12288U);
}

TEST(ArenaMemory, TheLastAllocationCanBeTakenBack) {
  weft::arena a;
  void* first = a.allocate(100, 8);
  void* second = a.allocate(100, 8);
  a.deallocate(first, 100, 8);  // stays: it is not the last
  a.deallocate(second, 100, 8);
  EXPECT_EQ(a.allocate(100, 8), second);
  EXPECT_EQ(a.stats().used, 200U + 4U);  // 100 is 4 short of the next multiple of 8
}

TEST(ArenaMemory, LargeBlocksGoBackAtOnce) {
  weft::arena a;
  const std::size_t before = a.stats().reserved;
  void* p = a.allocate(1 << 20, 64);
  EXPECT_EQ(a.stats().large_blocks, 1U);
  EXPECT_GE(a.stats().used, 1U << 20);
  void* q = a.allocate(1 << 20, 8);
  a.deallocate(p, 1 << 20, 64);
  EXPECT_EQ(a.stats().large_blocks, 1U);
  a.deallocate(q, 1 << 20, 8);
  EXPECT_EQ(a.stats().reserved, before);
  EXPECT_EQ(a.stats().used, 0U);
  EXPECT_GE(a.stats().peak_used, 2U << 20);
}

TEST(ArenaMemory, SizesBeyondAllMemoryThrowAndChangeNothing) {
  weft::arena a;
  static_cast<void>(a.allocate(10, 8));
  const weft::arena_stats before = a.stats();
  // volatile: the compiler would warn of what is meant here
  volatile std::size_t most = std::numeric_limits<std::size_t>::max();
  for (const std::size_t less : {0U, 1U, 7U, 63U, 100U, 5000U}) {
    EXPECT_THROW(static_cast<void>(a.allocate(most - less, 8)), std::bad_alloc);
  }
  EXPECT_THROW(static_cast<void>(a.allocate(most / 2 - 10, 64)), std::bad_alloc);
  EXPECT_THROW(static_cast<void>(a.make_array<std::uint64_t>(most / 4)), std::bad_array_new_length);
  EXPECT_EQ(a.stats().reserved, before.reserved);
  EXPECT_EQ(a.stats().used, before.used);
  EXPECT_NE(a.allocate(10, 8), nullptr);
}

TEST(ArenaMemory, NothingIsAPlaceToo) {
  weft::arena a;
  void* p = a.allocate(0, 1);
  void* q = a.allocate(0, 1);
  EXPECT_NE(p, nullptr);
  EXPECT_NE(p, q);
  a.deallocate(q, 0, 1);
  EXPECT_EQ(a.allocate(0, 1), q);
}

TEST(ArenaMemory, ALimitIsKept) {
  weft::arena a({.limit = 20'000});
  std::size_t got = 0;
  EXPECT_THROW(
      for (;;) {
        static_cast<void>(a.allocate(500, 8));
        got += 500;
      },
      std::bad_alloc);
  EXPECT_GT(got, 8'000U);
  EXPECT_LE(a.stats().reserved, 20'000U);
  EXPECT_THROW(static_cast<void>(a.allocate(1 << 20, 8)), std::bad_alloc);
  a.reset();
  EXPECT_NE(a.allocate(500, 8), nullptr);
}

TEST(ArenaMemory, TakesFromItsUpstreamAndGivesAllBack) {
  counting_resource upstream;
  {
    weft::arena a({.keep = 8192, .upstream = &upstream});
    for (int round = 0; round < 3; ++round) {
      for (int i = 0; i < 100; ++i) static_cast<void>(a.allocate(1000, 8));
      static_cast<void>(a.allocate(1 << 20, 8));
      EXPECT_GE(upstream.bytes, 1'100'000U);
      EXPECT_EQ(upstream.bytes, a.stats().reserved);
      a.reset();
      EXPECT_LE(upstream.bytes, 8192U);
    }
  }
  EXPECT_EQ(upstream.blocks, 0U);
}

TEST(ArenaMemory, AFirstBufferOfTheCallersComesFirst) {
  alignas(16) std::array<std::byte, 1024> room{};
  weft::arena a(room);
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 8; ++i) {
      auto* p = static_cast<std::byte*>(a.allocate(100, 4));
      EXPECT_TRUE(p >= room.data() && p + 100 <= room.data() + room.size());
    }
    EXPECT_EQ(a.stats().chunks, round == 0 ? 0U : 1U);
    auto* beyond = static_cast<std::byte*>(a.allocate(300, 4));
    EXPECT_FALSE(beyond >= room.data() && beyond < room.data() + room.size());
    EXPECT_EQ(a.stats().chunks, 1U);
    a.reset();
  }
}

struct tallied {
  static inline int destroyed = 0;
  int value;
  explicit tallied(int v) : value(v) {}
  ~tallied() { ++destroyed; }
};

TEST(ArenaMemory, MakesObjectsAndDestroysNone) {
  weft::arena a;
  tallied* t = a.make<tallied>(4);
  EXPECT_EQ(t->value, 4);
  const std::span<int> zeros = a.make_array<int>(100);
  EXPECT_EQ(zeros.size(), 100U);
  for (const int z : zeros) EXPECT_EQ(z, 0);
  EXPECT_TRUE(a.make_array<int>(0).empty());
  a.reset();
  EXPECT_EQ(tallied::destroyed, 0);
}

TEST(ArenaMemory, IsEqualToItselfOnly) {
  weft::arena a;
  weft::arena b;
  EXPECT_TRUE(a.is_equal(a));
  EXPECT_FALSE(a.is_equal(b));
}

// One request after the other, on whatever thread.
TEST_P(Arena, MovesWithItsUser) {
  run([] {
    weft::arena a;
    for (int i = 0; i < 10; ++i) {
      std::thread([&a] {
        std::pmr::vector<int> v(&a);
        for (int k = 0; k < 1000; ++k) v.push_back(k);
      }).join();
      weft::yield();
      a.reset();
    }
  });
}

// Chunks come and go through the caches of all Ps.
TEST_P(Arena, ManyAtOnceStress) {
  run([] {
    weft::pool<weft::arena> arenas({.reset = [](weft::arena& a) { a.reset(); }});
    crew crowd(in_fibers());
    for (int f = 0; f < 8; ++f) {
      crowd.start([&arenas, f] {
        for (int i = 0; i < scaled(500); ++i) {
          auto pooled = arenas.get();
          weft::arena fresh;
          for (weft::arena* a : {pooled.get(), &fresh}) {
            std::pmr::vector<int> v(a);
            for (int k = 0; k < 300 * (1 + i % 5); ++k) v.push_back(f);
            if (i % 4 == 0) weft::yield();
            for (const int k : v) ASSERT_EQ(k, f);
          }
        }
      });
    }
    crowd.join();
    EXPECT_EQ(arenas.stats().out, 0U);
  });
}

TEST_P(Arena, OfAPoolTakesNothingFromTheHeapInSteadyState) {
  run([] {
    weft::pool<weft::arena> arenas({.reset = [](weft::arena& a) { a.reset(); }});
    const auto serve = [&arenas] {
      for (int i = 0; i < 100; ++i) {
        auto a = arenas.get();
        std::pmr::vector<int> v(a.get());
        for (int k = 0; k < 2000; ++k) v.push_back(k);
        weft::arena own;  // its chunks are recycled too
        static_cast<void>(own.allocate(3000, 8));
      }
    };
    serve();
    long least = -1;
    for (int k = 0; k < 10 && least != 0; ++k) {
      const long taken = heap_blocks_of(serve);
      least = least < 0 || taken < least ? taken : least;
    }
    EXPECT_EQ(least, 0);
  });
}

}  // namespace
