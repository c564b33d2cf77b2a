// SPDX-License-Identifier: Apache-2.0
// WEFT_DEBUG=conserve: a P that sleeps beside work is reported when a wake-up was lost, which takes
// evidence; whoever may still be on his way is waited for, and what is left to sysmon is no loss.
#include "sched/conservation_watch.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <thread>

#include <weft/detail/park.hpp>
#include <weft/weft.hpp>
#include "sched/runtime_state.hpp"
#include "tests/chan/support.hpp"
#include "tests/support/child.hpp"

namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;
using weft::detail::conservation_watch;
using weft::detail::fiber_core;
using weft::detail::fiber_state;
using weft::detail::machine;
using weft::detail::never;
using weft::detail::processor;
using weft::detail::runtime_state;
using weft::detail::timer_node;
using verdict = conservation_watch::verdict;

// --- the evidence, with a clock by hand ---------------------------------------------------------

constexpr std::int64_t limit = 1'000'000;

// P 0 is at work on a fiber, P 1 sleeps; no thread is behind either.
struct ConservationEvidence : testing::Test {
  ConservationEvidence() {
    rt->n_procs = 2;
    rt->wish = -2;
    rt->idle.set_procs(2);
    worker->id = 1;
    worker->all_next = sleeper.get();
    sleeper->id = 2;
    rt->all_machines = worker.get();
    working->rt = rt.get();
    working->running_on = worker.get();
    working->owner = 1U << 3;  // a tag of the worker's
    working->budget = 60;
    sleeping->rt = rt.get();
    sleeping->index = 1;
    sleeping->running_on = sleeper.get();
    sleeping->owner = weft::detail::owner_idle;
    sleeping->sleepers = 1;
    rt->procs.add(working.get());
    rt->procs.add(sleeping.get());
    rt->idle.put(1);
  }

  verdict look() {
    now += limit / 4;
    return watch.look(rt.get(), now);
  }
  // For twenty times the limit, unless something is lost before.
  verdict look_for_long() {
    verdict v = verdict::quiet;
    for (int i = 0; i < 80 && v != verdict::lost; ++i) v = look();
    return v;
  }
  fiber_core* fiber(std::size_t i) { return &(*fibers)[i]; }

  std::unique_ptr<std::array<fiber_core, 4>> fibers = std::make_unique<std::array<fiber_core, 4>>();
  std::unique_ptr<machine> worker = std::make_unique<machine>();
  std::unique_ptr<machine> sleeper = std::make_unique<machine>();
  std::unique_ptr<processor> working = std::make_unique<processor>();
  std::unique_ptr<processor> sleeping = std::make_unique<processor>();
  std::unique_ptr<runtime_state> rt = std::make_unique<runtime_state>(weft::options{});
  std::int64_t now = 1'000'000'000;
  conservation_watch watch{limit};
};

TEST_F(ConservationEvidence, IsSilentWhenNothingWaits) {
  EXPECT_EQ(look_for_long(), verdict::quiet);
}

TEST_F(ConservationEvidence, AFiberInTheSharedQueueIsLostAfterTheLimitAndToldOnce) {
  rt->inject.push(fiber(0));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(look(), verdict::in_doubt);
  EXPECT_EQ(look(), verdict::lost);
  EXPECT_EQ(look_for_long(), verdict::quiet);
  sleeping->looks.fetch_add(1);  // up, and asleep again
  EXPECT_EQ(look_for_long(), verdict::lost);
}

TEST_F(ConservationEvidence, NobodySleepsNothingIsLost) {
  rt->inject.push(fiber(0));
  EXPECT_TRUE(rt->idle.take(1));
  sleeping->owner = weft::detail::owner_claimed;
  EXPECT_EQ(look_for_long(), verdict::quiet);
}

