// SPDX-License-Identifier: Apache-2.0
// The switch itself: what lives in registers before it is there after it, on whatever thread the
// fiber comes back.
#include <gtest/gtest.h>

#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include <weft/fiber.hpp>
#include <weft/run.hpp>

namespace {

// Many live values of every register class across each yield.
template <class T>
T torture(T seed, int rounds) {
  T a = seed, b = seed + 1, c = seed + 2, d = seed + 3, e = seed + 4, f = seed + 5, g = seed + 6,
    h = seed + 7, i = seed + 8, j = seed + 9, k = seed + 10, l = seed + 11;
  for (int r = 0; r < rounds; ++r) {
    weft::yield();
    a = a + b - c;
    d = d + e - f;
    g = g + h - i;
    j = j + k - l;
    weft::yield();
    b = b + T(1);
    e = e + T(1);
    h = h + T(1);
    k = k + T(1);
  }
  return a + b + c + d + e + f + g + h + i + j + k + l;
}

template <class T>
T expected(T seed, int rounds) {
  T a = seed, b = seed + 1, c = seed + 2, d = seed + 3, e = seed + 4, f = seed + 5, g = seed + 6,
    h = seed + 7, i = seed + 8, j = seed + 9, k = seed + 10, l = seed + 11;
  for (int r = 0; r < rounds; ++r) {
    a = a + b - c;
    d = d + e - f;
    g = g + h - i;
    j = j + k - l;
    b = b + T(1);
    e = e + T(1);
    h = h + T(1);
    k = k + T(1);
  }
  return a + b + c + d + e + f + g + h + i + j + k + l;
}

TEST(Switch, KeepsIntegerFloatAndLongDoubleRegisters) {
  weft::run([] {
    std::vector<weft::fiber> fibers;
    std::vector<int> good(24, 0);
    for (int n = 0; n < 8; ++n) {
      fibers.push_back(weft::spawn([&good, n] {
        good[static_cast<std::size_t>(n)] =
            torture<std::int64_t>(n, 200) == expected<std::int64_t>(n, 200);
      }));
      fibers.push_back(weft::spawn([&good, n] {
        good[static_cast<std::size_t>(n + 8)] =
            torture<double>(n * 0.5, 200) == expected<double>(n * 0.5, 200);
      }));
      fibers.push_back(weft::spawn([&good, n] {
        good[static_cast<std::size_t>(n + 16)] =
            torture<long double>(n, 200) == expected<long double>(n, 200);
      }));
    }
    for (auto& f : fibers) f.join();
    for (int g : good) EXPECT_EQ(g, 1);
  });
}

TEST(Switch, KeepsOverAlignedFramesAndDynamicStackMemory) {
  weft::run([] {
    std::vector<weft::fiber> fibers;
    for (int n = 1; n <= 8; ++n) {
      fibers.push_back(weft::spawn([n] {
        alignas(128) volatile char aligned[256];
        auto* dynamic = static_cast<char*>(__builtin_alloca(static_cast<std::size_t>(n) * 64));
        std::memset(dynamic, n, static_cast<std::size_t>(n) * 64);
        for (int i = 0; i < 256; ++i) aligned[i] = static_cast<char>(n);
        for (int r = 0; r < 50; ++r) {
          weft::yield();
          EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&aligned[0]) % 128, 0U);
          EXPECT_EQ(aligned[r], static_cast<char>(n));
          EXPECT_EQ(dynamic[n * 64 - 1], static_cast<char>(n));
        }
      }));
    }
    for (auto& f : fibers) f.join();
  });
}

// glibc declares __errno_location const, so a compiler may keep errno's address over a switch
// within one function (docs: the rules page); code that reads errno after a park does so in another
// one.
WEFT_NOINLINE int read_errno() { return errno; }
WEFT_NOINLINE void write_errno(int value) { errno = value; }

TEST(Switch, ErrnoBelongsToTheFiber) {
  weft::run([] {
    std::vector<weft::fiber> fibers;
    for (int n = 1; n <= 16; ++n) {
      fibers.push_back(weft::spawn([n] {
        for (int r = 0; r < 100; ++r) {
          write_errno(n * 1000 + r);
          weft::yield();
          EXPECT_EQ(read_errno(), n * 1000 + r);
        }
      }));
    }
    for (auto& f : fibers) f.join();
  });
}

}  // namespace
