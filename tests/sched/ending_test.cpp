// SPDX-License-Identifier: Apache-2.0
// How processes and runtimes end: deadlock, panic, abandoned fibers, many runs in one process.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <thread>
#include <tuple>
#include <vector>

#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/fiber.hpp>
#include <weft/mutex.hpp>
#include <weft/run.hpp>
#include <weft/select.hpp>
#include <weft/stats.hpp>
#include <weft/time.hpp>
#include <weft/wait_group.hpp>
#include "sched/runtime_state.hpp"
#include "tests/chan/support.hpp"
#include "tests/support/child.hpp"

namespace {

using namespace std::chrono_literals;

long resident_kib() {
  std::ifstream statm("/proc/self/statm");
  long size = 0;
  long resident = 0;
  statm >> size >> resident;
  return resident * (::sysconf(_SC_PAGESIZE) / 1024);
}

WEFT_NOINLINE void throws_deep_inside() { throw std::runtime_error("out of hand"); }

TEST(Ending, DeadlockIsReportedWithEveryFiber) {
  const auto r = weft_test::run_child([] {
#if WEFT_TSAN || WEFT_EMULATED
    // After a fork the sanitizer has extra threads; the emulator always has.
    ::setenv("WEFT_DEBUG", "deadlock=fatal", 1);
#endif
    weft::run([] {
      auto c = weft::make_chan<int>();
      weft::go([c] { static_cast<void>(c.recv()); });
      static_cast<void>(c.recv());
    });
  });
  EXPECT_EQ(r.code, 2) << r.error;
  EXPECT_EQ(r.error.find("fatal error: all fibers are asleep - deadlock!\n"), 0U) << r.error;
  EXPECT_NE(r.error.find("[chan receive]:"), std::string::npos) << r.error;
  EXPECT_NE(r.error.find("ending_test.cpp:"), std::string::npos) << r.error;
}

// A plain thread inside ready() hides the deadlock while it is there, and says nothing when it
// leaves: sysmon must not have gone to sleep meanwhile.
TEST(Ending, DeadlockIsReportedAfterAPlainThreadHasLeftTheRuntime) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "deadlock=fatal", 1);
    ::alarm(60);
    weft::run([] {
      std::atomic<bool> held{false};
      std::thread t([&] {
        const weft::detail::runtime_hold hold;
        held = true;
        std::this_thread::sleep_for(300ms);
      });
      while (!held) weft::yield();
      static_cast<void>(weft::make_chan<int>().recv());
      t.join();
    });
  });
  EXPECT_EQ(r.code, 2) << r.error;
  EXPECT_EQ(r.signal, 0) << r.error;
}

// Both are found asleep beside what could still have woken a fiber, and hear nothing of its end.
// (Trimming has to be off: sysmon gets up for that, and looks again.)
TEST(Ending, DeadlockIsReportedAfterAForeignThreadHasEnded) {
  const auto r = weft_test::run_child([] {
    // As above with TSan; it is said at once then.
    ::setenv("WEFT_DEBUG", WEFT_TSAN || WEFT_EMULATED ? "trim=0,deadlock=fatal" : "trim=0", 1);
    ::alarm(60);
    const auto c = weft::make_chan<int>();
    std::thread([&c] {
      while (weft_test::parked_receivers(c) == 0) std::this_thread::yield();
      std::this_thread::sleep_for(300ms);  // it sleeps deeply by then, or the test is less sharp
    }).detach();
    weft::run([&c] { static_cast<void>(c.recv()); });
  });
  EXPECT_EQ(r.code, 2) << r.error;
  EXPECT_EQ(r.signal, 0) << r.error;
}

TEST(Ending, DeadlockIsReportedAfterAnotherRuntimeHasEnded) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", WEFT_TSAN || WEFT_EMULATED ? "trim=0,deadlock=fatal" : "trim=0", 1);
    ::alarm(60);
    weft::runtime mine{weft::options{.procs = 1}};
    const auto c = weft::make_chan<int>();
    std::thread([&c] {
      const weft::runtime other{weft::options{.procs = 1}};
      while (weft_test::parked_receivers(c) == 0) std::this_thread::yield();
      std::this_thread::sleep_for(300ms);
    }).detach();
    mine.run([&c] { static_cast<void>(c.recv()); });
  });
  EXPECT_EQ(r.code, 2) << r.error;
  EXPECT_EQ(r.signal, 0) << r.error;
}

