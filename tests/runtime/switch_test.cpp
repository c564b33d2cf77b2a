// SPDX-License-Identifier: Apache-2.0
// The switch itself: what lives in registers before it is there after it, on whatever thread the
// fiber comes back.
#include <gtest/gtest.h>

#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include <weft/detail/switch.hpp>
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

#if !(WEFT_ASAN || WEFT_TSAN)  // which do not know the second stack
using weft::detail::switch_frame;
using weft::detail::switch_stack;

// A fiber switches right after a call, so what it needs later is mostly in memory by then. Here
// values live over nothing but the switch: in any register that it forgets to name.
template <class T>
WEFT_NOINLINE T sum_over_a_switch(switch_frame* from, switch_frame* to, const T* v) {
  v = weft::detail::launder_ptr(v);  // the values are not known here
  const T a = v[0], b = v[1], c = v[2], d = v[3], e = v[4], f = v[5], g = v[6], h = v[7];
  switch_stack(from, to);
  return a + b * 3 + c * 5 + d * 7 + e * 9 + f * 11 + g * 13 + h * 17;
}

template <class T>
struct two_sides {
  static inline switch_frame here;
  static inline switch_frame there;
  static inline T sum_there = 0;
  static constexpr T ours[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  static constexpr T theirs[8] = {70, 60, 50, 40, 30, 20, 10, 90};

  static void other_side() {
    for (;;) sum_there = sum_over_a_switch(&there, &here, theirs);
  }

  static void run() {
    constexpr std::size_t size = 64U << 10;
    const auto stack = std::make_unique<char[]>(size);
    auto top = (reinterpret_cast<std::uintptr_t>(stack.get()) + size) & ~std::uintptr_t{63};
#if defined(__x86_64__)
    top -= sizeof(void*);  // as if called
    *reinterpret_cast<void**>(top) = nullptr;
#endif
    there.sp = reinterpret_cast<void*>(top);
    there.pc = reinterpret_cast<void*>(&other_side);
    for (int round = 0; round < 3; ++round) {
      EXPECT_EQ(sum_over_a_switch(&here, &there, ours), T(388));
    }
    EXPECT_EQ(sum_there, T(2930));
  }
};

TEST(Switch, ForgetsNoRegister) {
  two_sides<std::int64_t>::run();
  two_sides<double>::run();
}
#endif

}  // namespace
