// SPDX-License-Identifier: Apache-2.0
// sched/handoff.hpp, the very code, in every interleaving of two Ms, one P and sysmon. Here are the
// lines around it: rt_enter (machine.hpp), rt_enter_slow (machine.cpp), blocking_scope (run.cpp),
// retake and take_from_blocking (sysmon.cpp). What the P owns is a plain variable: whoever touches
// it without being ordered after all others is found out.
#include "sched/handoff.hpp"

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
  atomic<std::uint64_t> owner{8};  // tag of the first M
  atomic<std::uint32_t> in_rt[2];
  plain<int> owned{0};  // what only the owner may touch
  atomic<int> granted{0};
  int sections = 0;  // how often the first M was inside, and how it lost the P
  bool taken = false;
  bool second_cas = true;

  void touch() {
    here();
    owned.set(owned.get() + 1);
  }

  // rt_enter ... rt_exit. False: the P is gone.
  bool section(int m, std::uint64_t tag) {
    if (!handoff_enter<model_sync>(in_rt[m], owner, tag) &&
        handoff_reenter(owner, tag) == reentry::lost) {
      handoff_leave(in_rt[m]);
      return false;
    }
    touch();
    ++sections;
    handoff_leave(in_rt[m]);
    return true;
  }

  // An announced blocking call.
  void blocking(int m, std::uint64_t tag) {
    if (!handoff_enter<model_sync>(in_rt[m], owner, tag) &&
        handoff_reenter(owner, tag) == reentry::lost) {
      handoff_leave(in_rt[m]);
      return;
    }
    touch();
    handoff_announce(owner, tag);
    handoff_leave(in_rt[m]);
  }

  template <class Sync>
  void sysmon() {
    const std::uint64_t seen = owner.load(memory_order::acquire);
    if (seen <= owner_flags) return;
    if ((seen & owner_blocking) != 0) {
      taken = handoff_take_blocking(owner, seen);
    } else if (handoff_ask<Sync>(owner, seen, in_rt[0])) {
      if (second_cas) {
        taken = handoff_take(owner, seen);
      } else {
        owner.store(owner_claimed);
        taken = true;
      }
    }
  }

  // start_machine: the second M gets the P.
  void grant() {
    touch();
    granted.store(1, memory_order::release);
    futex_wake(granted.location());
  }

  void second_machine() {
    while (granted.load(memory_order::acquire) == 0) futex_wait(granted.location(), 0);
    owner.store(16);  // adopt_processor
    static_cast<void>(section(1, 16));
  }
};

template <class Sync, bool SecondCas = true>
void hogging(world& w) {
  auto& s = w.make<scene>();
  s.second_cas = SecondCas;
  w.thread([&] {
    for (int i = 0; i < 3; ++i) {
      if (!s.section(0, 8)) break;
    }
  });
  w.thread([&] {
    for (int i = 0; i < 2 && !s.taken; ++i) s.template sysmon<Sync>();
    if (s.taken) s.grant();
  });
  w.thread([&] { s.second_machine(); });
  w.may_sleep_for_ever([&] { return !s.taken; });
}

void announced(world& w) {
  auto& s = w.make<scene>();
  w.thread([&] {
    s.blocking(0, 8);
    static_cast<void>(s.section(0, 8));
    static_cast<void>(s.section(0, 8));
  });
  w.thread([&] {
    for (int i = 0; i < 2 && !s.taken; ++i) s.sysmon<model_sync>();
    if (s.taken) s.grant();
  });
  w.thread([&] { s.second_machine(); });
  w.may_sleep_for_ever([&] { return !s.taken; });
}

TEST(HandoffModel, NoTwoOwnersInAnyInterleaving) {
  const outcome o = explore(hogging<model_sync>);
  EXPECT_EQ(o.violation, "") << o.trace;
  EXPECT_TRUE(o.complete);
  EXPECT_GT(o.states, 1000U);
}

TEST(HandoffModel, NoTwoOwnersAroundAnAnnouncedBlockingCall) {
  EXPECT_EQ(problem_with(announced), "");
}

TEST(HandoffModel, BreaksWithoutTheHeavyBarrier) {
  EXPECT_NE(explore(hogging<no_barrier>).violation, "");
}

TEST(HandoffModel, BreaksWithoutTheSecondCas) {
  EXPECT_NE((explore(hogging<model_sync, false>).violation), "");
}

TEST(HandoffModel, BreaksWhenASectionEndsWithoutRelease) {
  const mutant m{"handoff_leave", op::store, memory_order::release, memory_order::relaxed};
  EXPECT_NE(explore(hogging<model_sync>, {m}).violation, "");
}

TEST(HandoffModel, BreaksWhenSysmonReadsTheFlagWithoutAcquire) {
  const mutant m{"handoff_ask", op::load, memory_order::acquire, memory_order::relaxed};
  EXPECT_NE(explore(hogging<model_sync>, {m}).violation, "");
}

TEST(HandoffModel, BreaksWhenABlockingCallIsAnnouncedWithoutRelease) {
  const mutant m{"handoff_announce", op::store, memory_order::seq_cst, memory_order::relaxed};
  EXPECT_NE(explore(announced, {m}).violation, "");
}

}  // namespace
