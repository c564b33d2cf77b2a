// SPDX-License-Identifier: Apache-2.0
// sched/fresh_deque.hpp, the very code, in every interleaving of small programs. The race that
// matters is for the last few.
#include "sched/fresh_deque.hpp"

#include <gtest/gtest.h>

#include <array>

#include "tests/model/books.hpp"

namespace {

using namespace weft_model;
using std::memory_order;

struct model_memory {
  template <class Slot>
  static Slot* acquire(std::size_t n) {
    return new Slot[n];
  }
  template <class Slot>
  static void release(Slot* slots, std::size_t) {
    delete[] slots;
  }
};

struct no_barrier : model_sync {
  static void heavy_barrier() noexcept {}
};

// A kernel without membarrier: both sides pay.
struct fences : model_sync {
  static void light_barrier() noexcept { seq_cst_fence(); }
  static void heavy_barrier() noexcept { seq_cst_fence(); }
};

struct no_lock : model_sync {
  struct lock_type {
    void lock() {}
    static bool try_lock() { return true; }
    void unlock() {}
  };
};

template <class Sync, std::uint32_t Initial = 4>
using deque = weft::detail::basic_fresh_deque<Sync, item, Initial, model_memory>;

template <class D, std::size_t N>
void steal(D& d, books<N>& b, std::uint32_t most) {
  std::array<item*, 4> got{};
  const std::uint32_t n = d.steal(got.data(), most);
  check(n <= most, "more than asked for");
  for (std::uint32_t i = 0; i < n; ++i) b.take(got[i]);
}

template <class D, std::size_t N>
void rest(world& w, D& d, books<N>& b) {
  w.at_end([&] {
    while (item* i = d.pop()) b.take(i);
    b.all_taken();
  });
}

// The owner pushes two, takes two, pushes one more; two thieves take what they can get.
template <class Sync>
void last_one(world& w) {
  auto& d = w.make<deque<Sync>>();
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
    w.thread([&] { steal(d, b, 4); });
  }
  rest(w, d, b);
}

// A thief announces two of three, and the owner takes them from under its hands.
template <class Sync>
void batch(world& w) {
  auto& d = w.make<deque<Sync>>();
  auto& b = w.make<books<4>>();
  w.thread([&] {
    for (int i = 0; i < 3; ++i) check(d.push(b.write(i)), "full");
    for (int i = 0; i < 2; ++i) b.take(d.pop());
    check(d.push(b.write(3)), "full");
  });
  w.thread([&] { steal(d, b, 4); });
  rest(w, d, b);
}

// The array grows, and is given back, while somebody steals.
void burst(world& w) {
  auto& d = w.make<deque<model_sync, 2>>();
  auto& b = w.make<books<4>>();
  w.thread([&] {
    for (int i = 0; i < 3; ++i) check(d.push(b.write(i)), "full");
    while (item* i = d.pop()) b.take(i);
    d.trim();
    check(d.push(b.write(3)), "full");
    b.take(d.take_oldest());
  });
  w.thread([&] { steal(d, b, 1); });
  rest(w, d, b);
}

TEST(FreshDequeModel, TheLastOneIsTakenOnce) { EXPECT_EQ(problem_with(last_one<model_sync>), ""); }

TEST(FreshDequeModel, ABatchIsTakenOnce) { EXPECT_EQ(problem_with(batch<model_sync>), ""); }

TEST(FreshDequeModel, TheSameWithFencesInPlaceOfMembarrier) {
  EXPECT_EQ(problem_with(last_one<fences>), "");
  EXPECT_EQ(problem_with(batch<fences>), "");
}

TEST(FreshDequeModel, GrowsAndShrinksUnderAThief) { EXPECT_EQ(problem_with(burst), ""); }

TEST(FreshDequeModel, BreaksWithoutTheThiefsBarrier) {
  EXPECT_NE(explore(last_one<no_barrier>).violation, "");
}

TEST(FreshDequeModel, BreaksWhenThievesDoNotExcludeEachOther) {
  EXPECT_NE(explore(last_one<no_lock>).violation, "");
}

TEST(FreshDequeModel, BreaksWhenALoweredTailIsNotARelease) {
  const mutant m{"::try_pop", op::store, memory_order::release, memory_order::relaxed};
  EXPECT_NE(explore(batch<fences>, {m}).violation, "");
}

TEST(FreshDequeModel, BreaksWhenAThiefReadsTailWithoutAcquire) {
  const mutant m{"::steal", op::load, memory_order::acquire, memory_order::relaxed};
  EXPECT_NE(explore(last_one<model_sync>, {m}).violation, "");
}

TEST(FreshDequeModel, BreaksWhenATailIsPublishedWithoutRelease) {
  const mutant m{"::put", op::store, memory_order::release, memory_order::relaxed};
  EXPECT_NE(explore(last_one<model_sync>, {m}).violation, "");
}

}  // namespace
