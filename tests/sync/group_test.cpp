// SPDX-License-Identifier: Apache-2.0
// wait_group, latch, barrier, semaphore, task_group: their sentences in API.md, and the tests of
// Go's sync.WaitGroup, x/sync/semaphore and x/sync/errgroup.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
#include <weft/barrier.hpp>
#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/fiber.hpp>
#include <weft/latch.hpp>
#include <weft/retry.hpp>
#include <weft/semaphore.hpp>
#include <weft/task_group.hpp>
#include <weft/time.hpp>
#include <weft/wait_group.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::background;

class Group : public both_worlds {};
WEFT_BOTH_WORLDS(Group);

// An aggregate makes its members from {}.
template <class T>
concept made_from_nothing = requires(void (*f)(const T&)) { f({}); };
static_assert(made_from_nothing<weft::task_group> && made_from_nothing<weft::supervisor>);

// A task is a copy, called as an lvalue.
struct changes {
  void operator()() { ++calls; }
  int calls = 0;
};
struct called_as_rvalue {
  void operator()() && {}
};
template <class F>
concept task = requires(weft::task_group& g, F&& f) { g.go(std::forward<F>(f)); };
static_assert(task<changes> && task<const changes&> && !task<called_as_rvalue>);

// Called in the way that gives what a task may return.
struct counts_or_runs {
  int operator()(const weft::context& /*ctx*/) { return 0; }
  void operator()() { ++*ran; }
  int* ran;
};
static_assert(task<counts_or_runs>);

TEST_P(Group, AFunctionIsCalledTheWayItIsATask) {
  run([] {
    int ran = 0;
    weft::task_group g;
    g.go(counts_or_runs{&ran});
    EXPECT_FALSE(g.wait());
    EXPECT_EQ(ran, 1);
  });
}

// --- wait_group

// TestWaitGroup: two groups, eight rounds.
TEST_P(Group, WaitGroupsLetEachOtherGo) {
  run([] {
    weft::wait_group a;
    weft::wait_group b;
    for (int round = 0; round < 8; ++round) {
      const int n = 16;
      a.add(n);
      b.add(n);
      std::atomic<int> exited{0};
      crew crowd(in_fibers());
      for (int i = 0; i < n; ++i) {
        crowd.start([&] {
          a.done();
          b.wait();
          ++exited;
        });
      }
      a.wait();
      for (int i = 0; i < n; ++i) {
        EXPECT_EQ(exited, 0);
        b.done();
      }
      crowd.join();
      EXPECT_EQ(exited, n);
    }
  });
}

// TestWaitGroupMisuse
TEST_P(Group, ANegativeCounterThrowsAndChangesNothing) {
  run([] {
    weft::wait_group wg;
    wg.add(1);
    wg.done();
    EXPECT_THROW(wg.done(), weft::logic_error);
    wg.wait();
    wg.add(3);
    EXPECT_THROW(wg.add(-4), weft::logic_error);
    wg.add(-3);
    wg.wait();
  });
}

// TestWaitGroupRace: what the tasks wrote is seen after wait.
TEST_P(Group, WaitSeesWhatTheTasksDid) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 1000 : 100); ++i) {
      weft::wait_group wg;
      int a = 0;
      int b = 0;
      wg.add(2);
      crew crowd(in_fibers());
      crowd.start([&] {
        a = 1;
        wg.done();
      });
      crowd.start([&] {
        b = 2;
        wg.done();
      });
      wg.wait();
      EXPECT_EQ(a + b, 3);
    }
  });
}

TEST_P(Group, GoRunsFibers) {
  run([] {
    weft::wait_group wg;
    std::atomic<int> sum{0};
    auto owned = std::make_unique<int>(5);
    wg.go([&sum, v = std::move(owned)] { sum += *v; });
    for (int i = 0; i < 100; ++i) wg.go([&] { ++sum; });
    wg.wait();
    EXPECT_EQ(sum, 105);
    wg.wait();  // nothing to wait for
  });
}

