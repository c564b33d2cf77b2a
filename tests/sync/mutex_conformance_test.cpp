// SPDX-License-Identifier: Apache-2.0
// What Go's tests of sync.Mutex, RWMutex and Cond check and mutex_test.cpp does not. Each test
// names the one whose idea it is.
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <type_traits>
#include <weft/barrier.hpp>
#include <weft/condition_variable.hpp>
#include <weft/fiber.hpp>
#include <weft/latch.hpp>
#include <weft/mutex.hpp>
#include <weft/once.hpp>
#include <weft/semaphore.hpp>
#include <weft/shared_mutex.hpp>
#include <weft/singleflight.hpp>
#include <weft/task_group.hpp>
#include <weft/wait_group.hpp>

#include "tests/chan/support.hpp"
#include "tests/support/child.hpp"

namespace {

using namespace weft_test;

class MutexConformance : public both_worlds {};
WEFT_BOTH_WORLDS(MutexConformance);

// Go: sync/TestCondCopy: what others may wait on is not copied, and does not move away from them.
template <class T>
constexpr bool stays_where_it_is =
    !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T> &&
    !std::is_move_constructible_v<T> && !std::is_move_assignable_v<T>;

static_assert(stays_where_it_is<weft::condition_variable>);
static_assert(stays_where_it_is<weft::mutex> && stays_where_it_is<weft::shared_mutex>);
static_assert(stays_where_it_is<weft::once_flag> && stays_where_it_is<weft::wait_group>);
static_assert(stays_where_it_is<weft::latch> && stays_where_it_is<weft::barrier<>>);
static_assert(stays_where_it_is<weft::semaphore>);
static_assert(stays_where_it_is<weft::task_group> && stays_where_it_is<weft::supervisor>);
static_assert(stays_where_it_is<weft::singleflight<int, int>>);

// --- mutex, shared_mutex

template <class Mutex, class Misuse>
void expect_fatal(const std::string& what, Misuse misuse) {
  const auto r = run_child([&] {
    Mutex m;
    misuse(m);
  });
  EXPECT_EQ(r.code, 2);
  EXPECT_NE(r.error.find(what), std::string::npos) << r.error;
}

// Go: sync/TestMutexMisuse: every unlock that has no lock of its kind.
TEST(MutexMisuse, AnUnlockThatHasNoLockOfItsKindIsFatal) {
  expect_fatal<weft::mutex>("unlock of an unlocked weft::mutex", [](auto& m) { m.unlock(); });
  const std::string shared = "weft::shared_mutex";
  using rw = weft::shared_mutex;
  expect_fatal<rw>(shared, [](rw& m) {
    m.lock_shared();
    m.unlock();
  });
  expect_fatal<rw>(shared, [](rw& m) {
    m.lock();
    m.unlock();
    m.unlock();
  });
  expect_fatal<rw>(shared, [](rw& m) {
    m.lock();
    m.unlock_shared();
  });
  expect_fatal<rw>(shared, [](rw& m) {
    m.lock_shared();
    m.unlock_shared();
    m.unlock_shared();
  });
  expect_fatal<rw>(shared, [](rw& m) {
    m.lock();
    m.unlock();
    m.unlock_shared();
  });
}

// Go: sync/TestRLocker: the reading half, as a lock of its own, is held until each of its holders
// has left.
TEST_P(MutexConformance, AWriterWaitsForTheLastOfTheReaders) {
  run([] {
    weft::shared_mutex m;
    for (int round = 0; round < 10; ++round) {
      std::shared_lock first(m);
      std::shared_lock second(m);
      std::atomic<bool> written{false};
      crew writer(in_fibers());
      writer.start([&] {
        const std::unique_lock lock(m);
        written = true;
      });
      yield_until([&] {
        const bool free = m.try_lock_shared();
        if (free) m.unlock_shared();
        return !free;  // it stands in the line
      });
      second.unlock();
      for (int i = 0; i < 20; ++i) weft::yield();
      EXPECT_FALSE(written);
      first.unlock();
      writer.join();
      EXPECT_TRUE(written);
      EXPECT_TRUE(m.try_lock());
      m.unlock();
    }
  });
}

// --- condition_variable

// Go: sync/TestCondBroadcast: all who wait are woken, each once a round.
TEST_P(MutexConformance, ABroadcastWakesEachOfThoseWhoWaitOnce) {
  run([] {
    constexpr int n = 20;
    constexpr int rounds = 10;
    weft::mutex m;
    weft::condition_variable cv;
    int waits = 0;
    int wakes = 0;
    crew crowd(in_fibers());
    for (int i = 0; i < n; ++i) {
      crowd.start([&] {
        std::unique_lock lock(m);
        for (int r = 0; r < rounds; ++r) {
          ++waits;
          cv.wait(lock);
          ++wakes;
        }
      });
    }
    for (int r = 0; r < rounds; ++r) {
      yield_until([&] {
        const std::lock_guard lock(m);
        return waits >= n * (r + 1);
      });
      {
        const std::lock_guard lock(m);
        EXPECT_EQ(wakes, n * r);  // all sleep, and nobody has been woken too often
        EXPECT_EQ(waits, n * (r + 1));
      }
      cv.notify_all();
    }
    crowd.join();
    EXPECT_EQ(wakes, n * rounds);
    cv.notify_all();  // nobody: no effect
  });
}

/// Gives the lock back for a moment until `holds()`.
template <class F>
void unlocked_until(std::unique_lock<weft::mutex>& lock, F holds) {
  while (!holds()) {
    lock.unlock();
    weft::yield();
    lock.lock();
  }
}

// Go: sync/TestRace: three hand a turn on; the second signal is for who began to wait after the
// first one, and the first is not.
TEST_P(MutexConformance, ATurnIsHandedFromWaiterToWaiterStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 2000 : 200); ++i) {
      weft::mutex m;
      weft::condition_variable cv;
      int turn = 0;
      crew trio(in_fibers());
      trio.start([&] {
        std::unique_lock lock(m);
        turn = 1;
        cv.wait(lock);
        EXPECT_EQ(turn, 2);
        turn = 3;
        cv.notify_one();
      });
      trio.start([&] {
        std::unique_lock lock(m);
        unlocked_until(lock, [&] { return turn == 1; });
        turn = 2;
        cv.notify_one();
      });
      trio.start([&] {
        std::unique_lock lock(m);
        unlocked_until(lock, [&] { return turn >= 2; });
        if (turn == 2) cv.wait(lock);
        EXPECT_EQ(turn, 3);
      });
    }
  });
}

// Go: sync/TestCondSignalStealing: a signal is for who waits, not for who comes as it is given.
TEST_P(MutexConformance, ANewcomerDoesNotTakeTheSignalOfOneWhoWaitsStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 2000 : 200); ++i) {
      weft::mutex m;
      weft::condition_variable cv;
      bool waits = false;
      bool over = false;
      crew waiter(in_fibers());
      waiter.start([&] {
        std::unique_lock lock(m);
        waits = true;
        cv.wait(lock);
      });
      yield_until([&] {
        const std::lock_guard lock(m);
        return waits;
      });
      crew newcomer(in_fibers());
      newcomer.start([&] {
        std::unique_lock lock(m);
        cv.wait(lock, [&] { return over; });
      });
      if (i % 3 == 0) weft::yield();
      cv.notify_one();
      waiter.join();  // nobody notifies again until it has come through
      {
        const std::lock_guard lock(m);
        over = true;
      }
      cv.notify_all();
      newcomer.join();
    }
  });
}

}  // namespace
