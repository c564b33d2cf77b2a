// SPDX-License-Identifier: Apache-2.0
// mutex, shared_mutex, condition_variable, once: their sentences in API.md and Go's sync tests.
#include <weft/mutex.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <weft/chan.hpp>
#include <weft/condition_variable.hpp>
#include <weft/context.hpp>
#include <weft/fiber.hpp>
#include <weft/once.hpp>
#include <weft/shared_mutex.hpp>
#include <weft/time.hpp>

#include "tests/chan/support.hpp"
#include "tests/support/child.hpp"

namespace {

using namespace weft_test;
using weft::background;

class Mutex : public both_worlds {};
WEFT_BOTH_WORLDS(Mutex);

/// Whether a fiber or thread other than the caller could lock.
template <class M>
bool free_for_others(M& m, bool fibers) {
  bool got = false;
  crew other(fibers);
  other.start([&] {
    got = m.try_lock();
    if (got) m.unlock();
  });
  other.join();
  return got;
}

TEST_P(Mutex, WorksWithTheStdLocks) {
  run([] {
    weft::mutex m;
    {
      const std::lock_guard guard(m);
      EXPECT_FALSE(free_for_others(m, in_fibers()));
      EXPECT_FALSE(m.try_lock());
    }
    EXPECT_TRUE(free_for_others(m, in_fibers()));
    std::unique_lock lock(m, std::defer_lock);
    EXPECT_TRUE(lock.try_lock());
    lock.unlock();
    EXPECT_TRUE(lock.try_lock_for(1ms));
    lock.unlock();
    EXPECT_TRUE(lock.try_lock_until(weft::clock::now() + 1ms));
    lock.unlock();
    weft::mutex n;
    const std::scoped_lock both(m, n);
    EXPECT_FALSE(free_for_others(n, in_fibers()));
  });
}

TEST_P(Mutex, TimedAndContextFormsGiveUp) {
  run([] {
    weft::mutex m;
    auto [ctx, cancel] = weft::with_cancel(background());
    m.lock();
    crew other(in_fibers());
    std::atomic<int> waiting{0};
    other.start([&] {
      EXPECT_FALSE(m.try_lock_for(3ms));
      EXPECT_FALSE(m.try_lock_until(std::chrono::steady_clock::now() + 3ms));
      EXPECT_FALSE(m.try_lock_for(-1s));
    });
    other.start([&, &until = ctx] {
      ++waiting;
      EXPECT_EQ(m.lock(until).error(), weft::errc::canceled);
    });
    yield_until([&] { return waiting == 1; });
    cancel();
    other.join();
    EXPECT_EQ(m.lock(ctx).error(), weft::errc::canceled);  // done already
    m.unlock();
    EXPECT_EQ(m.lock(ctx).error(), weft::errc::canceled);  // also if it were free
    EXPECT_TRUE(m.lock(background()));
    m.unlock();
  });
}

// TestMutex (hammer with 10 fibers): exclusion, seen by plain variables.
TEST_P(Mutex, ExcludesStress) {
  run([] {
    weft::mutex m;
    const int n = scaled(in_fibers() ? 20000 : 5000);
    int counter = 0;
    crew crowd(in_fibers());
    for (int i = 0; i < 10; ++i) {
      crowd.start([&, i] {
        for (int k = 0; k < n; ++k) {
          if (k % 3 == 0) {
            if (!m.try_lock()) continue;
          } else if (k % 7 == 0) {
            if (!m.try_lock_for(std::chrono::microseconds(i))) continue;
          } else {
            m.lock();
          }
          const int before = counter;
          if (k % 50 == 0) weft::yield();
          counter = before + 1;
          m.unlock();
        }
      });
    }
    crowd.join();
    EXPECT_GT(counter, n);
    EXPECT_TRUE(free_for_others(m, in_fibers()));
  });
}

TEST_P(Mutex, GivingUpRacesHandOffStress) {
  run([] {
    weft::mutex m;
    std::atomic<int> inside{0};
    std::atomic<int> gained{0};
    const int n = scaled(in_fibers() ? 2000 : 300);
    crew crowd(in_fibers());
    for (int i = 0; i < 6; ++i) {
      crowd.start([&, i] {
        for (int k = 0; k < n; ++k) {
          auto [ctx, cancel] = weft::with_timeout(background(), std::chrono::microseconds(10 * i));
          if (!m.lock(ctx)) continue;
          EXPECT_EQ(++inside, 1);
          ++gained;
          weft::yield();
          --inside;
          m.unlock();
        }
      });
    }
    crowd.join();
    EXPECT_TRUE(m.try_lock());
    m.unlock();
  });
}

// TestMutexFairness: a greedy holder does not starve others.
TEST_P(Mutex, AGreedyHolderStarvesNobody) {
  run([] {
    weft::mutex m;
    std::atomic<bool> stop{false};
    crew crowd(in_fibers());
    crowd.start([&] {
      while (!stop) {
        m.lock();
        const auto until = weft::clock::now() + 100us;
        while (weft::clock::now() < until) {
        }
        m.unlock();
      }
    });
    for (int i = 0; i < 10; ++i) {
      weft::sleep_for(100us);
      m.lock();
      m.unlock();
    }
    stop = true;
  });
}

TEST_P(Mutex, WaitersGoInOrderOnceTheyStarve) {
  run([] {
    weft::mutex m;
    std::vector<int> order;
    std::atomic<int> started{0};
    crew crowd(in_fibers());
    m.lock();
    for (int i = 0; i < 4; ++i) {
      crowd.start([&, i] {
        ++started;
        m.lock();
        order.push_back(i);
        m.unlock();
      });
      yield_until([&] { return started == i + 1; });
      for (int k = 0; k < 100; ++k) weft::yield();
    }
    m.unlock();
    crowd.join();
    EXPECT_EQ(order.size(), 4U);
  });
}

// Locked here, unlocked there.
TEST_P(Mutex, AnotherFiberMayUnlock) {
  run([] {
    weft::mutex m;
    m.lock();
    crew other(in_fibers());
    other.start([&] { m.unlock(); });
    m.lock();
    m.unlock();
  });
}

TEST_P(Mutex, DestroyedAtOnceStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 3000 : 300); ++i) {
      auto m = std::make_unique<weft::mutex>();
      crew other(in_fibers());
      m->lock();
      other.start([raw = m.get()] { raw->unlock(); });
      m->lock();
      m->unlock();
      m.reset();
    }
  });
}

