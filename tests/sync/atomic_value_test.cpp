// SPDX-License-Identifier: Apache-2.0
// atomic_value: Go's TestValue, TestValueLarge, TestValueConcurrent, TestValue_Swap and
// TestValue_CompareAndSwap, and what the header says of order, lifetimes and cost.
#include <weft/atomic_value.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
#include <weft/fiber.hpp>

#include "tests/chan/heap_count.hpp"
#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;

class AtomicValue : public both_worlds {};
WEFT_BOTH_WORLDS(AtomicValue);

TEST_P(AtomicValue, IsEmptyUntilTheFirstStore) {
  run([] {
    weft::atomic_value<std::string> v;
    EXPECT_EQ(v.load(), nullptr);
    v.store("first");
    EXPECT_EQ(*v.load(), "first");
    v.store(std::make_shared<const std::string>("shared"));
    EXPECT_EQ(*v.load(), "shared");
    v.store(weft::atomic_value<std::string>::snapshot());
    EXPECT_EQ(v.load(), nullptr);
    EXPECT_EQ(*weft::atomic_value<int>(3).load(), 3);
  });
}

TEST_P(AtomicValue, ASnapshotStaysAsItIsAndOutlivesTheValue) {
  run([] {
    std::optional<weft::atomic_value<std::string>> v(std::in_place, "old");
    const auto before = v->load();
    v->store("new");
    EXPECT_EQ(*before, "old");
    const auto after = v->load();
    v.reset();
    EXPECT_EQ(*before, "old");
    EXPECT_EQ(*after, "new");
  });
}

TEST_P(AtomicValue, AnOldValueGoesWithItsLastSnapshot) {
  run([] {
    const int alive = counted::alive;
    {
      weft::atomic_value<counted> v(counted(1));
      auto kept = v.load();
      v.store(counted(2));
      EXPECT_EQ(counted::alive, alive + 2);
      kept.reset();
      EXPECT_EQ(counted::alive, alive + 1);
      kept = v.exchange(counted(3));
      EXPECT_EQ(kept->value, 2);
      kept.reset();
      EXPECT_EQ(counted::alive, alive + 1);
    }
    EXPECT_EQ(counted::alive, alive);
  });
}

// Each thread that has loaded has left something behind; a store takes it all away.
TEST_P(AtomicValue, CopiesThatNobodyUsesKeepNothingAlive) {
  run([] {
    const int alive = counted::alive;
    weft::atomic_value<counted> v(counted(1));
    for (int round = 0; round < 3; ++round) {
      crew readers(false);  // threads in any case
      for (int i = 0; i < 20; ++i) readers.start([&] { EXPECT_EQ(v.load()->value, 1 + round); });
      readers.join();
      v.store(counted(2 + round));
      EXPECT_EQ(counted::alive, alive + 1);
    }
  });
}

TEST_P(AtomicValue, CompareExchangeReplacesTheVeryObjectOnly) {
  run([] {
    weft::atomic_value<int> v;
    weft::atomic_value<int>::snapshot expected;
    EXPECT_TRUE(v.compare_exchange(expected, 1));  // empty is a value like others
    auto other = std::make_shared<const int>(1);   // equal, but another
    EXPECT_FALSE(v.compare_exchange(other, 2));
    EXPECT_EQ(other, v.load());
    EXPECT_TRUE(v.compare_exchange(other, 2));
    EXPECT_EQ(*v.load(), 2);
    EXPECT_EQ(*v.exchange(3), 2);
    EXPECT_EQ(*v.load(), 3);
  });
}

TEST_P(AtomicValue, AnUpdateThatThrowsChangesNothing) {
  run([] {
    weft::atomic_value<std::vector<int>> v;
    const auto extend = [](const std::vector<int>& old) {
      std::vector<int> next = old;
      next.push_back(1);
      return next;
    };
    EXPECT_THROW(v.update(extend), weft::logic_error);
    v.store(std::vector<int>{});
    v.update(extend);
    EXPECT_THROW(v.update([](const std::vector<int>&) -> std::vector<int> {
      throw std::runtime_error("no");
    }),
                 std::runtime_error);
    EXPECT_EQ(v.load()->size(), 1U);
  });
}