TEST_P(Group, WaitEndsWithTheContext) {
  run([] {
    weft::wait_group wg;
    auto [ctx, cancel] = weft::with_cancel(background());
    wg.add(1);
    crew other(in_fibers());
    other.start([&, &until = ctx] { EXPECT_EQ(wg.wait(until).error(), weft::errc::canceled); });
    for (int i = 0; i < 20; ++i) weft::yield();
    cancel();
    other.join();
    EXPECT_FALSE(wg.wait(ctx));
    wg.done();
    EXPECT_TRUE(wg.wait(background()));
  });
}

// It may be destroyed as soon as wait has returned.
TEST_P(Group, WaitGroupDestroyedAtOnceStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 5000 : 300); ++i) {
      auto wg = std::make_unique<weft::wait_group>();
      wg->add(2);
      crew crowd(in_fibers());
      crowd.start([raw = wg.get()] { raw->done(); });
      crowd.start([raw = wg.get()] { raw->done(); });
      wg->wait();
      wg.reset();
    }
  });
}

TEST_P(Group, WaitGroupDestroyedAtOnceAfterEveryFormStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 3000 : 300); ++i) {
      auto [ctx, cancel] = weft::with_cancel(background());
      auto wg = std::make_unique<weft::wait_group>();
      wg->go([] {});
      wg->add(1);
      crew crowd(in_fibers());
      crowd.start([raw = wg.get()] { raw->done(); });
      EXPECT_TRUE(wg->wait(ctx));
      wg.reset();
    }
  });
}

TEST(GroupMixed, FibersAndThreadsWaitForEachOther) {
  (void)weft::run(weft::options{}, [] {
    for (int round = 0; round < scaled(200); ++round) {
      weft::wait_group wg;
      std::atomic<int> ended{0};
      wg.add(2);
      std::thread t([&] {
        ++ended;
        wg.done();
      });
      std::thread waiter([&] {
        wg.wait();
        EXPECT_EQ(ended, 2);
      });
      weft::go([&] {
        ++ended;
        wg.done();
      });
      wg.wait();
      EXPECT_EQ(ended, 2);
      waiter.join();
      t.join();
    }
  });
}

TEST_P(Group, ManyWaitersStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 500 : 50); ++i) {
      weft::wait_group wg;
      wg.add(3);
      crew crowd(in_fibers());
      for (int k = 0; k < 3; ++k) {
        crowd.start([&] { wg.wait(); });
        crowd.start([&] { wg.done(); });
      }
    }
  });
}

// --- latch and barrier

TEST_P(Group, LatchOpensAtZero) {
  run([] {
    weft::latch l(3);
    EXPECT_FALSE(l.try_wait());
    std::atomic<int> passed{0};
    crew crowd(in_fibers());
    for (int i = 0; i < 4; ++i) {
      crowd.start([&] {
        l.wait();
        ++passed;
      });
    }
    l.count_down();
    EXPECT_EQ(passed, 0);
    l.count_down(2);
    crowd.join();
    EXPECT_EQ(passed, 4);
    EXPECT_TRUE(l.try_wait());
    EXPECT_THROW(l.count_down(), weft::logic_error);
    EXPECT_THROW(weft::latch(-1), weft::logic_error);
    auto [ctx, cancel] = weft::with_timeout(background(), 2ms);
    const weft::latch closed(1);
    EXPECT_EQ(closed.wait(ctx).error(), weft::errc::deadline_exceeded);
    weft::latch together(2);
    crowd.start([&] { together.arrive_and_wait(); });
    together.arrive_and_wait();
  });
}

TEST_P(Group, LatchDestroyedAtOnceStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 3000 : 300); ++i) {
      auto l = std::make_unique<weft::latch>(1);
      crew other(in_fibers());
      other.start([raw = l.get()] { raw->count_down(); });
      l->wait();
      l.reset();
    }
  });
}

