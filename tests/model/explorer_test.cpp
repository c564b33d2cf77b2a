// SPDX-License-Identifier: Apache-2.0
// The explorer itself: the litmus tests of the field, what the memory model allows and forbids.
#include "tests/model/explorer.hpp"

#include <gtest/gtest.h>

#include "tests/model/atomic.hpp"

namespace {

using namespace weft_model;
using std::memory_order;

struct shared {
  atomic<int> x{0};
  atomic<int> y{0};
  plain<int> data{0};
  int seen[2] = {-1, -1};
};

enum class between : std::uint8_t { nothing, fences, one_heavy, seq_cst };

// Store buffering: each stores, then reads the other's.
template <between What>
outcome store_buffering() {
  return explore([](world& w) {
    auto& s = w.make<shared>();
    constexpr auto order = What == between::seq_cst ? memory_order::seq_cst : memory_order::relaxed;
    w.thread([&] {
      s.x.store(1, order);
      if (What == between::fences) seq_cst_fence();
      if (What == between::one_heavy) heavy_barrier();
      s.seen[0] = s.y.load(order);
    });
    w.thread([&] {
      s.y.store(1, order);
      if (What == between::fences) seq_cst_fence();
      s.seen[1] = s.x.load(order);
    });
    w.at_end([&] { check(s.seen[0] + s.seen[1] != 0, "neither saw the other"); });
  });
}

// Message passing: data, then a flag.
outcome message_passing(memory_order write, memory_order read) {
  return explore([=](world& w) {
    auto& s = w.make<shared>();
    w.thread([&s, write] {
      s.data.set(7);
      s.x.store(1, write);
    });
    w.thread([&s, read] {
      if (s.x.load(read) == 1) check(s.data.get() == 7, "flag without data");
    });
  });
}

TEST(Explorer, StoresAreBufferedUnlessFenced) {
  EXPECT_EQ(store_buffering<between::nothing>().violation, "neither saw the other");
  EXPECT_EQ(store_buffering<between::fences>().violation, "");
  EXPECT_EQ(store_buffering<between::one_heavy>().violation, "");
  EXPECT_EQ(store_buffering<between::seq_cst>().violation, "");
}

TEST(Explorer, MessagesNeedReleaseAndAcquire) {
  EXPECT_EQ(message_passing(memory_order::release, memory_order::acquire).violation, "");
  EXPECT_EQ(message_passing(memory_order::relaxed, memory_order::acquire).violation,
            "data race: read of a plain variable");
  EXPECT_EQ(message_passing(memory_order::release, memory_order::relaxed).violation,
            "data race: read of a plain variable");
}

TEST(Explorer, ALocationIsReadInOrder) {
  const outcome o = explore([](world& w) {
    auto& s = w.make<shared>();
    w.thread([&] {
      s.x.store(1, memory_order::relaxed);
      s.x.store(2, memory_order::relaxed);
    });
    w.thread([&] {
      const int first = s.x.load(memory_order::relaxed);
      check(s.x.load(memory_order::relaxed) >= first, "went back");
    });
  });
  EXPECT_EQ(o.violation, "");
  EXPECT_TRUE(o.complete);
}

TEST(Explorer, ALostWakeUpIsSeen) {
  const outcome o = explore([](world& w) {
    auto& s = w.make<shared>();
    w.thread([&] {  // looks, then sleeps without looking again
      if (s.x.load() == 0) futex_wait(s.y.location(), 0);
    });
    w.thread([&] {
      s.x.store(1);
      futex_wake(s.y.location());
    });
  });
  EXPECT_EQ(o.violation, "somebody sleeps or waits for ever");
  EXPECT_NE(o.trace, "");
}

}  // namespace