TEST(Ending, NoDeadlockWhileAForeignThreadCouldStillSend) {
  const auto r = weft_test::run_child([] {
    weft::run([] {
      auto c = weft::make_chan<int>();
      std::thread t([c] {
        std::this_thread::sleep_for(50ms);
        c.send(1);
      });
      static_cast<void>(c.recv());
      t.join();
    });
  });
  EXPECT_EQ(r.code, 0) << r.error;
}

TEST(Ending, NoDeadlockWhileAnotherRuntimeCouldStillSend) {
  const auto r = weft_test::run_child([] {
    weft::runtime other{weft::options{.procs = 1}};
    weft::runtime mine{weft::options{.procs = 1}};
    const auto c = weft::make_chan<int>();
    other.go([c] {
      weft::sleep_for(50ms);
      c.send(1);
    });
    mine.run([&c] { static_cast<void>(c.recv()); });
  });
  EXPECT_EQ(r.code, 0) << r.error;
}

TEST(Ending, APanicPrintsTheThrowingStackAndEndsWithTwo) {
  const auto r = weft_test::run_child([] {
    weft::run([] {
      auto f = weft::spawn(weft::fiber_options{.name = "victim"}, [] { throws_deep_inside(); });
      f.join();
    });
  });
  EXPECT_EQ(r.code, 2) << r.error;
  EXPECT_NE(r.error.find("panic: std::runtime_error: out of hand"), std::string::npos) << r.error;
  EXPECT_NE(r.error.find("fiber "), std::string::npos) << r.error;
  EXPECT_NE(r.error.find("created by "), std::string::npos) << r.error;
  EXPECT_NE(r.error.find("ending_test.cpp:"), std::string::npos) << r.error;
}

TEST(Ending, SendOnAClosedChannelIsAPanicWithItsName) {
  const auto r = weft_test::run_child([] {
    weft::run([] {
      auto c = weft::make_chan<int>(1);
      c.close();
      weft::spawn([c] { c.send(1); }).join();
    });
  });
  EXPECT_EQ(r.code, 2) << r.error;
  EXPECT_NE(r.error.find("closed_channel"), std::string::npos) << r.error;
}

TEST(Ending, ASecondRunAtOnceThrowsAndALaterOneWorks) {
  EXPECT_EQ(weft::run([] {
              try {
                weft::run([] {});
                ADD_FAILURE() << "a second run started";
              } catch (const std::system_error& e) {
                EXPECT_EQ(e.code(), weft::errc::already_running);
              }
              return 3;
            }),
            3);
  EXPECT_EQ(weft::run([] { return 4; }), 4);
}

// Fibers left in every kind of wait. Objects on both sides of the end: some in the frames of
// abandoned fibers, some outliving the runtime.
void run_with_leftovers(weft::chan<int>& outliving, weft::mutex& outliving_mutex,
                        weft::wait_group& never_done) {
  weft::run([&] {
    auto idle = weft::make_chan<int>();
    weft::go([&] { static_cast<void>(outliving.recv()); });
    weft::go([&] { static_cast<void>(idle.recv()); });
    weft::go([&] {
      idle.send(1);
      idle.send(2);
    });
    weft::go([&] { never_done.wait(); });
    weft::go([&] { weft::sleep_for(1h); });
    weft::go([&] {
      std::ignore = weft::select(weft::on_recv(outliving, [](std::optional<int>) {}),
                                 weft::on_timeout(1h, [] {}));
    });
    weft::go([&] { outliving_mutex.lock(); });
    weft::go([&] { std::ignore = weft::chan<int>{}.recv(); });
    weft::go([&] {
      for (;;) weft::yield();
    });
    // Nine are left in the end: this one, the one that spins, and seven that wait; the receiver of
    // `idle` has ended. `idle` ends with this frame, so who uses it must have come to rest: a fiber
    // that is about to wait counts as waiting before it stands in the line.
    while (weft::num_fibers() != 9 || weft::stats().waiting != 7 ||
           weft_test::parked_senders(idle) != 1) {
      weft::yield();
    }
    weft::go([] {});  // perhaps never run
  });
}