TEST_P(Group, BarrierRunsItsCompletionOncePerPhase) {
  run([] {
    constexpr std::size_t n = 4;
    const int phases = scaled(200);
    int completed = 0;
    std::array<int, n> at{};
    const auto completion = [&]() noexcept {
      for (const int p : at) EXPECT_EQ(p, completed / 2 + 1);
      ++completed;
    };
    weft::barrier b(n, completion);
    crew crowd(in_fibers());
    for (std::size_t i = 0; i < n; ++i) {
      crowd.start([&, i] {
        for (int p = 0; p < phases; ++p) {
          ++at[i];
          b.arrive_and_wait();
          EXPECT_EQ(completed, 2 * p + 1);
          b.arrive_and_wait();  // so that nobody runs ahead of the check
        }
      });
    }
    crowd.join();
    EXPECT_EQ(completed, 2 * phases);
  });
}

TEST_P(Group, BarrierParticipantsMayLeaveAndGiveUp) {
  run([] {
    weft::barrier b(3);
    auto [ctx, cancel] = weft::with_cancel(background());
    cancel();
    EXPECT_EQ(b.arrive_and_wait(ctx).error(), weft::errc::canceled);
    auto [timed, cancel_timed] = weft::with_timeout(background(), 2ms);
    EXPECT_EQ(b.arrive_and_wait(timed).error(), weft::errc::deadline_exceeded);  // taken back
    crew crowd(in_fibers());
    crowd.start([&] { b.arrive_and_drop(); });
    crowd.start([&] {
      b.arrive_and_wait();
      b.arrive_and_wait();
    });
    b.arrive_and_wait();
    EXPECT_TRUE(b.arrive_and_wait(background()));  // two are left
    EXPECT_THROW((void)weft::barrier(0), weft::logic_error);
  });
}

// A context ends the wait of one at the moment at which the last one arrives: either it is counted,
// or it has taken its arrival back.
TEST_P(Group, BarrierGivingUpRacesTheLastArrivalStress) {
  run([] {
    const int n = scaled(in_fibers() ? 3000 : 300);
    for (int i = 0; i < n; ++i) {
      weft::barrier b(2);
      auto [ctx, cancel] = weft::with_cancel(background());
      auto [late, cancel_late] = weft::with_timeout(background(), 10s);
      bool counted = false;
      crew quitter(in_fibers());
      crew others(in_fibers());
      quitter.start([&, &until = ctx] { counted = b.arrive_and_wait(until).has_value(); });
      others.start([&, &until = late] { EXPECT_TRUE(b.arrive_and_wait(until)); });
      others.start([&stop = cancel] { stop(); });
      quitter.join();
      if (!counted) {
        EXPECT_TRUE(b.arrive_and_wait(late));  // in its place
      }
      others.join();
      others.start([&, &until = late] { EXPECT_TRUE(b.arrive_and_wait(until)); });
      EXPECT_TRUE(b.arrive_and_wait(late)) << "the next phase needs two, as every phase";
      others.join();
    }
  });
}

// --- semaphore

// TestWeightedTryAcquire, TestWeightedAcquire
TEST_P(Group, SemaphoreCountsUnits) {
  run([] {
    weft::semaphore s(2);
    EXPECT_TRUE(s.try_acquire());
    EXPECT_TRUE(s.try_acquire());
    EXPECT_FALSE(s.try_acquire());
    s.release(2);
    s.acquire(2);
    EXPECT_FALSE(s.try_acquire_for(2ms));
    s.release();
    EXPECT_EQ(s.available(), 1U);
    EXPECT_TRUE(s.acquire(background()));
    s.release(2);
  });
}

// TestWeightedPanic
TEST_P(Group, SemaphoreMisuseThrows) {
  run([] {
    weft::semaphore s(1);
    EXPECT_THROW(s.release(), weft::logic_error);
    EXPECT_THROW(s.acquire(2), weft::logic_error);
    EXPECT_FALSE(s.try_acquire(2));
    EXPECT_EQ(s.available(), 1U);
  });
}