// The same for the forms that may give up, with others that do give up.
TEST_P(Mutex, DestroyedAtOnceByEveryLockingFormStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 3000 : 300); ++i) {
      auto m = std::make_unique<weft::mutex>();
      crew other(in_fibers());
      m->lock();
      crew quitter(in_fibers());
      quitter.start([raw = m.get()] {
        if (raw->try_lock_for(1us)) raw->unlock();
      });
      other.start([raw = m.get()] { raw->unlock(); });
      if (i % 2 == 0) {
        EXPECT_TRUE(m->lock(background()));
      } else {
        EXPECT_TRUE(m->try_lock_for(1h));
      }
      m->unlock();
      quitter.join();  // who waits still needs it, who unlocked does not
      m.reset();
    }
  });
}

TEST(MutexMixed, FibersAndThreadsExcludeEachOtherStress) {
  const int n = scaled(5000);
  (void)weft::run(weft::options{}, [&] {
    weft::mutex m;
    int counter = 0;
    const auto body = [&] {
      for (int i = 0; i < n; ++i) {
        const std::lock_guard lock(m);
        ++counter;
        if (i % 64 == 0) weft::yield();
      }
    };
    {
      crew fibers(true);
      crew threads(false);
      for (int i = 0; i < 3; ++i) {
        fibers.start(body);
        threads.start(body);
      }
      fibers.join();  // the threads go on meanwhile
      threads.join();
    }
    EXPECT_EQ(counter, 6 * n);
  });
}