// Between a publication and the look for an idle P, kept from its core for as long as it takes.
TEST_F(ConservationEvidence, AWorkerInASectionIsWaitedFor) {
  rt->inject.push(fiber(0));
  worker->in_rt = 1U;
  EXPECT_EQ(look_for_long(), verdict::in_doubt);
  worker->in_rt = 0U;
  EXPECT_EQ(look_for_long(), verdict::lost);
}

// The same in the second pass: it may have published what the first look did not see.
TEST_F(ConservationEvidence, AWorkerThatEntersASectionLaterIsWaitedForAsWell) {
  rt->inject.push(fiber(0));
  EXPECT_EQ(look(), verdict::in_doubt);
  worker->in_rt = 1U;
  EXPECT_EQ(look_for_long(), verdict::in_doubt);
}

TEST_F(ConservationEvidence, APlainThreadInsideIsWaitedFor) {
  rt->inject.push(fiber(0));
  rt->external = 1;
  EXPECT_EQ(look_for_long(), verdict::in_doubt);
  rt->external = 0;
  EXPECT_EQ(look_for_long(), verdict::lost);
}

// Between its idle bit and its last look.
TEST_F(ConservationEvidence, ASleeperThatStillLooksIsWaitedFor) {
  rt->inject.push(fiber(0));
  sleeper->in_rt = 1U;
  EXPECT_EQ(look_for_long(), verdict::in_doubt);
}

