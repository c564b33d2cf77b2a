// SPDX-License-Identifier: Apache-2.0
// sync/cache_gate.hpp, the very code, in every interleaving of an owner, a second owner after it,
// and a cleaner. What the gate guards is a plain variable.
#include "sync/cache_gate.hpp"

#include <gtest/gtest.h>

#include "tests/model/atomic.hpp"

namespace {

using namespace weft_model;
using namespace weft::detail;
using std::memory_order;

struct no_barrier : model_sync {
  static void heavy_barrier() noexcept {}
};

struct scene {
  cache_gate<model_sync> gate;
  plain<int> cache{0};
  atomic<int> handed_over{0};  // stands for the P's own hand-off

  void own(int sections) {
    for (int i = 0; i < sections; ++i) {
      if (!gate.enter<model_sync>()) continue;
      here();
      cache.set(cache.get() + 1);
      gate.leave();
    }
  }
  template <class Sync>
  void clean() {
    gate.shut();
    Sync::heavy_barrier();
    if (gate.is_free()) cache.set(cache.get() + 10);
    gate.open();
  }
};

template <class Sync>
void one_owner(world& w) {
  auto& s = w.make<scene>();
  w.thread([&] { s.own(3); });
  w.thread([&] {
    s.clean<Sync>();
    s.clean<Sync>();
  });
}

// The P moves on to another M.
void two_owners(world& w) {
  auto& s = w.make<scene>();
  w.thread([&] {
    s.own(2);
    s.handed_over.store(1, memory_order::release);
    futex_wake(s.handed_over.location());
  });
  w.thread([&] {
    while (s.handed_over.load(memory_order::acquire) == 0) futex_wait(s.handed_over.location(), 0);
    s.own(2);
  });
  w.thread([&] { s.clean<model_sync>(); });
}

TEST(CacheGateModel, OwnerAndCleanerAreNeverInsideTogether) {
  const outcome o = explore(one_owner<model_sync>);
  EXPECT_EQ(o.violation, "") << o.trace;
  EXPECT_TRUE(o.complete);
  EXPECT_GT(o.states, 50U);
}

TEST(CacheGateModel, NorWhenTheProcessorChangesHands) {
  const outcome o = explore(two_owners);
  EXPECT_EQ(o.violation, "") << o.trace;
  EXPECT_TRUE(o.complete);
}

TEST(CacheGateModel, BreaksWithoutTheHeavyBarrier) {
  EXPECT_NE(explore(one_owner<no_barrier>).violation, "");
}

TEST(CacheGateModel, BreaksWhenASectionEndsWithoutRelease) {
  const mutant m{"leave", op::store, memory_order::release, memory_order::relaxed};
  EXPECT_NE(explore(one_owner<model_sync>, {m}).violation, "");
}

TEST(CacheGateModel, BreaksWhenTheCleanerLooksWithoutAcquire) {
  const mutant m{"is_free", op::load, memory_order::acquire, memory_order::relaxed};
  EXPECT_NE(explore(one_owner<model_sync>, {m}).violation, "");
}

TEST(CacheGateModel, BreaksWhenTheGateOpensWithoutRelease) {
  const mutant m{"open", op::store, memory_order::release, memory_order::relaxed};
  EXPECT_NE(explore(one_owner<model_sync>, {m}).violation, "");
}

TEST(CacheGateModel, BreaksWhenTheOwnerEntersWithoutAcquire) {
  const mutant m{"enter", op::load, memory_order::acquire, memory_order::relaxed};
  EXPECT_NE(explore(one_owner<model_sync>, {m}).violation, "");
}

}  // namespace