// TestMutexMisuse
TEST(MutexFatal, UnlockOfAnUnlockedOne) {
  const auto r = run_child([] {
    weft::mutex m;
    m.lock();
    m.unlock();
    m.unlock();
  });
  EXPECT_EQ(r.code, 2);
  EXPECT_NE(r.error.find("unlock of an unlocked weft::mutex"), std::string::npos) << r.error;
  EXPECT_EQ(run_child([] { weft::shared_mutex().unlock(); }).code, 2);
  EXPECT_EQ(run_child([] { weft::shared_mutex().unlock_shared(); }).code, 2);
}

// --- shared_mutex

// TestParallelReaders
TEST_P(Mutex, ReadersEnterTogetherWritersAlone) {
  run([] {
    weft::shared_mutex m;
    std::shared_lock first(m);
    crew crowd(in_fibers());
    auto inside = weft::make_chan<weft::unit>();
    for (int i = 0; i < 3; ++i) {
      crowd.start([&] {
        const std::shared_lock lock(m);
        inside.send({});
        inside.send({});
      });
    }
    for (int i = 0; i < 3; ++i) (void)inside.recv();  // all inside at once
    EXPECT_FALSE(m.try_lock());
    EXPECT_FALSE(m.try_lock_for(1ms));
    EXPECT_TRUE(m.try_lock_shared());
    m.unlock_shared();
    for (int i = 0; i < 3; ++i) (void)inside.recv();
    crowd.join();
    first.unlock();
    const std::unique_lock writer(m);
    EXPECT_FALSE(m.try_lock_shared());
    EXPECT_FALSE(m.try_lock_shared_for(1ms));
    EXPECT_FALSE(m.try_lock_shared_until(weft::clock::now() + 1ms));
    EXPECT_FALSE(m.try_lock_until(weft::clock::now() + 1ms));
  });
}

TEST_P(Mutex, AWaitingWriterIsNotStarvedByReaders) {
  run([] {
    weft::shared_mutex m;
    std::atomic<bool> written{false};
    m.lock_shared();
    crew crowd(in_fibers());
    crowd.start([&] {
      m.lock();
      written = true;
      m.unlock();
    });
    yield_until([&] {
      const bool free = m.try_lock_shared();
      if (free) m.unlock_shared();
      return !free;  // the writer waits: newcomers wait behind it
    });
    crowd.start([&] {
      const std::shared_lock lock(m);
      EXPECT_TRUE(written);
    });
    m.unlock_shared();
    crowd.join();
  });
}

// A writer that gives up lets the readers behind it in.
TEST_P(Mutex, AWriterThatGivesUpIsNotInTheWay) {
  run([] {
    weft::shared_mutex m;
    auto [ctx, cancel] = weft::with_cancel(background());
    m.lock_shared();
    std::atomic<bool> behind{false};
    crew crowd(in_fibers());
    crowd.start([&, &until = ctx] { EXPECT_FALSE(m.lock(until)); });
    yield_until([&] {
      const bool free = m.try_lock_shared();
      if (free) m.unlock_shared();
      return !free;
    });
    crowd.start([&] {
      behind = true;
      const std::shared_lock lock(m);
    });
    yield_until([&] { return behind.load(); });
    cancel();
    crowd.join();  // the reader came in although the first reader is still there
    EXPECT_FALSE(m.lock_shared(ctx));
    m.unlock_shared();
    EXPECT_TRUE(m.lock(background()));
    m.unlock();
  });
}

// TestRWMutex: hammer
TEST_P(Mutex, ReadersAndWritersStress) {
  run([] {
    weft::shared_mutex m;
    int a = 0;
    int b = 0;
    const int n = scaled(in_fibers() ? 5000 : 1000);
    crew crowd(in_fibers());
    for (int w = 0; w < 2; ++w) {
      crowd.start([&] {
        for (int i = 0; i < n; ++i) {
          const std::unique_lock lock(m);
          ++a;
          if (i % 20 == 0) weft::yield();
          ++b;
        }
      });
    }
    for (int r = 0; r < 4; ++r) {
      crowd.start([&] {
        for (int i = 0; i < n; ++i) {
          if (i % 5 == 0) {
            if (!m.try_lock_shared_for(20us)) continue;
          } else {
            m.lock_shared();
          }
          EXPECT_EQ(a, b);
          m.unlock_shared();
        }
      });
    }
    crowd.join();
    EXPECT_EQ(a, 2 * n);
  });
}

