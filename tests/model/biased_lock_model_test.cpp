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

template <class T>
class model_policy {
 public:
  model_policy(T value) : value_(value) {}     // NOLINT: as a T
  operator T() const { return value_.get(); }  // NOLINT: as a T
  model_policy& operator=(T value) {
    value_.set(value);
    return *this;
  }

 private:
  plain<T> value_;
};

// Threads 0 and 1 are workers with a slot, the others plain threads.
struct biased_sync : model_sync {
  using slot = weft::detail::basic_bias_slot<model_sync>;
  template <class T>
  using policy = model_policy<T>;
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

// Whoever has had a lock once gets the privilege (price 0).
template <class Sync>
struct scene {
  std::array<weft::detail::basic_biased_lock<Sync>, 2> locks;
  std::array<biased_sync::slot, 2> slots;
  std::array<plain<int>, 2> values;
  bool interruptible = false;  // (costs many states)
  scene() {
    for (std::uint32_t i = 0; i < 2; ++i) {
      slots[i].tag = 2 * (i + 1);
      slots[i].mark = static_cast<std::uint8_t>(i + 1);
      biased_sync::slots[i] = &slots[i];
    }
  }
  void add(std::size_t i) {
    const int n = values[i].get();
    if (interruptible) here();  // a barrier may find us in the middle
    values[i].set(n + 1);
  }
  void worker(std::size_t i) {
    auto* s = Sync::own_slot();
    const bool privileged = locks[i].lock_as(s);
    add(i);
    locks[i].unlock_as(s, privileged);
  }
  void anybody(std::size_t i) {
    locks[i].lock();
    add(i);
    locks[i].unlock();
  }
  void expect(world& w, int first, int second) {
    w.at_end([this, first, second] {
      check(values[0].get() == first && values[1].get() == second, "two were in there at once");
    });
  }
};

template <class Sync>
void worker_and_stranger(world& w) {
  auto& s = w.make<scene<Sync>>();
  s.interruptible = true;
  w.thread([&] {
    for (int i = 0; i < 3; ++i) s.worker(0);
  });
  w.thread([] {});  // (has the other slot)
  w.thread([&] { s.anybody(0); });
  s.expect(w, 4, 0);
}

template <class Sync>
void two_workers(world& w) {
  auto& s = w.make<scene<Sync>>();
  w.thread([&] {
    for (int i = 0; i < 2; ++i) s.worker(0);
  });
  w.thread([&] {
    for (int i = 0; i < 2; ++i) s.worker(0);
  });
  s.expect(w, 4, 0);
}

// Nobody ever gets the privilege.
void two_common_workers(world& w) {
  auto& s = w.make<scene<biased_sync>>();
  for (auto& each : s.slots) each.price = 99;
  for (int t = 0; t < 2; ++t) {
    w.thread([&] { s.worker(0); });
  }
  s.expect(w, 2, 0);
}

void two_strangers(world& w) {
  auto& s = w.make<scene<biased_sync>>();
  for (int t = 0; t < 2; ++t) {
    w.thread([&] { s.anybody(0); });
  }
  s.expect(w, 2, 0);
}

// The owner goes from one lock that it has by privilege to another, and comes back the common way.
template <class Sync>
void two_locks(world& w) {
  auto& s = w.make<scene<Sync>>();
  w.thread([&] {
    s.worker(0);
    s.worker(1);
    s.worker(0);
    s.worker(1);
    s.anybody(0);
  });
  w.thread([] {});
  w.thread([&] { s.anybody(0); });
  s.expect(w, 4, 2);
}

TEST(BiasedLockModel, AWorkerAndAStrangerExcludeEachOther) {
  EXPECT_EQ(problem_with(worker_and_stranger<biased_sync>), "");
}

TEST(BiasedLockModel, TwoWorkersExcludeEachOther) {
  EXPECT_EQ(problem_with(two_workers<biased_sync>), "");
}

TEST(BiasedLockModel, AWorkerWithTwoLocks) { EXPECT_EQ(problem_with(two_locks<biased_sync>), ""); }

TEST(BiasedLockModel, BreaksWithoutTheStrangersBarrier) {
  EXPECT_NE(explore(worker_and_stranger<no_barrier>).violation, "");
}

TEST(BiasedLockModel, BreaksWhenAPrivilegedUnlockDoesNotRelease) {
  const mutant m{"::leave", op::store, memory_order::release, memory_order::relaxed};
  EXPECT_NE(explore(worker_and_stranger<biased_sync>, {m}).violation, "");
}

TEST(BiasedLockModel, WithoutPrivilegesItIsACommonLock) {
  const outcome workers = explore(two_common_workers);
  EXPECT_EQ(workers.violation, "") << workers.trace;
  const outcome strangers = explore(two_strangers);
  EXPECT_EQ(strangers.violation, "") << strangers.trace;
}

TEST(BiasedLockModel, BreaksWhenACommonUnlockDoesNotRelease) {
  const mutant workers{"::give_back", op::store, memory_order::release, memory_order::relaxed};
  EXPECT_NE(explore(two_common_workers, {workers}).violation, "");
  const mutant strangers{"::unlock", op::store, memory_order::release, memory_order::relaxed};
  EXPECT_NE(explore(two_strangers, {strangers}).violation, "");
}

TEST(BiasedLockModel, BreaksWhenTheStrangersLookDoesNotAcquire) {
  const mutant m{"::take_away", op::load, memory_order::acquire, memory_order::relaxed};
  EXPECT_NE(explore(worker_and_stranger<biased_sync>, {m}).violation, "");
}

TEST(BiasedLockModel, BreaksWhenTheCommonLockDoesNotAcquire) {
  const mutant m{"::acquire", op::rmw, memory_order::acquire, memory_order::relaxed};
  EXPECT_NE(explore(two_common_workers, {m}).violation, "");
}

}  // namespace
