// SPDX-License-Identifier: Apache-2.0
// How processes and runtimes end: deadlock, panic, abandoned fibers, many runs in one process.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <thread>
#include <tuple>

#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/fiber.hpp>
#include <weft/mutex.hpp>
#include <weft/run.hpp>
#include <weft/select.hpp>
#include <weft/stats.hpp>
#include <weft/time.hpp>
#include <weft/wait_group.hpp>
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
#if WEFT_TSAN
    ::setenv("WEFT_DEBUG", "deadlock=fatal", 1);  // after a fork the sanitizer has extra threads
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
void run_with_leftovers(weft::chan<int>& outliving, weft::mutex& outliving_mutex) {
  weft::run([&] {
    auto idle = weft::make_chan<int>();
    weft::wait_group never_done;
    never_done.add(1);
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
    // What is in this frame ends with it: those who use it must have come to rest. Nine are left
    // then: this one, the one that spins, and seven that wait; the receiver of `idle` has ended.
    while (weft::num_fibers() != 9 || weft::stats().waiting != 7) weft::yield();
    weft::go([] {});  // perhaps never run
  });
}

TEST(Ending, RunReturnsWithFibersLeftInEveryKindOfWait) {
  auto outliving = weft::make_chan<int>(1);
  weft::mutex outliving_mutex;
  outliving_mutex.lock();
  for (int i = 0; i < 20; ++i) run_with_leftovers(outliving, outliving_mutex);
  // What lives on is in order: nobody of the dead is in its queues.
  outliving.send(5);
  EXPECT_EQ(outliving.recv(), 5);
  outliving_mutex.unlock();
  EXPECT_TRUE(outliving_mutex.try_lock());
  outliving_mutex.unlock();
}

TEST(Ending, ManyRunsInOneProcessDoNotGrow) {
#if WEFT_TSAN || WEFT_ASAN
  constexpr int runs = 100;
#else
  constexpr int runs = 10'000;
#endif
  auto outliving = weft::make_chan<int>(1);
  weft::mutex outliving_mutex;
  outliving_mutex.lock();
  for (int i = 0; i < runs / 10; ++i) run_with_leftovers(outliving, outliving_mutex);
  const long before = resident_kib();
  for (int i = 0; i < runs; ++i) run_with_leftovers(outliving, outliving_mutex);
#if !(WEFT_TSAN || WEFT_ASAN)
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