// --- condition_variable

// TestCondSignal: one wake a signal.
TEST_P(Mutex, NotifyOneWakesOne) {
  run([] {
    weft::mutex m;
    weft::condition_variable cv;
    const int n = 3;
    std::atomic<int> awake{0};
    int waiting = 0;
    crew crowd(in_fibers());
    for (int i = 0; i < n; ++i) {
      crowd.start([&] {
        std::unique_lock lock(m);
        ++waiting;
        cv.wait(lock);
        ++awake;
      });
    }
    yield_until([&] {
      const std::lock_guard lock(m);
      return waiting == n;
    });
    for (int i = 0; i < n; ++i) {
      EXPECT_EQ(awake, i);
      cv.notify_one();
      yield_until([&] { return awake == i + 1; });
      for (int k = 0; k < 20; ++k) weft::yield();
      EXPECT_EQ(awake, i + 1);
    }
    cv.notify_one();  // nobody: no effect
  });
}

// TestCondSignalGenerations: in order.
TEST_P(Mutex, NotifiedInTheOrderOfWaiting) {
  run([] {
    weft::mutex m;
    weft::condition_variable cv;
    const int n = 20;
    auto awake = weft::make_chan<int>(n);
    std::atomic<int> waiting{0};
    crew crowd(in_fibers());
    for (int i = 0; i < n; ++i) {
      crowd.start([&, i] {
        std::unique_lock lock(m);
        ++waiting;
        cv.wait(lock);
        awake.send(i);
      });
      yield_until([&] {
        const std::lock_guard lock(m);
        return waiting == i + 1;
      });
    }
    for (int i = 0; i < n; ++i) {
      cv.notify_one();
      EXPECT_EQ(awake.recv(), i);
    }
  });
}

// TestCondBroadcast
TEST_P(Mutex, NotifyAllWakesAllWhoWait) {
  run([] {
    weft::mutex m;
    weft::condition_variable cv;
    bool go_on = false;
    int passed = 0;
    crew crowd(in_fibers());
    for (int i = 0; i < 30; ++i) {
      crowd.start([&] {
        std::unique_lock lock(m);
        cv.wait(lock, [&] { return go_on; });
        ++passed;
      });
    }
    {
      const std::lock_guard lock(m);
      go_on = true;
    }
    cv.notify_all();
    crowd.join();
    EXPECT_EQ(passed, 30);
  });
}

TEST_P(Mutex, ConditionsEndWithTimeAndContext) {
  run([] {
    weft::mutex m;
    weft::condition_variable cv;
    std::unique_lock lock(m);
    EXPECT_EQ(cv.wait_for(lock, 2ms), std::cv_status::timeout);
    EXPECT_TRUE(lock.owns_lock());
    EXPECT_EQ(cv.wait_until(lock, weft::clock::now() + 2ms), std::cv_status::timeout);
    EXPECT_FALSE(cv.wait_for(lock, 2ms, [] { return false; }));
    EXPECT_TRUE(cv.wait_until(lock, std::chrono::steady_clock::now() + 2ms, [] { return true; }));
    auto [ctx, cancel] = weft::with_timeout(background(), 3ms);
    EXPECT_EQ(cv.wait(ctx, lock).error(), weft::errc::deadline_exceeded);
    EXPECT_FALSE(cv.wait(ctx, lock, [] { return false; }));
    EXPECT_EQ(cv.wait(ctx, lock, [] { return true; }).error(), weft::errc::deadline_exceeded);
    EXPECT_TRUE(cv.wait(background(), lock, [] { return true; }));
    EXPECT_FALSE(free_for_others(m, in_fibers()));
    lock.unlock();
    EXPECT_THROW(cv.wait(lock), weft::logic_error);
  });
}

TEST_P(Mutex, AConditionThatHoldsIsNoAnswerToADoneContext) {
  run([] {
    weft::mutex m;
    weft::condition_variable cv;
    auto [ctx, cancel] = weft::with_cancel(background());
    std::unique_lock lock(m);
    EXPECT_TRUE(cv.wait(ctx, lock, [] { return true; }));
    cancel();
    EXPECT_EQ(cv.wait(ctx, lock, [] { return true; }).error(), weft::errc::canceled);
    EXPECT_TRUE(lock.owns_lock());
    EXPECT_FALSE(free_for_others(m, in_fibers()));
  });
}

