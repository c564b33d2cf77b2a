// SPDX-License-Identifier: Apache-2.0
// include/weft/detail/biased_lock.hpp, the very code, in every interleaving: a worker that has the
// lock by privilege, and others who come.
#include <weft/detail/biased_lock.hpp>

#include <gtest/gtest.h>

#include <array>

#include "tests/model/atomic.hpp"

namespace {

using namespace weft_model;
using std::memory_order;

// Threads 0 and 1 are workers with a slot, the others plain threads.
struct biased_sync : model_sync {
  using slot = weft::detail::basic_bias_slot<model_sync>;
  static constexpr std::uint32_t price = 0;  // whoever has had it once gets the privilege
  static inline std::array<slot*, 2> slots{};
  static void pause(unsigned) noexcept { relax(); }
  static slot* slot_of(std::uint32_t tag) noexcept { return slots[tag / 2 - 1]; }
  static slot* own_slot() noexcept {
    const auto t = static_cast<std::size_t>(this_thread());
    return t < slots.size() ? slots[t] : nullptr;
  }
};

struct no_barrier : biased_sync {
  static void heavy_barrier() noexcept {}
};

template <class Sync>
struct scene {
  weft::detail::basic_biased_lock<Sync> lock;
  std::array<biased_sync::slot, 2> slots;
  plain<int> value{0};
  scene() {
    for (std::uint32_t i = 0; i < 2; ++i) {
      slots[i].tag = 2 * (i + 1);
      biased_sync::slots[i] = &slots[i];
    }
  }
  void worker(int times) {
    auto* s = Sync::own_slot();
    for (int i = 0; i < times; ++i) {
      const bool privileged = lock.lock_as(s);
      value.set(value.get() + 1);
      lock.unlock_as(s, privileged);
    }
  }
  void anybody(int times) {
    for (int i = 0; i < times; ++i) {
      lock.lock();
      value.set(value.get() + 1);
      lock.unlock();
    }
  }
};

template <class Sync>
void worker_and_stranger(world& w) {
  auto& s = w.make<scene<Sync>>();
  w.thread([&] { s.worker(3); });
  w.thread([] {});  // (has the other slot)
  w.thread([&] { s.anybody(2); });
  w.at_end([&] { check(s.value.get() == 5, "two were in there at once"); });
}

template <class Sync>
void two_workers(world& w) {
  auto& s = w.make<scene<Sync>>();
  w.thread([&] { s.worker(3); });
  w.thread([&] { s.worker(2); });
  w.at_end([&] { check(s.value.get() == 5, "two were in there at once"); });
}

template <class Sync>
void two_workers_and_a_stranger(world& w) {
  auto& s = w.make<scene<Sync>>();
  w.thread([&] { s.worker(2); });
  w.thread([&] { s.worker(2); });
  w.thread([&] { s.anybody(1); });
  w.at_end([&] { check(s.value.get() == 5, "two were in there at once"); });
}

void holds(void (*scenario)(world&)) {
  const outcome o = explore(scenario);
  EXPECT_EQ(o.violation, "") << o.trace;
  EXPECT_TRUE(o.complete);
  EXPECT_GT(o.states, 100U);
}

TEST(BiasedLockModel, AWorkerAndAStrangerExcludeEachOther) {
  holds(worker_and_stranger<biased_sync>);
}

TEST(BiasedLockModel, TwoWorkersExcludeEachOther) { holds(two_workers<biased_sync>); }

TEST(BiasedLockModel, TwoWorkersAndAStrangerExcludeEachOther) {
  holds(two_workers_and_a_stranger<biased_sync>);
}

TEST(BiasedLockModel, BreaksWithoutTheStrangersBarrier) {
  EXPECT_NE(explore(worker_and_stranger<no_barrier>).violation, "");
}

TEST(BiasedLockModel, BreaksWhenAPrivilegedUnlockDoesNotRelease) {
  const mutant m{"::unlock_as", op::store, memory_order::release, memory_order::relaxed};
  EXPECT_NE(explore(worker_and_stranger<biased_sync>, {m}).violation, "");
}

TEST(BiasedLockModel, BreaksWhenTheStrangersLookDoesNotAcquire) {
  const mutant m{"::take_away", op::load, memory_order::acquire, memory_order::relaxed};
  EXPECT_NE(explore(worker_and_stranger<biased_sync>, {m}).violation, "");
}

TEST(BiasedLockModel, BreaksWhenTheCommonLockDoesNotAcquire) {
  const mutant m{"::lock", op::rmw, memory_order::acquire, memory_order::relaxed};
  EXPECT_NE(explore(two_workers<biased_sync>, {m}).violation, "");
}

}  // namespace
