// SPDX-License-Identifier: Apache-2.0
// pool<T>: objects are used again, by one holder at a time; those not used go; those not put back
// are seen. With the tests of Go's sync.Pool that have a meaning without a collector.
#include <weft/pool.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#include <weft/fiber.hpp>
#include <weft/leak.hpp>
#include <weft/log.hpp>
#include <weft/run.hpp>
#include <weft/stats.hpp>

#include "tests/chan/heap_count.hpp"
#include "tests/chan/support.hpp"
#include "tests/support/child.hpp"

namespace {

using namespace weft_test;

class Pool : public both_worlds {};
WEFT_BOTH_WORLDS(Pool);

/// What weft logs while it lives.
class log_capture {
 public:
  log_capture() {
    weft::set_log_sink([this](std::string_view line) {
      const std::lock_guard hold(lock_);
      (text_ += line) += '\n';
    });
  }
  log_capture(const log_capture&) = delete;
  log_capture& operator=(const log_capture&) = delete;
  ~log_capture() { weft::set_log_sink({}); }
  [[nodiscard]] std::string text() const {
    const std::lock_guard hold(lock_);
    return text_;
  }

 private:
  mutable std::mutex lock_;
  std::string text_;
};

struct immovable {
  int value = 7;
  immovable() = default;
  immovable(const immovable&) = delete;
  immovable& operator=(const immovable&) = delete;
};

struct alignas(256) wide {
  int value = 0;
  wide() { EXPECT_EQ(reinterpret_cast<std::uintptr_t>(this) % 256, 0U); }
};

// TestPool
TEST_P(Pool, UsesObjectsAgain) {
  run([] {
    weft::pool<int> p;
    constexpr int rounds = 1000;
    for (int i = 0; i < rounds; ++i) {
      auto h = p.get();
      *h = i;
    }
    const weft::pool_stats s = p.stats();
    EXPECT_EQ(s.out, 0U);
    EXPECT_EQ(s.idle, s.created);
    // A fiber that loses its P looks elsewhere; a thread has one place to look at.
    EXPECT_LE(s.created, in_fibers() ? rounds / 2U : 1U);
  });
}

TEST_P(Pool, GivesEachHolderAnObjectOfItsOwn) {
  run([] {
    weft::pool<int> p;
    for (int round = 0; round < 3; ++round) {
      std::vector<weft::pooled<int>> all;
      std::set<const int*> places;
      for (int i = 0; i < 200; ++i) {
        all.push_back(p.get());
        places.insert(all.back().get());
      }
      EXPECT_EQ(places.size(), 200U);
      EXPECT_EQ(p.stats().out, 200U);
      all.clear();
      EXPECT_EQ(p.stats().out, 0U);
      EXPECT_EQ(p.stats().idle, p.stats().created);
    }
  });
}

TEST_P(Pool, HandlesMoveReleaseAndPut) {
  run([] {
    weft::pool<int> p;
    auto a = p.get();
    int* const object = a.get();
    weft::pooled<int> b = std::move(a);
    EXPECT_FALSE(a);  // NOLINT(bugprone-use-after-move)
    EXPECT_EQ(b.get(), object);
    a = std::move(b);
    EXPECT_EQ(p.stats().out, 1U);
    int* raw = a.release();
    EXPECT_EQ(raw, object);
    EXPECT_EQ(p.stats().out, 1U);
    p.put(raw);
    EXPECT_EQ(p.stats().out, 0U);
    p.put(p.get());
    p.put(static_cast<int*>(nullptr));
    p.put(p.take());
    auto c = p.get();
    c.put();
    c.put();
    EXPECT_EQ(p.stats().out, 0U);
  });
}

TEST_P(Pool, DiscardedObjectsAreDestroyed) {
  const int before = counted::alive;
  run([before] {
    weft::pool<counted> p;
    p.get().discard();
    EXPECT_EQ(counted::alive, before);
    p.discard(p.take());
    EXPECT_EQ(counted::alive, before);
    EXPECT_EQ(p.stats().destroyed, 2U);
  });
}

// TestPoolNew
TEST_P(Pool, MakesWhatTheFactorySays) {
  run([] {
    std::atomic<int> made{0};
    weft::pool<std::unique_ptr<int>> p([&made] { return std::make_unique<int>(++made); });
    auto a = p.get();
    auto b = p.get();
    EXPECT_EQ(**a + **b, 3);
    weft::pool<immovable> q([] { return immovable(); });
    EXPECT_EQ(q.get()->value, 7);
    weft::pool<wide> w;
    EXPECT_EQ(w.get()->value, 0);
    EXPECT_EQ(w.get()->value, 0);
  });
}

TEST_P(Pool, AThrowingFactoryLeavesNothingBehind) {
  const int before = counted::alive;
  run([before] {
    bool fails = true;
    weft::pool<counted> p([&fails]() -> counted {
      if (fails) throw std::runtime_error("no");
      return counted(3);
    });
    EXPECT_THROW(static_cast<void>(p.get()), std::runtime_error);
    EXPECT_THROW(static_cast<void>(p.take()), std::runtime_error);
    EXPECT_EQ(p.stats().created, 0U);
    EXPECT_EQ(p.stats().out, 0U);
    EXPECT_EQ(counted::alive, before);
    fails = false;
    EXPECT_EQ(p.get()->value, 3);
  });
}

struct not_by_default {
  explicit not_by_default(int v) : value(v) {}
  int value;
};

TEST_P(Pool, ObjectsThatCannotBeMadeAreOnlyThoseThatWerePutThere) {
  run([] {
    weft::pool<not_by_default> p;
    EXPECT_THROW(static_cast<void>(p.get()), weft::logic_error);
    EXPECT_FALSE(p.try_get());
    p.emplace(5);
    auto h = p.try_get();
    ASSERT_TRUE(h);
    EXPECT_EQ(h->value, 5);
    EXPECT_FALSE(p.try_get());
  });
}

TEST_P(Pool, ResetSeesEachObjectThatComesBack) {
  run([] {
    std::atomic<int> resets{0};
    weft::pool<int> p({.reset = [&resets](int& v) {
      v = 0;
      ++resets;
    }});
    for (int i = 1; i <= 10; ++i) {
      auto h = p.get();
      EXPECT_EQ(*h, 0);
      *h = i;
    }
    EXPECT_EQ(resets, 10);
    p.get().discard();
    EXPECT_EQ(resets, 10);
  });
}

TEST_P(Pool, AnObjectWhoseResetThrowsIsNotUsedAgain) {
  const int before = counted::alive;
  run([before] {
    log_capture log;
    weft::pool<counted> p({.reset = [](counted&) { throw std::runtime_error("broken"); }});
    p.put(p.get());
    EXPECT_EQ(p.stats().idle, 0U);
    EXPECT_EQ(p.stats().destroyed, 1U);
    EXPECT_EQ(counted::alive, before);
    EXPECT_NE(log.text().find("reset function threw"), std::string::npos);
  });
}

// --- generations

// TestPoolGC
TEST_P(Pool, WhatNobodyUsesForAGenerationGoes) {
  const int before = counted::alive;
  run([before] {
    weft::pool<counted> p;
    {
      std::vector<weft::pooled<counted>> all;
      for (int i = 0; i < 100; ++i) all.push_back(p.get());
    }
    const std::uint64_t made = p.stats().created;
    p.trim();
    EXPECT_EQ(p.stats().idle, made);
    p.trim();
    EXPECT_EQ(p.stats().idle, 0U);
    EXPECT_EQ(counted::alive, before);
    EXPECT_EQ(p.get()->value, 0);
  });
}

TEST(PoolGenerations, WhatIsUsedStays) {
  weft::pool<int> p;
  p.put(p.get());
  for (int i = 0; i < 10; ++i) {
    p.trim();
    p.put(p.get());  // it was old, and is young again
  }
  EXPECT_EQ(p.stats().created, 1U);
  EXPECT_EQ(p.stats().idle, 1U);
}

TEST_P(Pool, TheClockEndsGenerationsToo) {
  const int before = counted::alive;
  run([before] {
    weft::pool<counted> p({.idle_timeout = std::chrono::nanoseconds(1)});
    {
      std::vector<weft::pooled<counted>> all;
      for (int i = 0; i < 100; ++i) all.push_back(p.get());
    }
    // Whoever comes, comes often enough in the end.
    for (int i = 0; i < 1'000'000 && counted::alive > before + 1; ++i) p.put(p.get());
    EXPECT_LE(counted::alive, before + 1);
  });
}

// A cache of a P that is in use while others trim.
TEST_P(Pool, UseTrimAndPlainThreadsTogetherStress) {
  run([] {
    struct object {
      std::atomic<int> holders{0};
      int written = 0;
    };
    weft::pool<object> p;
    const int rounds = scaled(in_fibers() ? 20'000 : 4000);
    std::atomic<bool> done{false};
    std::thread trimmer([&] {
      while (!done) {
        p.trim();
        auto h = p.get();
        EXPECT_EQ(h->holders.fetch_add(1), 0);
        ++h->written;
        h->holders.fetch_sub(1);
      }
    });
    {
      crew users(in_fibers());
      for (int u = 0; u < 8; ++u) {
        users.start([&, u] {
          std::vector<weft::pooled<object>> mine;
          for (int i = 0; i < rounds; ++i) {
            auto h = p.get();
            EXPECT_EQ(h->holders.fetch_add(1), 0);
            ++h->written;  // plain: a race here means two holders
            if ((i + u) % 7 == 0) weft::yield();
            h->holders.fetch_sub(1);
            if (i % 3 == 0) mine.push_back(std::move(h));
            if (mine.size() == 70) mine.clear();
          }
        });
      }
    }
    done = true;
    trimmer.join();
    const weft::pool_stats s = p.stats();
    EXPECT_EQ(s.out, 0U);
    EXPECT_EQ(s.created - s.destroyed, s.idle);
  });
}

// Producers take, consumers put back: whole chains go through the shared list.
TEST_P(Pool, ObjectsWanderBetweenWorkersStress) {
  run([] {
    weft::pool<int> p;
    auto c = weft::make_chan<weft::pooled<int>>(100);
    const int n = scaled(20'000);
    {
      crew both(in_fibers());
      both.start([&] {
        for (int i = 0; i < n; ++i) {
          auto h = p.get();
          *h = i;
          c.send(std::move(h));
        }
        c.close();
      });
      both.start([&] {
        int expected = 0;
        while (auto h = c.recv()) EXPECT_EQ(**h, expected++);
        EXPECT_EQ(expected, n);
      });
    }
    EXPECT_EQ(p.stats().out, 0U);
  });
}

// --- runtimes

TEST(PoolRuntimes, ServesSeveralAndOutlivesThem) {
  const int before = counted::alive;
  {
    weft::pool<counted> p;
    {
      weft::runtime a({.procs = 2});
      weft::runtime b({.procs = 2});
      const auto use = [&p] {
        weft::wait_group wg;
        for (int f = 0; f < 10; ++f) {
          wg.go([&p] {
            for (int i = 0; i < 200; ++i) {
              auto h = p.get();
              if (i % 10 == 0) weft::yield();
            }
          });
        }
        wg.wait();
      };
      auto in_b = b.async(use);
      EXPECT_EQ(a.run(use), 0);
      in_b.get();
    }
    EXPECT_EQ(p.stats().out, 0U);
    p.put(p.get());  // without any
    weft::run([&p] { p.put(p.get()); });
    EXPECT_EQ(p.stats().idle, p.stats().created - p.stats().destroyed);
  }
  EXPECT_EQ(counted::alive, before);
}

// Nobody takes from what a P that has retired leaves behind; it goes with the rest all the same.
TEST(PoolRuntimes, WhatARetiredProcLeavesIsDestroyedAndItServesAgain) {
  weft::run([] {
    const auto change_procs = [](int n) {
      EXPECT_TRUE(weft::set_procs(n));
      while (weft::stats().procs != n) weft::yield();
    };
    const int before = counted::alive;
    weft::pool<counted> p;
    for (int round = 0; round < 3; ++round) {
      change_procs(4);
      weft::wait_group wg;
      for (int f = 0; f < 16; ++f) {
        wg.go([&p] {
          for (int i = 0; i < 200; ++i) {
            auto a = p.get();
            auto b = p.get();
            if (i % 10 == 0) weft::yield();
          }
        });
      }
      wg.wait();
      change_procs(1);
      EXPECT_EQ(p.stats().out, 0U);
      p.trim();
      p.trim();
      EXPECT_EQ(p.stats().idle, 0U);
      EXPECT_EQ(counted::alive, before);
    }
  });
}

// --- accounts

TEST_P(Pool, ObjectsThatAreOutAreInTheAccountsByLine) {
  run([] {
    weft::pool<int> p;
    const auto live = weft::stats().live.pool_objects;
    const auto before = weft::leak::snapshot();
    auto h = p.get();
    const auto line = static_cast<std::uint32_t>(__LINE__) - 1;
    EXPECT_EQ(weft::stats().live.pool_objects, live + 1);
    const auto after = weft::leak::diff(before);
    std::int64_t found = 0;
    for (const auto& r : after.rows) {
      if (r.kind != "pool object") continue;
      EXPECT_NE(r.file.find("pool_test.cpp"), std::string::npos);
      EXPECT_EQ(r.line, line);
      found += r.live;
    }
    EXPECT_EQ(found, 1);
    h.put();
    EXPECT_EQ(weft::stats().live.pool_objects, live);
  });
}

TEST_P(Pool, AnObjectThatOutlivesItsPoolIsReportedAndHarmless) {
  const int before = counted::alive;
  const auto live = weft::stats().live.pool_objects;
  run([before] {
    log_capture log;
    auto p = std::make_unique<weft::pool<counted>>();
    p->put(p->get());
    auto a = p->get();
    auto b = p->get();
    auto c = p->get();
    p.reset();
    EXPECT_NE(log.text().find("destroyed while 3 of its objects were out"), std::string::npos)
        << log.text();
    EXPECT_NE(log.text().find("pool_test.cpp"), std::string::npos) << log.text();
    EXPECT_EQ(counted::alive, before + 3);
    a.put();
    b.discard();
    EXPECT_EQ(counted::alive, before + 1);
    std::thread([last = std::move(c)] {}).join();  // the core goes with it
    EXPECT_EQ(counted::alive, before);
  });
  EXPECT_EQ(weft::stats().live.pool_objects, live);
}

// Whichever comes first, nothing is left behind, and nobody touches what is gone.
TEST_P(Pool, PutsAgainstTheEndStress) {
  const int before = counted::alive;
  const auto live = weft::stats().live.pool_objects;
  run([before] {
    const log_capture log;
    for (int i = 0; i < scaled(in_fibers() ? 1000 : 200); ++i) {
      auto p = std::make_unique<weft::pool<counted>>();
      crew users(in_fibers());
      for (int u = 0; u < 4; ++u) users.start([h = p->get()]() mutable { h.put(); });
      if (i % 2 == 0) weft::yield();
      p.reset();
      users.join();
      EXPECT_EQ(counted::alive, before);
    }
  });
  EXPECT_EQ(weft::stats().live.pool_objects, live);
}

TEST(PoolMisuse, PuttingTwiceIsFatal) {
  const child_result r = run_child([] {
    weft::pool<int> p;
    int* object = p.take();
    p.put(object);
    p.put(object);
  });
  EXPECT_EQ(r.code, 2);
  EXPECT_NE(r.error.find("put back twice"), std::string::npos) << r.error;
}

// --- the heap

TEST_P(Pool, TakesNothingFromTheHeapInSteadyState) {
  run([] {
    weft::pool<int> p;
    const auto use = [&p] {
      for (int i = 0; i < 1000; ++i) {
        auto a = p.get();
        auto b = p.get();
      }
    };
    use();
    long least = -1;
    for (int k = 0; k < 10 && least != 0; ++k) {  // the runtime's own threads may take something
      const long taken = heap_blocks_of(use);
      least = least < 0 || taken < least ? taken : least;
    }
    EXPECT_EQ(least, 0);
  });
}

}  // namespace
