// SPDX-License-Identifier: Apache-2.0
// Starting, joining, results, labels, fiber-local values; from fibers and from plain threads.
#include <weft/fiber.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/run.hpp>
#include <weft/stats.hpp>

namespace {

TEST(Fiber, GoRunsClosuresOfEverySizeAndDestroysThem) {
  auto alive = std::make_shared<int>(0);
  weft::run([&] {
    std::atomic<int> ran{0};
    std::vector<weft::fiber> fibers;
    fibers.push_back(weft::spawn([&ran, alive] { ++ran; }));
    std::array<char, 300> medium{};
    fibers.push_back(weft::spawn([&ran, alive, medium] { ran += medium[0] + 1; }));
    std::array<char, 9000> large{};
    fibers.push_back(weft::spawn([&ran, alive, large] { ran += large[0] + 1; }));
    struct alignas(256) aligned {
      char c[256] = {};
    };
    fibers.push_back(weft::spawn([&ran, alive, a = aligned{}] {
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&a) % 256, 0U);
      ++ran;
    }));
    fibers.push_back(weft::spawn([&ran, p = std::make_unique<int>(1), alive] { ran += *p; }));
    for (auto& f : fibers) f.join();
    EXPECT_EQ(ran.load(), 5);
  });
  EXPECT_EQ(alive.use_count(), 1);
}

TEST(Fiber, AThrowingCopyOfTheClosureStartsNothing) {
  struct throws_on_copy {
    throws_on_copy() = default;
    throws_on_copy(const throws_on_copy&) { throw std::runtime_error("copy"); }
    void operator()() const {}
  };
  weft::run([] {
    const auto before = weft::num_fibers();
    const throws_on_copy f;
    EXPECT_THROW(weft::go(f), std::runtime_error);
    EXPECT_EQ(weft::num_fibers(), before);
  });
}

TEST(Fiber, JoinTwiceOrWithoutAFiberThrows) {
  weft::run([] {
    weft::fiber none;
    EXPECT_FALSE(none.joinable());
    EXPECT_THROW(none.join(), weft::logic_error);
    auto f = weft::spawn([] {});
    f.join();
    EXPECT_FALSE(f.joinable());
    EXPECT_THROW(f.join(), weft::logic_error);
  });
}

TEST(Fiber, TwoThatWaitForOneEndAreToldApart) {
  weft::run([] {
    auto go_on = weft::make_chan<int>();
    auto r = weft::async([&] { return *go_on.recv(); });
    std::atomic<int> refused{0};
    const auto wait = [&] {
      try {
        r.wait();
      } catch (const weft::logic_error&) {
        ++refused;
      }
    };
    auto one = weft::spawn(wait);
    auto other = weft::spawn(wait);
    while (refused == 0) weft::yield();  // whichever came second
    go_on.send(5);
    one.join();
    other.join();
    EXPECT_EQ(refused, 1);
    r.wait();  // it has ended: anybody may
    EXPECT_EQ(r.get(), 5);
  });
}

TEST(Fiber, AsyncReturnsValuesReferencesMoveOnlyAndVoid) {
  weft::run([] {
    EXPECT_EQ(weft::async([] { return 42; }).get(), 42);
    int x = 1;
    int& r = weft::async([&x]() -> int& { return x; }).get();
    EXPECT_EQ(&r, &x);
    auto p = weft::async([] { return std::make_unique<int>(7); }).get();
    EXPECT_EQ(*p, 7);
    weft::async([&x] { x = 9; }).get();
    EXPECT_EQ(x, 9);
    weft::future<int> dropped = weft::async([] { return 1; });
    dropped = weft::async([] { return 2; });
    EXPECT_EQ(dropped.get(), 2);
    EXPECT_FALSE(dropped.valid());
  });
}

TEST(Fiber, ADroppedFutureDestroysItsResult) {
  auto alive = std::make_shared<int>(0);
  weft::run([&] {
    for (int i = 0; i < 100; ++i) {
      auto f = weft::async([alive] { return alive; });
      if (i % 2 == 0) f.wait();
    }
  });
  EXPECT_EQ(alive.use_count(), 1);
}

TEST(Fiber, OnReadyRunsWithTheResult) {
  weft::run([] {
    std::atomic<int> got{0};
    weft::on_ready(weft::async([] { return 5; }),
                   [&got](weft::future<int> r) { got.store(r.get()); });
    while (got.load() == 0) weft::yield();
    EXPECT_EQ(got.load(), 5);
  });
}

TEST(Fiber, PlainThreadsSpawnJoinAndGetResults) {
  weft::run([] {
    std::atomic<bool> done{false};
    std::thread t([&done] {
      std::vector<weft::future<int>> results;
      for (int i = 0; i < 100; ++i) results.push_back(weft::async([i] { return i; }));
      int sum = 0;
      for (auto& r : results) sum += r.get();
      EXPECT_EQ(sum, 4950);
      auto f = weft::spawn([] { weft::yield(); });
      f.join();
      EXPECT_EQ(weft::this_fiber::id(), 0U);
      done.store(true);
    });
    while (!done.load()) weft::yield();
    t.join();
  });
}

