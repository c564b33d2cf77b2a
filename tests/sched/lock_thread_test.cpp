// SPDX-License-Identifier: Apache-2.0
// A fiber that is locked to its thread stays there, whatever it waits for; nobody else runs on that
// thread meanwhile; and everybody else goes on.
#include <weft/lock_thread.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include <weft/chan.hpp>
#include <weft/fiber.hpp>
#include <weft/mutex.hpp>
#include <weft/run.hpp>
#include <weft/time.hpp>
#include <weft/wait_group.hpp>

namespace {

using namespace std::chrono_literals;

// Not inlined, and not const: a compiler may keep the thread's identity over a switch
// (docs/rules.md).
__attribute__((noinline)) std::thread::id here() {
  asm volatile("");
  return std::this_thread::get_id();
}

TEST(LockThread, KeepsTheFiberOnItsThreadOverEveryKindOfWait) {
  weft::run([] {
    weft::wait_group others;
    std::atomic<bool> done{false};
    for (int i = 0; i < 8; ++i) {
      others.go([&] {
        while (!done.load()) weft::yield();
      });
    }
    const weft::lock_thread pin;
    const auto home = here();
    const auto to = weft::make_chan<int>();
    const auto back = weft::make_chan<int>();
    auto echo = weft::spawn([to, back] {
      for (const int v : to) back.send(v);
    });
    constexpr int rounds = WEFT_TSAN || WEFT_ASAN ? 40 : 200;
    for (int i = 0; i < rounds; ++i) {
      weft::yield();
      ASSERT_EQ(here(), home);
      to.send(i);
      ASSERT_EQ(back.recv(), i);
      ASSERT_EQ(here(), home);
      if (i % 20 == 0) {
        weft::sleep_for(1ms);
        ASSERT_EQ(here(), home);
        weft::blocking([] { std::this_thread::yield(); });
        ASSERT_EQ(here(), home);
        weft::spawn([home] { EXPECT_NE(here(), home); }).join();
        ASSERT_EQ(here(), home);
      }
    }
    to.close();
    echo.join();
    done = true;
    others.wait();
    EXPECT_EQ(here(), home);
  });
}

TEST(LockThread, LetsTheOthersGoOnWithASingleProcessor) {
  weft::run(weft::options{.procs = 1}, [] {
    const auto to = weft::make_chan<int>();
    auto pinned = weft::spawn([to] {
      const weft::lock_thread pin;
      const auto home = here();
      int sum = 0;
      for (const int v : to) {
        sum += v;
        EXPECT_EQ(here(), home);
      }
      EXPECT_EQ(sum, 4950);
    });
    for (int i = 0; i < 100; ++i) to.send(i);
    to.close();
    pinned.join();
  });
}

TEST(LockThread, ScopesNest) {
  weft::run([] {
    const auto outer = std::make_unique<weft::lock_thread>();
    const auto home = here();
    {
      const weft::lock_thread inner;
      weft::yield();
      EXPECT_EQ(here(), home);
    }
    for (int i = 0; i < 20; ++i) {
      weft::sleep_for(100us);
      EXPECT_EQ(here(), home);
    }
  });
}

TEST(LockThread, StressManyLockedFibersMeet) {
  weft::run([] {
    weft::mutex m;
    int counter = 0;
    weft::wait_group all;
    for (int f = 0; f < 12; ++f) {
      all.go([&, f] {
        for (int round = 0; round < 20; ++round) {
          const weft::lock_thread pin;
          const auto home = here();
          for (int i = 0; i < 5; ++i) {
            m.lock();
            ++counter;
            if ((f + i) % 3 == 0) weft::yield();
            m.unlock();
            EXPECT_EQ(here(), home);
          }
        }
      });
    }
    all.wait();
    EXPECT_EQ(counter, 12 * 20 * 5);
  });
}

TEST(LockThread, ARuntimeEndsWithALockedFiberParked) {
  for (int i = 0; i < 20; ++i) {
    weft::run([] {
      static weft::chan<int> never;  // not the abandoned fiber's: that gives nothing back
      never = weft::make_chan<int>();
      weft::wait_group locked;
      locked.add();
      weft::go([&locked] {
        const weft::lock_thread pin;
        locked.done();
        static_cast<void>(never.recv());
      });
      locked.wait();
    });
  }
}

// A waiting locked fiber's thread does not count against max_threads, or nobody would be left.
TEST(LockThread, SleepsWithASingleThreadAllowed) {
  // (As many as Ps: a P without a thread could not read the mailbox that force-migrate fills.)
  const char* procs = std::getenv("WEFT_PROCS");
  const int n = procs == nullptr ? 1 : std::atoi(procs);
  weft::run(weft::options{.procs = n, .max_threads = n}, [] {
    const weft::lock_thread pin;
    weft::sleep_for(1ms);
  });
}

// Against the rules: the scope outlives its fiber. The next one can be locked all the same.
TEST(LockThread, ALeakedScopeEndsWithItsFiber) {
  weft::run(weft::options{.procs = 1}, [] {
    alignas(weft::lock_thread) std::byte room[sizeof(weft::lock_thread)];
    weft::spawn([&] { ::new (room) weft::lock_thread; }).join();
    weft::spawn([] {
      const weft::lock_thread pin;
      const auto home = here();
      for (int i = 0; i < 20; ++i) {
        weft::yield();
        EXPECT_EQ(here(), home);
      }
    }).join();
  });
}

TEST(LockThread, DoesNothingOnAPlainThread) {
  const weft::lock_thread pin;
  EXPECT_EQ(here(), std::this_thread::get_id());
}

}  // namespace
