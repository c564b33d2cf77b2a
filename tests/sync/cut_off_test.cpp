// SPDX-License-Identifier: Apache-2.0
// Tasks that the end of their runtime cuts off: nobody waits for them any more, neither a thread
// nor a fiber of a later run, neither in wait() nor in a destructor.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>

#include <weft/budget.hpp>
#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/fiber.hpp>
#include <weft/run.hpp>
#include <weft/singleflight.hpp>
#include <weft/task_group.hpp>
#include <weft/time.hpp>
#include <weft/wait_group.hpp>

#include "tests/chan/support.hpp"
#include "tests/support/child.hpp"

namespace {

using namespace weft_test;
using weft::background;

const auto boom = std::make_error_code(std::errc::io_error);

/// A run that ends with tasks that wait, and with some that perhaps have not begun. (What an
/// abandoned frame or closure owns is never given back: they own nothing.)
template <class Start>
void run_and_cut_off(Start start) {
  auto never = weft::make_chan<int>();
  weft::run(weft::options{.procs = 1}, [&] {
    const auto waits = [&never] { static_cast<void>(never.recv()); };
    for (int i = 0; i < 4; ++i) start(waits);
    yield_until([&] { return parked_receivers(never) == 4; });
    for (int i = 0; i < 4; ++i) start(waits);
  });
}

TEST(CutOff, AGroupDoesNotWaitForItsTasks) {
  weft::task_group group;
  run_and_cut_off([&](const auto& task) { group.go(task); });
  EXPECT_EQ(group.wait(), weft::errc::canceled);
  weft::supervisor limited;
  limited.set_limit(8);
  run_and_cut_off([&](const auto& task) { limited.go(task); });
  EXPECT_EQ(limited.wait(), weft::errc::canceled);
  limited.set_limit(1);  // nobody runs
  weft::task_group dropped;
  run_and_cut_off([&](const auto& task) { dropped.go(task); });
}

TEST(CutOff, AFailureFromBeforeIsTheOneThatIsTold) {
  auto never = weft::make_chan<int>();
  weft::task_group group;
  weft::run(weft::options{.procs = 1}, [&] {
    group.go([] { return boom; });
    static_cast<void>(group.context().done().recv());
    group.go([&never] { static_cast<void>(never.recv()); });
    yield_until([&] { return parked_receivers(never) == 1; });
  });
  EXPECT_EQ(group.wait(), boom);
}

TEST(CutOff, ALaterRunDestroysTheGroup) {
  auto group = std::make_unique<weft::task_group>();
  run_and_cut_off([&](const auto& task) { group->go(task); });
  weft::run([&] { group.reset(); });
}

TEST(CutOff, AThreadThatWaitsAlreadyGoesOn) {
  auto never = weft::make_chan<int>();
  weft::task_group group;
  std::thread waiter;
  weft::run(weft::options{.procs = 1}, [&] {
    group.go([&never] { static_cast<void>(never.recv()); });
    yield_until([&] { return parked_receivers(never) == 1; });
    waiter = std::thread([&] { EXPECT_EQ(group.wait(), weft::errc::canceled); });
  });
  waiter.join();
}

TEST(CutOff, WhatATaskOwnedThatHasNotBegunIsGoneBeforeTheWaitIsOver) {
  for (int round = 0; round < 20; ++round) {
    auto owned = std::make_shared<int>(1);
    weft::task_group group;
    weft::run(weft::options{.procs = 1}, [&] {
      for (int i = 0; i < 8; ++i) group.go([owned] {});
    });
    const std::error_code e = group.wait();
    EXPECT_TRUE(!e || e == weft::errc::canceled) << e.message();
    EXPECT_EQ(owned.use_count(), 1);
  }
}

// It goes after the tasks of the group, however they lie in memory. (In a child: on many Ps it may
// have begun, and is then never given back.)
TEST(CutOff, AFunctionThatHasNotBegunMayOwnTheGroup) {
  const auto r = weft_test::run_child([] {
    ::alarm(60);
    for (int round = 0; round < 20; ++round) {
      weft::run(weft::options{.procs = 1}, [] {
        auto group = std::make_unique<weft::task_group>();
        for (int i = 0; i < 8; ++i) group->go([] {});
        weft::go([owned = std::move(group)] {});
      });
    }
  });
  EXPECT_EQ(r.code, 0) << r.error;
}

// Its inner tasks wait on stacks, wherever they lie in memory. (In a child: as above.)
TEST(CutOff, ATaskThatHasNotBegunMayOwnAGroupWhoseTasksWait) {
  const auto r = weft_test::run_child([] {
    ::alarm(60);
    for (int round = 0; round < 20; ++round) {
      auto never = weft::make_chan<int>();
      weft::task_group outer;
      weft::run(weft::options{.procs = 1}, [&] {
        auto inner = std::make_unique<weft::task_group>();
        for (int i = 0; i <= round % 5; ++i) weft::go([] { weft::yield(); });
        for (int i = 0; i < 4; ++i) inner->go([&never] { static_cast<void>(never.recv()); });
        yield_until([&] { return parked_receivers(never) == 4; });
        outer.go([owned = std::move(inner)] {});
      });
      static_cast<void>(outer.wait());
    }
  });
  EXPECT_EQ(r.code, 0) << r.error;
}

TEST(CutOff, ALaterFailureStillCancelsTheOthers) {
  weft::task_group group;
  run_and_cut_off([&](const auto& task) { group.go(task); });
  weft::run([&] {
    group.go([&] { static_cast<void>(group.context().done().recv()); });
    group.go([] { return boom; });
    EXPECT_EQ(group.wait(), weft::errc::canceled);
    EXPECT_EQ(group.context().cause(), boom);
  });
}

// A task is counted before there is a fiber for it, and making one is where fibers leave a runtime
// that ends. (Not without bound: the end may be late.)
TEST(CutOff, StressTasksStartTasksUntilTheEnd) {
  const int tasks = scaled(3000);
  for (int round = 0; round < scaled(200); ++round) {
    weft::supervisor group;
    weft::budget budget(1'000'000);
    weft::run(weft::options{.procs = 2}, [&] {
      for (int i = 0; i < 2; ++i) {
        group.go([&group, tasks] {
          for (int n = 0; n < tasks; ++n) group.go([] {});
        });
        EXPECT_TRUE(budget.go([&budget, tasks] {
          for (int n = 0; n < tasks; ++n) static_cast<void>(budget.go([] {}));
        }));
      }
      weft::sleep_for(std::chrono::microseconds(20 + round % 50));
    });
    static_cast<void>(group.wait());
    budget.wait();
    EXPECT_EQ(budget.stats().in_use, 0U);
  }
}

TEST(CutOff, ABudgetDoesNotWaitForItsFibers) {
  weft::budget budget(8);
  run_and_cut_off([&](const auto& task) { EXPECT_TRUE(budget.go(task)); });
  budget.wait();
  EXPECT_EQ(budget.stats().in_use, 0U);
  weft::budget dropped(8);
  run_and_cut_off([&](const auto& task) { EXPECT_TRUE(dropped.go(task)); });
}

TEST(CutOff, StressGroupsOutliveTheirRuns) {
  auto never = weft::make_chan<int>();
  for (int round = 0; round < scaled(300); ++round) {
    weft::supervisor group;
    weft::budget budget(64);
    weft::run(weft::options{.procs = 2}, [&] {
      for (int i = 0; i < 8; ++i) {
        group.go([&never] { static_cast<void>(never.recv()); });
        group.go([] {
          for (;;) weft::yield();
        });
        group.go([] { return boom; });
        EXPECT_TRUE(budget.go([] { weft::yield(); }));
        if (i % 3 == round % 3) weft::yield();
      }
    });
    const std::error_code e = group.wait();
    EXPECT_TRUE(e == boom || e == weft::errc::canceled) << e.message();
  }
}

/// A run that ends with a call under way that its only caller has left.
template <class WhileItRuns>
void run_and_cut_off_call(weft::singleflight<int, int>& flights, WhileItRuns while_it_runs) {
  auto never = weft::make_chan<int>();
  weft::run(weft::options{.procs = 1}, [&] {
    auto [ctx, cancel] = weft::with_cancel(background());
    weft::wait_group caller;
    caller.go([&, &until = ctx] {
      EXPECT_FALSE(flights.do_(until, 1, [&never] { return never.recv().value_or(0); }));
    });
    yield_until([&] { return parked_receivers(never) == 1; });
    while_it_runs();
    cancel();
    caller.wait();
    EXPECT_EQ(parked_receivers(never), 1U);
  });
}

TEST(CutOff, ACallOfAFlightIsOver) {
  weft::singleflight<int, int> flights;
  run_and_cut_off_call(flights, [] {});
  EXPECT_EQ(flights.callers(1), 0U);
  EXPECT_EQ(flights.do_(1, [] { return 5; }).first, 5);
  run_and_cut_off_call(flights, [] {});
  weft::run([&] { EXPECT_EQ(flights.do_(background(), 1, [] { return 6; })->first, 6); });
  run_and_cut_off_call(flights, [] {});  // and the destructor does not wait for it
}

TEST(CutOff, AThreadThatWaitsForACallIsTold) {
  weft::singleflight<int, int> flights;
  std::thread joined;
  run_and_cut_off_call(flights, [&] {
    joined = std::thread([&] {
      try {
        static_cast<void>(flights.do_(1, [] { return 0; }));
        ADD_FAILURE() << "it got a value";
      } catch (const std::system_error& e) {
        EXPECT_EQ(e.code(), weft::errc::canceled);
      }
    });
    yield_until([&] { return flights.callers(1) == 2; });
  });
  joined.join();
}

// In a child: the frame that is left behind keeps the call.
TEST(CutOff, APlainCallOfAFlightIsOver) {
  const auto r = weft_test::run_child([] {
    ::alarm(60);
    weft::singleflight<int, int> flights;
    for (int round = 0; round < 3; ++round) {
      auto never = weft::make_chan<int>();
      weft::run(weft::options{.procs = 1}, [&] {
        weft::go([&] {
          static_cast<void>(flights.do_(1, [&never] { return never.recv().value_or(0); }));
        });
        yield_until([&] { return parked_receivers(never) == 1; });
        demand(flights.callers(1) == 1, "the call is under way");
      });
      demand(flights.callers(1) == 0, "it is over");
    }
    demand(flights.do_(1, [] { return 5; }).first == 5, "a thread starts afresh");
  });
  EXPECT_EQ(r.code, 0) << r.error;
}

}  // namespace