// TestWeightedDoesntBlockIfTooBig: waits for its context without holding up others.
TEST_P(Group, ATooLargeRequestHoldsUpNobody) {
  run([] {
    weft::semaphore s(2);
    auto [ctx, cancel] = weft::with_cancel(background());
    crew crowd(in_fibers());
    crowd.start(
        [&, &until = ctx] { EXPECT_EQ(s.acquire(until, 3).error(), weft::errc::canceled); });
    for (int i = 0; i < 20; ++i) weft::yield();
    for (int i = 0; i < 5; ++i) {
      s.acquire(2);
      s.release(2);
    }
    cancel();
  });
}

// TestLargeAcquireDoesntStarve
TEST_P(Group, ALargeRequestIsNotStarvedBySmallOnes) {
  run([] {
    const std::size_t n = 4;
    weft::semaphore s(n);
    std::atomic<bool> running{true};
    crew crowd(in_fibers());
    for (std::size_t i = 0; i < n; ++i) {
      crowd.start([&] {
        while (running) {
          s.acquire();
          weft::yield();
          s.release();
        }
      });
    }
    s.acquire(n);
    running = false;
    s.release(n);
  });
}

// TestAllocCancelDoesntStarve: cancelling the one at the front lets the next one through.
TEST_P(Group, ACancelledRequestGivesItsPlaceToTheNext) {
  run([] {
    weft::semaphore s(10);
    s.acquire(1);
    auto [ctx, cancel] = weft::with_cancel(background());
    crew crowd(in_fibers());
    crowd.start([&, &until = ctx] { EXPECT_FALSE(s.acquire(until, 10)); });
    yield_until([&] { return !s.try_acquire() || (s.release(), false); });
    crowd.start([&] { s.acquire(1); });
    for (int i = 0; i < 20; ++i) weft::yield();
    cancel();
    crowd.join();  // the small one came through though nothing was released
    EXPECT_EQ(s.available(), 8U);
    s.release(2);
  });
}

// TestWeighted, TestWeightedAcquireCanceled: hammer.
TEST_P(Group, SemaphoreStress) {
  run([] {
    weft::semaphore s(5);
    std::atomic<int> inside{0};
    const int n = scaled(in_fibers() ? 3000 : 500);
    crew crowd(in_fibers());
    for (int i = 0; i < 8; ++i) {
      crowd.start([&, i] {
        const int units = 1 + i % 4;
        for (int k = 0; k < n; ++k) {
          if (k % 4 == 0) {
            if (!s.try_acquire_for(std::chrono::microseconds(k % 20),
                                   static_cast<std::size_t>(units))) {
              continue;
            }
          } else {
            s.acquire(static_cast<std::size_t>(units));
          }
          EXPECT_LE(inside += units, 5);
          if (k % 10 == 0) weft::yield();
          inside -= units;
          s.release(static_cast<std::size_t>(units));
        }
      });
    }
    crowd.join();
    EXPECT_EQ(s.available(), 5U);
  });
}

// --- task_group

const auto boom = std::make_error_code(std::errc::io_error);

// TestZeroGroup
TEST_P(Group, TheFirstErrorWins) {
  run([] {
    {
      weft::task_group g;
      EXPECT_FALSE(g.wait());
    }
    weft::task_group g;
    auto order = weft::make_chan<weft::unit>();
    g.go([] {});
    g.go([=]() -> std::error_code {
      (void)order.recv();
      return std::make_error_code(std::errc::broken_pipe);
    });
    g.go([=, &g]() -> weft::result<void> {
      weft::after_func(g.context(), [=] { order.send({}); }).detach();
      return weft::failure(boom);
    });
    EXPECT_EQ(g.wait(), boom);
  });
}