TEST_F(ConservationEvidence, ADoubtDoesNotHoldUpHelpForEver) {
  rt->inject.push(fiber(0));
  worker->in_rt = 1U;
  verdict v = verdict::in_doubt;
  for (int i = 0; i < 10'000 && v == verdict::in_doubt; ++i) v = look();
  EXPECT_EQ(v, verdict::quiet);
}

TEST_F(ConservationEvidence, ASearchThatEndsInBetweenBeginsItAnew) {
  rt->inject.push(fiber(0));
  for (int i = 0; i < 80; ++i) {
    EXPECT_NE(look(), verdict::lost);
    if (i % 4 == 0) ++worker->searches;
  }
}

TEST_F(ConservationEvidence, ASleeperThatWasUpInBetweenBeginsItAnew) {
  rt->inject.push(fiber(0));
  for (int i = 0; i < 80; ++i) {
    EXPECT_NE(look(), verdict::lost);
    if (i % 4 == 0) sleeping->looks.fetch_add(1);
  }
}

TEST_F(ConservationEvidence, OfTheRingOnlyWhatWasToldCounts) {
  ASSERT_TRUE(working->queue.push(fiber(0)));  // it has yielded
  EXPECT_EQ(look_for_long(), verdict::quiet);
  working->note_told();
  EXPECT_EQ(look_for_long(), verdict::lost);
  EXPECT_EQ(working->queue.pop(), fiber(0));
  ASSERT_TRUE(working->queue.push(fiber(0)));  // and again
  EXPECT_EQ(look_for_long(), verdict::quiet);
}

TEST_F(ConservationEvidence, WhatWasToldIsForgottenWhenItHasGone) {
  ASSERT_TRUE(working->queue.push(fiber(0)));
  working->note_told();
  working->forget_told();
  EXPECT_EQ(std::uint32_t{working->told}, 1U);
  for (int i = 0; i < 3; ++i) {
    EXPECT_NE(working->queue.pop(), nullptr);
    ASSERT_TRUE(working->queue.push(fiber(0)));
  }
  working->forget_told();
  EXPECT_EQ(std::uint32_t{working->told}, working->queue.taken());
  EXPECT_EQ(look_for_long(), verdict::quiet);
}

TEST_F(ConservationEvidence, ALoneFreshFiberIsItsParentsUntilThatHasLeft) {
  working->fresh_since = working->budget.load();
  ASSERT_TRUE(working->fresh.push(fiber(0)));
  EXPECT_EQ(look_for_long(), verdict::quiet);
  working->lone_due = true;  // sysmon has given it free, and will see to it
  EXPECT_EQ(look_for_long(), verdict::quiet);
  working->budget = 59;
  EXPECT_EQ(look_for_long(), verdict::lost);
}

TEST_F(ConservationEvidence, SeveralFreshFibersAreForAnybody) {
  working->fresh_since = working->budget.load();
  ASSERT_TRUE(working->fresh.push(fiber(0)));
  ASSERT_TRUE(working->fresh.push(fiber(1)));
  EXPECT_EQ(look_for_long(), verdict::lost);
}

TEST_F(ConservationEvidence, RunnextIsThatOfItsProcessorWhichMustNotSleepOnIt) {
  working->runnext = fiber(0);
  EXPECT_EQ(look_for_long(), verdict::quiet);
  sleeping->runnext = fiber(1);
  EXPECT_EQ(look_for_long(), verdict::lost);
}

TEST_F(ConservationEvidence, AMessageIsLostOnlyOnASleeper) {
  working->mailbox.push(fiber(0));
  EXPECT_EQ(look_for_long(), verdict::quiet);
  sleeping->mailbox.push(fiber(1));
  EXPECT_EQ(look_for_long(), verdict::lost);
}

TEST_F(ConservationEvidence, AnIoRequestIsLostOnlyOnASleeper) {
  working->has_io_requests = true;
  EXPECT_EQ(look_for_long(), verdict::quiet);
  sleeping->has_io_requests = true;
  EXPECT_EQ(look_for_long(), verdict::lost);
}

// A sleeper that knows of its timer is late if the kernel is.
TEST_F(ConservationEvidence, ATimerIsLostWhenItsSleeperHasPlannedToSleepLongerAndItIsDue) {
  timer_node t;
  bool ok = false;
  const std::int64_t when = now + 30 * limit;
  static_cast<void>(sleeping->timers.insert(&t, when, &ok));
  ASSERT_TRUE(ok);
  sleeper->sleep_until = never;
  EXPECT_EQ(look_for_long(), verdict::quiet);  // not due yet
  sleeper->sleep_until = when;
  EXPECT_EQ(look_for_long(), verdict::quiet);
  sleeper->sleep_until = when + 1;
  EXPECT_EQ(look_for_long(), verdict::lost);
  EXPECT_TRUE(sleeping->timers.remove(&t));
}

TEST_F(ConservationEvidence, AWokenProcessorWithNobodyThereIsLost) {
  EXPECT_TRUE(rt->idle.take(1));
  sleeping->owner = weft::detail::owner_woken;
  EXPECT_EQ(look_for_long(), verdict::quiet);  // its sleeper is on the way
  sleeping->sleepers = 0;
  EXPECT_EQ(look_for_long(), verdict::lost);
}

TEST_F(ConservationEvidence, ACountedSearcherWhoIsNowhereIsFound) {
  rt->inject.push(fiber(0));
  rt->spinning = 1;
  working->owner = weft::detail::owner_claimed;  // he may be the one that comes for this
  EXPECT_EQ(look_for_long(), verdict::quiet);
  working->owner = 1U << 3;
  worker->in_rt = 1U;  // or he who looks
  EXPECT_EQ(look_for_long(), verdict::in_doubt);
  worker->in_rt = 0U;
  EXPECT_EQ(look_for_long(), verdict::lost);
}

TEST_F(ConservationEvidence, NothingIsCertainWhileProcsChange) {
  rt->inject.push(fiber(0));
  rt->wish = -3;
  EXPECT_EQ(look_for_long(), verdict::quiet);
}

TEST_F(ConservationEvidence, NothingIsCertainAtTheEnd) {
  rt->inject.push(fiber(0));
  rt->stopping = true;
  EXPECT_EQ(look_for_long(), verdict::quiet);
}

TEST_F(ConservationEvidence, NothingIsCertainWithoutThreads) {
  rt->inject.push(fiber(0));
  rt->short_of_threads = true;
  EXPECT_EQ(look_for_long(), verdict::quiet);
}

// --- whole runtimes -----------------------------------------------------------------------------

template <class F>
weft_test::child_result child_with(const char* debug, F&& body) {
  return weft_test::run_child([&] {
    ::setenv("WEFT_DEBUG", debug, 1);
    ::unsetenv("WEFT_PROCS");
    ::alarm(100);
    body();
  });
}

// Waits for a wake-up that comes by hand.
struct waiting_fiber : timer_node {
  void wait() {
    fiber_core* self = weft::detail::current_fiber();
    weft::detail::park_begin(self, weft::detail::wait_reason::semacquire, nullptr);
    g.store(self);
    weft::detail::park_wait_slow(self);
    static_cast<void>(weft::detail::timer_stop(this));  // it may still be firing
  }
  std::atomic<fiber_core*> g{nullptr};
};

bool all_sleep(const runtime_state* rt) {
  return rt->idle.count() == rt->n_procs.load() && rt->spinning.load() == 0;
}

// The main fiber waits until everybody sleeps and a plain thread forgets to tell them. Again and
// again: something else may have woken a P at the right moment.
using forgetful = void (*)(runtime_state* rt, waiting_fiber& f);

void lose_wake_ups(forgetful publish) {
  weft::run(weft::options{.procs = 2}, [publish] {
    runtime_state* rt = weft::detail::default_runtime();
    while (rt->lost_wake_ups.load() == 0) {
      waiting_fiber f;
      std::thread outside([&] {
        while (f.g.load() == nullptr || !all_sleep(rt)) ::sched_yield();
        rt->external.fetch_add(1);
        publish(rt, f);
        rt->external.fetch_sub(1);
      });
      f.wait();
      outside.join();
    }
    weft_test::demand(weft::stats().lost_wake_ups == rt->lost_wake_ups.load(), "stats tell it");
  });
}

void into_the_shared_queue(runtime_state* rt, waiting_fiber& f) {
  fiber_core* g = f.g.load();
  g->state.store(fiber_state::runnable, std::memory_order_release);
  rt->inject.push(g);  // as ready() does, but for wake_if_idle()
}

void into_a_mailbox(runtime_state* rt, waiting_fiber& f) {
  fiber_core* g = f.g.load();
  g->state.store(fiber_state::runnable, std::memory_order_release);
  rt->procs[1]->mailbox.push(g);
}

void into_the_timers_of_another(runtime_state* rt, waiting_fiber& f) {
  f.fire = [](timer_node* t, std::int64_t) noexcept {
    weft::detail::ready(static_cast<waiting_fiber*>(t)->g.load());
  };
  bool ok = false;
  static_cast<void>(rt->procs[1]->timers.insert(&f, weft::detail::now_ns() + limit, &ok));
  weft_test::demand(ok, "there is memory for a timer");
}

TEST(ConservationWatch, ReportsAndPutsRightAForgottenSharedQueue) {
  const auto r = child_with("conserve=1ms", [] { lose_wake_ups(&into_the_shared_queue); });
  EXPECT_EQ(r.code, 0) << r.error;
  EXPECT_THAT(r.error, HasSubstr("sleeps beside fibers in the shared queue for "));
}

TEST(ConservationWatch, ReportsAndPutsRightAForgottenMailbox) {
  const auto r = child_with("conserve=1ms", [] { lose_wake_ups(&into_a_mailbox); });
  EXPECT_EQ(r.code, 0) << r.error;
  EXPECT_THAT(r.error, HasSubstr("weft: lost wake-up: P1 sleeps on fibers sent to it for "));
}

TEST(ConservationWatch, ReportsAndPutsRightAForgottenTimer) {
  const auto r = child_with("conserve=1ms", [] { lose_wake_ups(&into_the_timers_of_another); });
  EXPECT_EQ(r.code, 0) << r.error;
  EXPECT_THAT(r.error, HasSubstr("weft: lost wake-up: P1 sleeps on a due timer for "));
}

// A fiber at work wakes another without telling the P that sleeps, and computes on.
TEST(ConservationWatch, ReportsFibersInTheRingOfAProcessorAtWork) {
  const auto r = child_with("conserve=1ms", [] {
    weft::run(weft::options{.procs = 2}, [] {
      runtime_state* rt = weft::detail::default_runtime();
      while (rt->lost_wake_ups.load() == 0) {
        waiting_fiber f;
        std::atomic<bool> ran{false};
        auto other = weft::spawn([&] {
          f.wait();
          ran = true;
        });
        while (f.g.load() == nullptr || rt->idle.count() != 1 || rt->spinning.load() != 0) {
          weft::yield();
        }
        bool queued = false;
        {
          const weft::detail::rt_section section(weft::detail::this_machine());
          if (processor* p = section.p()) {
            f.g.load()->state.store(fiber_state::runnable);
            queued = p->queue.push(f.g.load());
            p->note_told();
          }
        }
        if (!queued) weft::detail::ready(f.g.load());  // sysmon has the P
        while (!ran.load() && rt->lost_wake_ups.load() == 0) {
        }
        other.join();
      }
    });
  });
  EXPECT_EQ(r.code, 0) << r.error;
  EXPECT_THAT(r.error, HasSubstr("sleeps beside woken fibers at P"));
}

TEST(ConservationWatch, EndsTheProcessIfAsked) {
  const auto r =
      child_with("conserve=1ms,conservefatal=1", [] { lose_wake_ups(&into_the_shared_queue); });
  EXPECT_EQ(r.code, 2) << r.error;
  EXPECT_THAT(r.error, HasSubstr("fatal error: a wake-up was lost"));
}

TEST(ConservationWatch, RefusesWhatIsNoTime) {
  const auto r = child_with("conserve=soon", [] { weft::run([] {}); });
  EXPECT_EQ(r.code, 0) << r.error;
  EXPECT_THAT(r.error, HasSubstr("conserve=soon: not a time"));
}

// Everything that wakes somebody, in bursts with pauses.
void burst(int round) {
  weft::wait_group all;
  const auto c = weft::make_chan<int>(4);
  for (int i = 0; i < 8; ++i) {
    all.go([c] {
      for (int k = 0; k < 20; ++k) c.send(k);
    });
    all.go([c] {
      for (int k = 0; k < 20; ++k) {
        static_cast<void>(c.recv());
        if (k % 5 == 0) weft::yield();
      }
    });
  }
  for (int i = 0; i < 4; ++i) {
    all.go([i] {
      weft::sleep_for(50us * (i + 1));
      weft::blocking([] { std::this_thread::sleep_for(100us); });
      for (int k = 0; k < 10; ++k) weft::spawn([] { weft::yield(); }).join();
    });
  }
  all.go([] {
    const weft::lock_thread pin;
    for (int k = 0; k < 5; ++k) weft::sleep_for(20us);
  });
  const auto from_outside = weft::make_chan<int>();
  std::thread outside([from_outside] {
    for (int k = 0; k < 20; ++k) from_outside.send(k);
    from_outside.close();
  });
  all.go([from_outside] {
    for (const int v : from_outside) static_cast<void>(v);
  });
  if (round % 5 == 4) static_cast<void>(weft::set_procs(1 + round % 4));
  all.wait();
  weft::blocking([&] { outside.join(); });
  weft::sleep_for(300us);
}

TEST(ConservationWatch, StressIsSilentOnABurstyLoad) {
  const auto r = child_with("conserve=500us,conservefatal=1", [] {
    for (const int procs : {1, 2, 8}) {
      weft::run(weft::options{.procs = procs}, [] {
        for (int round = 0; round < weft_test::scaled(100); ++round) burst(round);
      });
    }
  });
  EXPECT_EQ(r.code, 0) << r.error;
  EXPECT_THAT(r.error, Not(HasSubstr("lost wake-up")));
}

}  // namespace