TEST_P(Mutex, AConditionThatComesWithTheEndOfTheContextCounts) {
  run([] {
    weft::mutex m;
    weft::condition_variable cv;
    auto [ctx, cancel] = weft::with_cancel(background());
    bool waiting = false;
    bool ready = false;
    crew other(in_fibers());
    other.start([&, &until = ctx] {
      std::unique_lock lock(m);
      waiting = true;
      EXPECT_TRUE(cv.wait(until, lock, [&] { return ready; }));
      EXPECT_TRUE(lock.owns_lock());
    });
    yield_until([&] {
      const std::lock_guard lock(m);
      return waiting;
    });
    {
      const std::lock_guard lock(m);  // the other one waits: it gave the mutex back
      ready = true;
      cancel();  // nobody notifies
    }
    other.join();
  });
}

// TestRace: hand-over through a condition, and destruction as soon as everybody is notified.
TEST_P(Mutex, ConditionDestroyedAtOnceStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 2000 : 200); ++i) {
      weft::mutex m;
      auto cv = std::make_unique<weft::condition_variable>();
      bool ready = false;
      crew other(in_fibers());
      other.start([&, raw = cv.get()] {
        const std::lock_guard lock(m);
        ready = true;
        raw->notify_one();
      });
      {
        std::unique_lock lock(m);
        cv->wait(lock, [&] { return ready; });
        cv.reset();
      }
    }
  });
}

// --- once

// TestOnce
TEST_P(Mutex, OnceRunsOnceAndTheOthersWait) {
  run([] {
    weft::once_flag flag;
    int runs = 0;
    bool finished = false;
    crew crowd(in_fibers());
    for (int i = 0; i < 10; ++i) {
      crowd.start([&] {
        weft::call_once(flag, [&] {
          ++runs;
          weft::sleep_for(1ms);
          finished = true;
        });
        EXPECT_TRUE(finished);
        EXPECT_EQ(runs, 1);
      });
    }
    crowd.join();
    EXPECT_TRUE(weft::call_once(background(), flag, [&] { ++runs; }));
    EXPECT_EQ(runs, 1);
  });
}

// A throw does not count as done, as in std (Go's TestOncePanic is the other way round).
TEST_P(Mutex, OnceAfterAThrowTheNextOneRuns) {
  run([] {
    weft::once_flag flag;
    EXPECT_THROW(weft::call_once(flag, [] { throw 1; }), int);
    std::atomic<int> tries{0};
    std::atomic<int> threw{0};
    crew crowd(in_fibers());
    for (int i = 0; i < 8; ++i) {
      crowd.start([&] {
        try {
          weft::call_once(flag, [&] {
            const int n = ++tries;
            weft::yield();
            if (n < 3) throw 1;
          });
        } catch (int) {
          ++threw;
        }
      });
    }
    crowd.join();
    EXPECT_EQ(tries, 3);
    EXPECT_EQ(threw, 2);
  });
}

TEST_P(Mutex, OnceGivesUpWaitingWithTheContext) {
  run([] {
    weft::once_flag flag;
    auto [ctx, cancel] = weft::with_cancel(background());
    auto running = weft::make_chan<weft::unit>();
    auto go_on = weft::make_chan<weft::unit>();
    crew other(in_fibers());
    other.start([&] {
      weft::call_once(flag, [&] {
        running.send({});
        (void)go_on.recv();
      });
    });
    (void)running.recv();
    crew quitter(in_fibers());
    quitter.start([&, &until = ctx] {
      EXPECT_EQ(weft::call_once(until, flag, [] { FAIL(); }).error(), weft::errc::canceled);
    });
    for (int i = 0; i < 20; ++i) weft::yield();
    cancel();
    quitter.join();  // before the flag is set: giving up is all it can do
    EXPECT_FALSE(weft::call_once(ctx, flag, [] { FAIL(); }));
    go_on.send({});
  });
}

}  // namespace
