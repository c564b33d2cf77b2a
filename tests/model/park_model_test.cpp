// SPDX-License-Identifier: Apache-2.0
// Park and ready in every interleaving: a fiber that waits for an object and for a context at once,
// a waker for each, and another M that dispatches it. Each function is named after the lines it
// stands for. Checked: exactly one waker readies it; what the winner wrote is seen; its registers
// are saved before it runs again; and an object may be destroyed as soon as its wake-up has been
// received.
#include <gtest/gtest.h>

#include <array>

#include "tests/model/atomic.hpp"

namespace {

using namespace weft_model;
using std::memory_order;

enum class fault : std::uint8_t {
  none,
  claim_without_cas,
  ready_before_unlock,
  dispatch_at_once,
};

// A waitable with at most one record in its queue: spin_lock.hpp, wait_queue in waiter.hpp.
struct object {
  atomic<std::uint32_t> word{0};
  plain<bool> linked{false};

  void lock() {
    while (word.exchange(1, memory_order::acquire) != 0) relax();
  }
  void unlock() { word.store(0, memory_order::release); }
};

struct scene {
  fault broken = fault::none;
  std::array<object, 2> waited_for;  // the channel; the context
  atomic<std::uint32_t> claim{0};
  atomic<std::uint32_t> m{1};  // fiber_core::m: not null
  plain<int> registers{0};
  plain<int> wake_param{0};
  atomic<int> queue{0};  // an inject queue: how often the fiber was made runnable

  // park_begin, publish and arm; then park_commit and the switch.
  void fiber() {
    claim.store(0, memory_order::relaxed);
    for (object& o : waited_for) {
      o.lock();
      o.linked.set(true);
      o.unlock();
    }
    registers.set(1);                   // switch_stack
    m.store(0, memory_order::release);  // switch_to, the landing side
  }

  // pop_claimed and claim in waiter.hpp.
  bool pop_claimed(object& o) {
    if (!o.linked.get()) return false;
    o.linked.set(false);
    if (broken == fault::claim_without_cas) {
      const bool mine = claim.load(memory_order::acquire) == 0;
      claim.store(1, memory_order::release);
      return mine;
    }
    std::uint32_t unclaimed = 0;
    return claim.compare_exchange_strong(unclaimed, 1, memory_order::acq_rel,
                                         memory_order::acquire);
  }

  // send_step with a waiting receiver, cancel_locked; then ready, as of another runtime's thread.
  void waker(int which) {
    object& o = waited_for[static_cast<std::size_t>(which)];
    o.lock();
    const bool mine = pop_claimed(o);
    if (mine) wake_param.set(1 + which);
    if (broken == fault::ready_before_unlock) {
      if (mine) ready();
      o.unlock();
      return;
    }
    o.unlock();
    if (mine) ready();
  }

  void ready() {
    queue.fetch_add(1, memory_order::release);
    futex_wake(queue.location());
  }

  // schedule_loop: wait_until_left, prepare_dispatch; then the fiber after its park_wait, with
  // wake_extras::disarm, and the end of the object it waited for.
  void dispatcher() {
    while (queue.load(memory_order::acquire) == 0) futex_wait(queue.location(), 0);
    while (broken != fault::dispatch_at_once && m.load(memory_order::acquire) != 0) relax();
    check(registers.get() == 1, "resumed from registers that were not saved");
    const int who = wake_param.get();
    check(who == 1 || who == 2, "woken by nobody");
    object& other = waited_for[who == 1 ? 1 : 0];
    other.lock();
    other.linked.set(false);
    other.unlock();
    drop_location(waited_for[static_cast<std::size_t>(who - 1)].word.location());
  }
};

template <fault Broken>
void one_of_two(world& w) {
  auto& s = w.make<scene>();
  s.broken = Broken;
  w.thread([&] { s.fiber(); });
  w.thread([&] { s.waker(0); });
  w.thread([&] { s.waker(1); });
  w.thread([&] { s.dispatcher(); });
  // (Both wakers may have come before the fiber.)
  w.may_sleep_for_ever([&] { return s.queue.load() == 0; });
  w.at_end([&] { check(s.queue.load() <= 1, "made runnable twice"); });
}

TEST(ParkModel, OneWakerWinsAndTheObjectMayGo) {
  const outcome o = explore(one_of_two<fault::none>);
  EXPECT_EQ(o.violation, "") << o.trace;
  EXPECT_TRUE(o.complete);
  EXPECT_GT(o.states, 1000U);
}

TEST(ParkModel, BreaksWhenTheClaimIsNoCas) {
  EXPECT_NE(explore(one_of_two<fault::claim_without_cas>).violation, "");
}

TEST(ParkModel, BreaksWhenAWakerUnlocksAfterReady) {
  EXPECT_EQ(explore(one_of_two<fault::ready_before_unlock>).violation,
            "an object is touched after its end");
}

TEST(ParkModel, BreaksWhenAFiberIsDispatchedBeforeItHasLeft) {
  EXPECT_NE(explore(one_of_two<fault::dispatch_at_once>).violation, "");
}

TEST(ParkModel, BreaksWhenLeavingIsToldWithoutRelease) {
  const mutant m{"scene::fiber", op::store, memory_order::release, memory_order::relaxed};
  EXPECT_NE(explore(one_of_two<fault::none>, {m}).violation, "");
}

TEST(ParkModel, BreaksWhenReadyDoesNotRelease) {
  const mutant m{"scene::ready", op::rmw, memory_order::release, memory_order::relaxed};
  EXPECT_NE(explore(one_of_two<fault::none>, {m}).violation, "");
}

}  // namespace
