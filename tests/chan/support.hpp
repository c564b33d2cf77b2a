// SPDX-License-Identifier: Apache-2.0
// What the tests of chan, ctx and sync share: bodies that run both from fibers and from plain
// threads, awkward value types with exact books, and a check that nothing is left alive.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <weft/chan.hpp>
#include <weft/detail/config.hpp>
#include <weft/fiber.hpp>
#include <weft/run.hpp>
#include <weft/stats.hpp>
#include <weft/wait_group.hpp>

namespace weft_test {

using namespace std::chrono_literals;

/// How much of a stress loop to do: sanitizer builds and emulators are ten to thirty times slower.
constexpr int scaled(int n) {
#if WEFT_TSAN
  return n / 20 + 1;
#elif WEFT_ASAN || WEFT_EMULATED
  return n / 24 + 1;
#else
  return n;
#endif
}

enum class world { fibers, threads };

/// Tests that must hold for fibers and for plain threads alike. In the thread world a runtime
/// exists beside the threads, for timers.
class both_worlds : public testing::TestWithParam<world> {
 protected:
  /// Runs `body` as a fiber, or on this very thread.
  void run(const std::function<void()>& body) {
    const weft::accounts before = weft::stats().live;
    // A callback that has just been started may end.
    const weft::options options{.drain = 10s};
    if (GetParam() == world::fibers) {
      (void)weft::run(options, body);
    } else {
      (void)weft::run(options, [&] {
        std::thread(body).join();  // the runtime's main fiber waits for it on its own thread
      });
    }
    // The thread that serves signals may still hold what it has just cancelled.
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (weft::stats().live.contexts != before.contexts &&
           std::chrono::steady_clock::now() < end) {
      std::this_thread::yield();
    }
    const weft::accounts after = weft::stats().live;
    EXPECT_EQ(before.channels, after.channels);
    EXPECT_EQ(before.timers, after.timers);
    EXPECT_EQ(before.tickers, after.tickers);
    EXPECT_EQ(before.contexts, after.contexts);
  }
  static bool in_fibers() { return GetParam() == world::fibers; }
};

/// Tasks of the world under test; joined at the end of the scope.
class crew {
 public:
  explicit crew(bool fibers) : fibers_(fibers) {}
  crew(const crew&) = delete;
  crew& operator=(const crew&) = delete;
  ~crew() { join(); }

  template <class F>
  void start(F fn) {
    if (fibers_) {
      tasks_.go(std::move(fn));
    } else {
      threads_.emplace_back(std::move(fn));
    }
  }
  void join() {
    tasks_.wait();
    for (std::thread& t : threads_) t.join();
    threads_.clear();
  }

 private:
  bool fibers_;
  weft::wait_group tasks_;
  std::vector<std::thread> threads_;
};

/// Lets others run until `done()`; the tests have nothing to wait on where they look at state that
/// is only seen from outside (that somebody has parked).
template <class F>
void yield_until(F done) {
  while (!done()) weft::yield();
}

/// Waiters that have parked on the channel, from outside.
template <class C>
std::size_t parked_receivers(const C& c) {
  weft::detail::chan_core* core = weft::detail::channel_access::core_of(c);
  std::size_t n = 0;
  core->lock.lock();
  for (auto* w = core->recv_q.front(); w != nullptr; w = w->next) ++n;
  core->lock.unlock();
  return n;
}
template <class C>
std::size_t parked_senders(const C& c) {
  weft::detail::chan_core* core = weft::detail::channel_access::core_of(c);
  std::size_t n = 0;
  core->lock.lock();
  for (auto* w = core->send_q.front(); w != nullptr; w = w->next) ++n;
  core->lock.unlock();
  return n;
}

// --- values

using move_only = std::unique_ptr<int>;

/// Counts its living instances; its copy constructor throws when told to.
struct counted {
  static inline std::atomic<int> alive{0};
  static inline std::atomic<bool> throw_on_copy{false};

  explicit counted(int v = 0) : value(v) { ++alive; }
  counted(const counted& o) : value(o.value) {
    if (throw_on_copy) throw std::runtime_error("copy");
    ++alive;
  }
  counted(counted&& o) noexcept : value(std::exchange(o.value, moved_from)) { ++alive; }
  counted& operator=(const counted&) = delete;
  ~counted() { --alive; }

  static constexpr int moved_from = -1;
  int value;
};

struct alignas(256) over_aligned {
  int value = 0;
  explicit over_aligned(int v = 0) : value(v) { check(); }
  over_aligned(over_aligned&& o) noexcept : value(o.value) { check(); }
  ~over_aligned() { check(); }
  void check() const { EXPECT_EQ(reinterpret_cast<std::uintptr_t>(this) % 256, 0U); }
};

struct large {
  std::array<int, 1000> values{};
  explicit large(int v = 0) { values.fill(v); }
};

}  // namespace weft_test

#define WEFT_BOTH_WORLDS(fixture)                                                            \
  INSTANTIATE_TEST_SUITE_P(                                                                  \
      Worlds, fixture, testing::Values(weft_test::world::fibers, weft_test::world::threads), \
      [](const auto& world_info) {                                                           \
        return world_info.param == weft_test::world::fibers ? "Fibers" : "Threads";          \
      })