// TestWithContext, TestCancelCause: the first error is the cause that cancelled the others.
TEST_P(Group, AFailureCancelsTheOthersAndIsTheCause) {
  run([] {
    auto [parent, cancel] = weft::with_cancel(background());
    weft::task_group g{parent};
    std::atomic<int> cancelled{0};
    for (int i = 0; i < 5; ++i) {
      g.go([&](const weft::context& ctx) {
        (void)ctx.done().recv();
        EXPECT_EQ(ctx.cause(), boom);
        ++cancelled;
      });
    }
    g.go([] { return boom; });
    EXPECT_EQ(g.wait(), boom);
    EXPECT_EQ(cancelled, 5);
    EXPECT_FALSE(parent.err());
    weft::task_group below{parent};
    below.go([](const weft::context& ctx) { (void)ctx.done().recv(); });
    cancel();
    EXPECT_FALSE(below.wait());  // nobody failed
    EXPECT_TRUE(below.context().err());
  });
}

TEST_P(Group, TheFirstExceptionIsRethrownByWait) {
  run([] {
    weft::task_group g;
    g.go([](const weft::context& ctx) { (void)ctx.done().recv(); });
    g.go([] { throw std::runtime_error("from a task"); });
    try {
      (void)g.wait();
      FAIL();
    } catch (const std::runtime_error& e) {
      EXPECT_STREQ(e.what(), "from a task");
    }
  });
}

// TestGoLimit, TestTryGo
TEST_P(Group, TheLimitHolds) {
  run([] {
    weft::task_group g;
    g.set_limit(3);
    std::atomic<int> active{0};
    for (int i = 0; i < scaled(300); ++i) {
      g.go([&] {
        EXPECT_LE(++active, 3);
        weft::yield();
        --active;
      });
    }
    EXPECT_FALSE(g.wait());
    EXPECT_THROW(g.set_limit(0), weft::logic_error);
    weft::task_group h;
    h.set_limit(1);
    auto hold = weft::make_chan<weft::unit>();
    EXPECT_TRUE(h.try_go([=] { (void)hold.recv(); }));
    EXPECT_FALSE(h.try_go([] { FAIL(); }));
    EXPECT_THROW(h.set_limit(2), weft::logic_error);
    hold.send({});
    EXPECT_FALSE(h.wait());
  });
}

TEST_P(Group, TheDestructorJoinsAndCancelsWhenUnwinding) {
  run([] {
    std::atomic<int> ended{0};
    {
      weft::task_group g;
      g.go([&] {
        weft::sleep_for(1ms);
        ++ended;
      });
    }
    EXPECT_EQ(ended, 1);
    try {
      weft::task_group g;
      g.go([&](const weft::context& ctx) {
        (void)ctx.done().recv();
        ++ended;
      });
      throw 1;
    } catch (int) {
    }
    EXPECT_EQ(ended, 2);
  });
}

TEST_P(Group, ASupervisorsSiblingsLiveOn) {
  run([] {
    weft::supervisor g;
    auto failed = weft::make_chan<weft::unit>();
    std::atomic<bool> lived_on{false};
    g.go([=] {
      failed.send({});
      return boom;
    });
    g.go([&, failed](const weft::context& ctx) {
      (void)failed.recv();
      for (int i = 0; i < 20; ++i) weft::yield();
      EXPECT_FALSE(ctx.err());
      lived_on = true;
    });
    EXPECT_EQ(g.wait(), boom);
    EXPECT_TRUE(lived_on);
  });
}