TEST(Ending, RunReturnsWithFibersLeftInEveryKindOfWait) {
  auto outliving = weft::make_chan<int>(1);
  weft::mutex outliving_mutex;
  outliving_mutex.lock();
  weft::wait_group never_done;
  never_done.add(1);
  for (int i = 0; i < 20; ++i) run_with_leftovers(outliving, outliving_mutex, never_done);
  // What lives on is in order: nobody of the dead is in its queues.
  outliving.send(5);
  EXPECT_EQ(outliving.recv(), 5);
  outliving_mutex.unlock();
  EXPECT_TRUE(outliving_mutex.try_lock());
  outliving_mutex.unlock();
}

TEST(Ending, ManyRunsInOneProcessDoNotGrow) {
#if WEFT_TSAN || WEFT_ASAN || WEFT_EMULATED
  constexpr int runs = 100;
#else
  constexpr int runs = 10'000;
#endif
  auto outliving = weft::make_chan<int>(1);
  weft::mutex outliving_mutex;
  outliving_mutex.lock();
  weft::wait_group never_done;
  never_done.add(1);
  const auto one = [&] { run_with_leftovers(outliving, outliving_mutex, never_done); };
  for (int i = 0; i < runs / 10; ++i) one();
  const long before = resident_kib();
  for (int i = 0; i < runs; ++i) one();
#if !(WEFT_TSAN || WEFT_ASAN || WEFT_EMULATED)  // what they keep themselves counts there
  // Frames of abandoned fibers keep what they own (one channel a run lives in the main frame and is
  // destroyed): nothing may accumulate.
  EXPECT_LT(resident_kib() - before, 4096);
#else
  static_cast<void>(before);
#endif
  outliving_mutex.unlock();
}

