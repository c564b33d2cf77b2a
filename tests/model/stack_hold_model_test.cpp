// SPDX-License-Identifier: Apache-2.0
// sched/stack_hold.hpp, the very code, in every interleaving with a fiber that is woken, runs,
// parks and is woken again. The stack is a plain variable: if the holder and the fiber are ever at
// it without being ordered, that is found out.
#include "sched/stack_hold.hpp"

#include <gtest/gtest.h>

#include "tests/model/atomic.hpp"

namespace {

using namespace weft_model;
using std::memory_order;
using weft::detail::basic_stack_hold;
using weft::detail::fiber_state;

int machine_mark;
int holder_mark;

struct fiber {
  atomic<int*> m{nullptr};
  atomic<fiber_state> state{fiber_state::waiting};
};

enum class barriers : std::uint8_t { both, first, second, none };

template <barriers Which>
struct some_barriers : model_sync {
  static inline int calls = 0;  // of the holder, in this execution
  static void heavy_barrier() noexcept {
    const bool is_first = calls++ == 0;
    if (Which == barriers::both || Which == (is_first ? barriers::first : barriers::second)) {
      model_sync::heavy_barrier();
    }
  }
};

struct scene {
  fiber g;
  plain<int> stack{0};
  atomic<int> queue{0};   // how often the fiber was made runnable
  atomic<int> parked{0};  // how often it has parked here: the lock of what it waits for
  bool waits_for_m = true;

  // Twice: wait until it is parked, ready().
  void waker() {
    for (int i = 1; i <= 2; ++i) {
      while (i == 2 && parked.load(memory_order::acquire) == 0) {
        futex_wait(parked.location(), 0);
      }
      g.state.store(fiber_state::runnable, memory_order::relaxed);
      queue.store(i, memory_order::release);
      futex_wake(queue.location());
    }
  }

  // Twice: wait_until_left, prepare_dispatch, the fiber itself; in between park_begin, and the
  // landing of whoever comes after it.
  void dispatcher() {
    for (int i = 1; i <= 2; ++i) {
      while (queue.load(memory_order::acquire) < i) {
        futex_wait(queue.location(), static_cast<std::uint64_t>(i - 1));
      }
      while (waits_for_m && g.m.load(memory_order::acquire) != nullptr) relax();
      g.m.store(&machine_mark, memory_order::relaxed);
      g.state.store(fiber_state::running, memory_order::relaxed);
      stack.set(i);
      if (i == 2) return;
      g.state.store(fiber_state::waiting, memory_order::relaxed);
      parked.store(1, memory_order::release);
      futex_wake(parked.location());
      g.m.store(nullptr, memory_order::release);
    }
  }

  template <class Sync>
  void holder() {
    basic_stack_hold<Sync, fiber, int, 2> hold(&holder_mark);
    hold.add(&g);
    hold.visit_held([](const fiber*) { return true; },
                    [this](fiber*) {
                      here();
                      stack.set(10);
                    });
  }
};

// A fiber of another runtime, which ends while it waits; its G starts anew in the holder's, as
// reset() and start_here() do it: without a look at m.
struct reuse_scene {
  fiber g;
  atomic<bool> ours{false};  // rt
  plain<int> stack{0};

  void other() {
    g.state.store(fiber_state::dead, memory_order::relaxed);
    g.m.store(nullptr, memory_order::relaxed);
    ours.store(true, memory_order::relaxed);
    g.state.store(fiber_state::fresh, memory_order::relaxed);
    g.m.store(&machine_mark, memory_order::relaxed);
    g.state.store(fiber_state::running, memory_order::relaxed);
    stack.set(1);
    g.state.store(fiber_state::waiting, memory_order::relaxed);  // park_begin: still on it
    stack.set(2);
  }

  // asked: between the barriers, or only when it is held.
  template <class Sync>
  void holder(bool asked) {
    basic_stack_hold<Sync, fiber, int, 1> hold(&holder_mark);
    hold.add(&g);
    hold.visit_held(
        [this, asked](const fiber*) { return !asked || ours.load(memory_order::relaxed); },
        [this, asked](const fiber*) {
          here();
          if (!asked && !ours.load(memory_order::relaxed)) return;
          stack.set(10);
        });
  }
};

template <barriers Which, bool Asked>
void held_and_reused(world& w) {
  using sync = some_barriers<Which>;
  auto& s = w.make<reuse_scene>();
  w.thread([&] { s.other(); });
  w.thread([&] {
    sync::calls = 0;
    s.template holder<sync>(Asked);
  });
}

template <barriers Which>
void held_and_woken(world& w) {
  using sync = some_barriers<Which>;
  auto& s = w.make<scene>();
  w.thread([&] { s.waker(); });
  w.thread([&] { s.dispatcher(); });
  w.thread([&] {
    sync::calls = 0;
    s.template holder<sync>();
  });
}

void not_waited_for(world& w) {
  auto& s = w.make<scene>();
  s.waits_for_m = false;
  w.thread([&] { s.waker(); });
  w.thread([&] { s.dispatcher(); });
  w.thread([&] {
    some_barriers<barriers::both>::calls = 0;
    s.holder<some_barriers<barriers::both>>();
  });
}

TEST(StackHoldModel, TheStackIsTheHoldersOrTheFibers) {
  const outcome o = explore(held_and_woken<barriers::both>);
  EXPECT_EQ(o.violation, "") << o.trace;
  EXPECT_TRUE(o.complete);
  EXPECT_GT(o.states, 100U);
}

TEST(StackHoldModel, AnEndedFiberOfAnotherRuntimeIsNotTakenForOneOfOurs) {
  const outcome o = explore(held_and_reused<barriers::both, true>);
  EXPECT_EQ(o.violation, "") << o.trace;
  EXPECT_TRUE(o.complete);
  EXPECT_GT(o.states, 20U);
}

TEST(StackHoldModel, BreaksWhenItIsAskedLateWhoseTheFiberIs) {
  EXPECT_NE(explore(held_and_reused<barriers::both, false>).violation, "");
}

TEST(StackHoldModel, BreaksWithoutBarriers) {
  EXPECT_NE(explore(held_and_woken<barriers::none>).violation, "");
}

TEST(StackHoldModel, BreaksWithoutTheFirstBarrier) {
  EXPECT_NE(explore(held_and_woken<barriers::second>).violation, "");
}

TEST(StackHoldModel, BreaksWithoutTheSecondBarrier) {
  EXPECT_NE(explore(held_and_woken<barriers::first>).violation, "");
}

TEST(StackHoldModel, BreaksWhenADispatcherDoesNotWait) {
  EXPECT_NE(explore(not_waited_for).violation, "");
}

TEST(StackHoldModel, BreaksWhenLettingGoDoesNotRelease) {
  const mutant m{"visit_held", op::store, memory_order::release, memory_order::relaxed};
  EXPECT_NE(explore(held_and_woken<barriers::both>, {m}).violation, "");
}

}  // namespace