// TestValueConcurrent: what one has seen, nobody sees something older than afterwards.
TEST_P(AtomicValue, NobodySeesAnOlderValueAfterANewerStress) {
  run([] {
    struct pair {
      int a = 0;
      int b = 0;
    };
    weft::atomic_value<pair> v(pair{});
    std::atomic<int> seen{0};
    std::atomic<bool> stop{false};
    const int n = scaled(in_fibers() ? 20000 : 5000);
    crew crowd(in_fibers());
    for (int i = 0; i < 6; ++i) {
      crowd.start([&, i] {
        for (int k = 0; !stop; ++k) {
          // acquire and release: somebody who saw that value comes before us.
          const int floor = seen.load(std::memory_order_acquire);
          const auto now = v.load();
          EXPECT_GE(now->a, floor);
          EXPECT_EQ(now->a, now->b);
          int most = floor;
          while (most < now->a &&
                 !seen.compare_exchange_weak(most, now->a, std::memory_order_acq_rel)) {
          }
          if (k % 8 == i) weft::yield();
        }
      });
    }
    for (int k = 1; k <= n; ++k) {
      v.store(pair{k, k});
      EXPECT_EQ(v.load()->a, k);  // the writer sees its own
      if (k % 16 == 0) weft::yield();
    }
    stop = true;
    crowd.join();
  });
}

TEST_P(AtomicValue, UpdatesLoseNothingStress) {
  run([] {
    const int alive = counted::alive;
    {
      weft::atomic_value<counted> v(counted(0));
      const int n = scaled(in_fibers() ? 3000 : 1000);
      crew crowd(in_fibers());
      for (int i = 0; i < 4; ++i) {
        crowd.start([&] {
          for (int k = 0; k < n; ++k) {
            v.update([](const counted& c) { return counted(c.value + 1); });
          }
        });
      }
      crowd.join();
      EXPECT_EQ(v.load()->value, 4 * n);
      EXPECT_EQ(counted::alive, alive + 1);
    }
    EXPECT_EQ(counted::alive, alive);
  });
}

// No lock is held where a value is destroyed: it may wait, and use the atomic_value itself.
TEST_P(AtomicValue, ADestructorMayWaitAndLoad) {
  run([] {
    struct waits {
      weft::atomic_value<std::shared_ptr<waits>>* in = nullptr;
      explicit waits(weft::atomic_value<std::shared_ptr<waits>>* v) : in(v) {}
      waits(const waits&) = delete;
      waits& operator=(const waits&) = delete;
      ~waits() {
        weft::yield();
        if (in != nullptr) (void)in->load();
      }
    };
    weft::atomic_value<std::shared_ptr<waits>> v;
    crew crowd(in_fibers());
    for (int i = 0; i < 3; ++i) {
      crowd.start([&] {
        for (int k = 0; k < 50; ++k) {
          v.store(std::make_shared<waits>(&v));
          (void)v.load();
        }
      });
    }
    crowd.join();
    v.store(weft::atomic_value<std::shared_ptr<waits>>::snapshot());
  });
}

TEST_P(AtomicValue, LoadsTakeNothingFromTheHeap) {
  run([] {
    const weft::atomic_value<int> v(1);
    long least = -1;
    for (int k = 0; k < 20 && least != 0;
         ++k) {  // a fiber may come to a thread that has not loaded
      const long taken = heap_blocks_of([&] {
        for (int i = 0; i < 1000; ++i) EXPECT_EQ(*v.load(), 1);
      });
      least = least < 0 || taken < least ? taken : least;
    }
    EXPECT_EQ(least, 0);
  });
}

TEST(AtomicValueAlone, NeedsNoRuntime) {
  weft::atomic_value<int> v(1);
  std::thread([&] { v.store(2); }).join();
  EXPECT_EQ(*v.load(), 2);
}

}  // namespace