TEST_P(Group, ASupervisorTellsTheFirstFailureOfAll) {
  run([] {
    weft::supervisor g;
    g.set_limit(1);  // one after the other
    std::atomic<int> ran{0};
    g.go([&] { ++ran; });
    g.go([&] {
      ++ran;
      throw std::runtime_error("the first");
    });
    g.go([&]() -> weft::result<void> {
      ++ran;
      return weft::failure(boom);
    });
    g.go([&](const weft::context& ctx) {
      ++ran;
      EXPECT_FALSE(ctx.err());
    });
    try {
      (void)g.wait();
      FAIL();
    } catch (const std::runtime_error& e) {
      EXPECT_STREQ(e.what(), "the first");
    }
    EXPECT_EQ(ran, 4);
    EXPECT_TRUE(g.context().err());  // over
  });
}

TEST_P(Group, ASupervisorEndsWithItsParentOrWhenTold) {
  run([] {
    for (const bool by_parent : {true, false}) {
      auto [parent, cancel] = weft::with_cancel(background());
      weft::supervisor g{parent};
      std::atomic<int> ended{0};
      for (int i = 0; i < 3; ++i) {
        g.go([&](const weft::context& ctx) {
          (void)ctx.done().recv();
          EXPECT_EQ(ctx.cause(), boom);
          ++ended;
        });
      }
      if (by_parent) {
        cancel(boom);
      } else {
        g.cancel(boom);
      }
      EXPECT_FALSE(g.wait());
      EXPECT_EQ(ended, 3);
    }
  });
}

// A restart policy is a retry around the task: pauses, a limit, and the group's end stops it.
TEST_P(Group, ASupervisedTaskRestartsByRetry) {
  run([] {
    weft::supervisor g;
    std::atomic<int> starts{0};
    auto steady = weft::make_chan<weft::unit>();
    g.go([&](const weft::context& ctx) {
      return weft::retry(ctx, {.max_attempts = 0, .initial = 1us}, [&]() -> std::error_code {
        if (++starts < 5) return boom;
        if (starts == 5) throw std::runtime_error("restarts after an exception too");
        steady.send({});
        (void)ctx.done().recv();
        return {};
      });
    });
    (void)steady.recv();
    EXPECT_EQ(starts, 6);
    g.cancel();
    EXPECT_FALSE(g.wait());
  });
}

TEST_P(Group, TaskGroupsStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 500 : 100); ++i) {
      weft::task_group g;
      std::atomic<int> n{0};
      for (int k = 0; k < 10; ++k) {
        g.go([&, k]() -> std::error_code {
          ++n;
          return k == i % 10 ? boom : std::error_code{};
        });
      }
      EXPECT_EQ(g.wait(), boom);
      EXPECT_EQ(n, 10);
    }
  });
}

// Lets everybody else run while it is destroyed, then looks whether the wait is over already.
struct goes_slowly {
  std::atomic<bool>* wait_is_over;
  std::atomic<int>* too_late;
  bool counts = true;
  goes_slowly(std::atomic<bool>* over, std::atomic<int>* late)
      : wait_is_over(over), too_late(late) {}
  goes_slowly(goes_slowly&& o) noexcept
      : wait_is_over(o.wait_is_over),
        too_late(o.too_late),
        counts(std::exchange(o.counts, false)) {}
  ~goes_slowly() {
    if (!counts) return;
    for (int i = 0; i < 100; ++i) weft::yield();
    if (wait_is_over->load()) ++*too_late;
  }
};

// A closure used to be destroyed after done(), beside the one who waited: a channel in that one's
// frame was still held then.
TEST(GroupOwnership, WhatATaskOwnedIsGoneWhenWaitReturns) {
  weft::run([] {
    std::atomic<int> too_late{0};
    for (int round = 0; round < 50; ++round) {
      std::atomic<bool> over{false};
      weft::wait_group wg;
      wg.go([owned = goes_slowly(&over, &too_late)] {});
      wg.wait();
      over = true;
      weft::task_group group;
      over = false;
      group.go([owned = goes_slowly(&over, &too_late)] {});
      EXPECT_FALSE(group.wait());
      over = true;
    }
    for (int i = 0; i < 1000; ++i) weft::yield();
    EXPECT_EQ(too_late.load(), 0);
  });
}

}  // namespace