TEST(Ending, SeveralRuntimesSideBySide) {
  weft::runtime a{weft::options{.procs = 1}};
  weft::runtime b{weft::options{.procs = 2}};
  auto c = weft::make_chan<int>();
  a.go([c] {
    for (int i = 0; i < 1000; ++i) c.send(i);
    c.close();
  });
  auto sum = b.async([c] {
    int s = 0;
    for (int v : c) s += v;
    return s;
  });
  EXPECT_EQ(sum.get(), 499'500);
  EXPECT_TRUE(a.shutdown(weft::background()).has_value());
  EXPECT_TRUE(b.shutdown(weft::background()).has_value());
}

// Woken by the end of its context, and never run again: its record in the channel must not stay
// behind for the next run's sender to find.
TEST(Ending, AFiberWokenTooLateLeavesTheChannelAsWell) {
  struct slow_to_go {
    ~slow_to_go() {
      const auto end = std::chrono::steady_clock::now() + 5ms;
      while (std::chrono::steady_clock::now() < end) {
      }
    }
  };
  static weft::fiber_local<slow_to_go> local;
  auto c = weft::make_chan<int>();
  for (int i = 0; i < 20; ++i) {
    weft::run(weft::options{.procs = 1}, [&] {
      // By reference: handles in an abandoned frame are never given back.
      const weft::context root = weft::root_context();
      weft::go([&] { static_cast<void>(c.recv(root)); });
      while (weft_test::parked_receivers(c) == 0) weft::yield();
      static_cast<void>(local.get());  // the P is busy while the root context is cancelled
    });
    EXPECT_EQ(weft_test::parked_receivers(c), 0U);
    EXPECT_FALSE(c.try_send(1));
  }
}

// A plain thread that has found a waiter may be on its way to wake it when the runtime ends.
TEST(Ending, StressAThreadSendsWhileRunsEnd) {
  auto c = weft::make_chan<int>();
  std::atomic<bool> done{false};
  std::thread sender([&] {
    while (!done) static_cast<void>(c.try_send(1));
  });
  for (int i = 0; i < (WEFT_TSAN || WEFT_ASAN ? 50 : 500); ++i) {
    weft::run(weft::options{.procs = 2}, [&] {
      for (int k = 0; k < 4; ++k) {
        weft::go([&c] {
          for (;;) static_cast<void>(c.recv());
        });
      }
      weft::yield();
    });
  }
  done = true;
  sender.join();
  EXPECT_EQ(weft_test::parked_receivers(c), 0U);
}

// A timer that starts a fiber fires on the stack of one that is about to park; that one must not
// leave for good in the middle of it, with the timers' lock.
TEST(Ending, StressTimersStartFibersWhileRunsEnd) {
  struct watched {
    weft::cancelable_context parent;
    weft::cancelable_context child;
    weft::after_func_handle callback;
  };
  for (int i = 0; i < (WEFT_TSAN ? 20 : WEFT_ASAN ? 50 : 500); ++i) {
    std::vector<watched> all;  // out here: handles in an abandoned frame are never given back
    weft::run(weft::options{.procs = 2}, [i, &all] {
      for (int k = 0; k < 8; ++k) {
        weft::go([] {
          for (;;) weft::sleep_for(2us);
        });
      }
      for (int k = 0; k < 100; ++k) {
        auto parent = weft::with_timeout(weft::background(), 2us * k);
        auto child = weft::with_cancel(parent);
        auto callback = weft::after_func(parent, [] {});
        all.push_back({std::move(parent), std::move(child), std::move(callback)});
      }
      weft::sleep_for(50us + 1us * (i % 100));
    });
    // (A deadline's fiber cancels what is below; or its end does.)
    for (const watched& w : all) EXPECT_EQ(bool(w.parent.err()), bool(w.child.err()));
  }
}

// Nothing has run in it yet, and its monitor has gone to sleep: a plain thread's timer is served,
// and a fiber that blocks its thread loses its P.
TEST(Ending, ARuntimeThatHasNotRunAnythingServesAThreadsTimers) {
  weft::runtime rt{weft::options{.procs = 1}};
  std::this_thread::sleep_for(100ms);  // into the deepest sleep there is
  auto [ctx, cancel] = weft::with_timeout(weft::background(), 20ms);
  EXPECT_FALSE(ctx.done().recv().has_value());
  EXPECT_EQ(ctx.err(), weft::errc::deadline_exceeded);
}

TEST(Ending, ARuntimeThatHasNotRunAnythingIsWatchedFromItsFirstFiberOn) {
  weft::runtime rt{weft::options{.procs = 1}};
  std::this_thread::sleep_for(100ms);
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  auto read = rt.async([&] {
    rt.go([&] { EXPECT_EQ(::write(fds[1], "x", 1), 1); });
    char byte = 0;
    return ::read(fds[0], &byte, 1);  // not announced: the P has to be taken away
  });
  EXPECT_EQ(read.get(), 1);
  ::close(fds[0]);
  ::close(fds[1]);
}

// Main returns while 60 fibers of 20 ms a P are queued: did more than half never begin?
bool most_never_begin() {
  std::atomic<int> begun{0};
  int queued = 0;
  weft::run(weft::options{.procs = 1}, [&] {
    queued = 60 * weft::stats().procs;
    for (int i = 0; i < queued; ++i) {
      weft::go([&] {
        ++begun;
        const auto end = std::chrono::steady_clock::now() + 20ms;
        while (std::chrono::steady_clock::now() < end) {
        }
      });
    }
  });
  return begun.load() < queued / 2;
}

// What has not begun when the main fiber returns does not begin any more, however many are queued.
// Some may before the stop is seen, and any number while the thread that stops is kept from its
// core: not in every one of ten rounds.
TEST(Ending, FibersThatHaveNotBegunDoNotBegin) {
  bool seen = false;
  for (int round = 0; round < 10 && !seen; ++round) seen = most_never_begin();
  EXPECT_TRUE(seen);
}

TEST(Ending, TheRootContextIsCancelledAndDrainLetsFibersEnd) {
  std::atomic<bool> ended{false};
  weft::run(weft::options{.drain = 10s}, [&] {
    weft::go([&] {
      weft::sleep_for(5ms);
      ended = true;
    });
  });
  EXPECT_TRUE(ended.load());
}

}  // namespace