TEST(Fiber, WithoutARuntimeGoThrowsNoRuntime) {
  try {
    weft::go([] {});
    FAIL() << "go returned";
  } catch (const weft::no_runtime_error& e) {
    EXPECT_EQ(e.code(), weft::errc::no_runtime);
  }
}

TEST(Fiber, LabelsAreInheritedAndNamesAreKept) {
  weft::run([] {
    weft::this_fiber::set_label("tenant", "a");
    auto f = weft::spawn(weft::fiber_options{.name = "reader"}, [] {
      EXPECT_EQ(weft::this_fiber::label("tenant"), "a");
      EXPECT_EQ(weft::this_fiber::name(), "reader");
      weft::this_fiber::set_label("tenant", "b");
      EXPECT_EQ(weft::this_fiber::label("tenant"), "b");
    });
    f.join();
    EXPECT_EQ(weft::this_fiber::label("tenant"), "a");
    EXPECT_EQ(weft::this_fiber::label("none"), "");
  });
}

TEST(Fiber, LocalValuesAreOnePerFiberAndDieWithIt) {
  static std::atomic<int> alive{0};
  struct counted {
    int value = 0;
    counted() { ++alive; }
    ~counted() { --alive; }
  };
  static weft::fiber_local<counted> local;
  weft::run([] {
    std::vector<weft::fiber> fibers;
    for (int i = 1; i <= 10; ++i) {
      fibers.push_back(weft::spawn([i] {
        local->value = i;
        weft::yield();
        EXPECT_EQ(local->value, i);
      }));
    }
    for (auto& f : fibers) f.join();
  });
  EXPECT_EQ(alive.load(), 0);
}

TEST(Fiber, CatchingHandsTheExceptionToTheHandlerAndGoesOn) {
  static std::atomic<int> seen{0};
  weft::set_panic_handler([](const weft::panic_info& info) {
    if (!info.fatal && info.what == "soft" && info.exception) ++seen;
  });
  weft::run([] {
    weft::go(weft::catching, [] { throw std::runtime_error("soft"); });
    while (seen.load() == 0) weft::yield();
  });
  weft::set_panic_handler(nullptr);
  EXPECT_EQ(seen.load(), 1);
}

TEST(Fiber, StressForkJoinTreeFromManyLevels) {
  struct tree {
    static int count(int depth) {
      if (depth == 0) return 1;
      auto left = weft::async([depth] { return count(depth - 1); });
      const int right = count(depth - 1);
      return left.get() + right;
    }
  };
  weft::run([] {
    constexpr int depth = WEFT_TSAN ? 8 : 13;
    EXPECT_EQ(tree::count(depth), 1 << depth);
  });
}

// Whoever drops the last handle runs the destructor, and goes on on whatever thread that leaves it.
TEST(Fiber, StressAResultWhoseDestructorWaits) {
  struct waits {
    bool owner = true;
    waits() = default;
    waits(waits&& other) noexcept : owner(std::exchange(other.owner, false)) {}
    waits& operator=(waits&&) = delete;
    ~waits() {
      for (int i = 0; owner && i < 3; ++i) weft::yield();
    }
  };
  weft::run(weft::options{.procs = 4}, [] {
    std::vector<weft::fiber> all;
    for (int k = 0; k < 8; ++k) {
      all.push_back(weft::spawn([k] {
        for (int i = 0; i < (WEFT_TSAN || WEFT_ASAN ? 100 : 3000); ++i) {
          auto r = weft::async([] { return waits{}; });
          if ((i + k) % 3 == 0) r.wait();
          if ((i + k) % 3 == 1) weft::yield();
        }
      }));
    }
    for (auto& f : all) f.join();
  });
}

// A fiber that has lost its P and plain threads start fibers at once: all are counted, or nobody
// would ever know that the runtime is empty.
TEST(Fiber, StartsFromOutsideAreAllCounted) {
  constexpr int n = WEFT_TSAN || WEFT_ASAN ? 2000 : 20'000;
  weft::runtime rt{weft::options{.procs = 1}};
  std::atomic<bool> lost{false};
  std::atomic<int> ran{0};
  auto hog = rt.async([&] {
    rt.go([&] { lost = true; });  // runs when sysmon has taken the P from this loop
    while (!lost) {
    }
    for (int i = 0; i < n; ++i) rt.go([&] { ++ran; });
  });
  while (!lost) std::this_thread::yield();
  for (int i = 0; i < n; ++i) rt.go([&] { ++ran; });
  hog.wait();
  EXPECT_TRUE(rt.shutdown(weft::background()).has_value());
  EXPECT_EQ(ran.load(), 2 * n);
}

TEST(Fiber, StressJoinRacesTheEnd) {
  weft::run([] {
    for (int i = 0; i < (WEFT_TSAN || WEFT_ASAN ? 500 : 20'000); ++i) {
      int value = 0;
      auto f = weft::spawn([&value] { value = 1; });
      if (i % 3 == 0) weft::yield();
      f.join();
      ASSERT_EQ(value, 1);
    }
  });
}

}  // namespace
