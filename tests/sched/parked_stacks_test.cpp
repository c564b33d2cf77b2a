// SPDX-License-Identifier: Apache-2.0
// What a parked fiber has below its stack pointer goes back to the kernel; what it has above stays,
// whoever wakes it meanwhile.
#include "sched/parked_stacks.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <thread>

#include <weft/detail/random.hpp>
#include <weft/weft.hpp>
#include "runtime/stack_watch.hpp"
#include "tests/support/child.hpp"

namespace {

using namespace std::chrono_literals;
using weft::detail::bytes_in_memory;
using weft::detail::current_fiber;
using weft_test::demand;

constexpr std::size_t room = 256 << 10;
constexpr std::size_t deep_bytes = 128 << 10;
constexpr auto patience = 60s;  // for a machine that stands still

WEFT_NOINLINE void use_much() {
  volatile char frame[deep_bytes];
  for (std::size_t i = 0; i < deep_bytes; i += 512) frame[i] = 1;
  asm volatile("" : : "r"(frame) : "memory");
}

TEST(ParkedStacks, LosePagesBelowTheStackPointerAndNoneAbove) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "trim=5ms", 1);
    weft::run([] {
      auto used = weft::make_chan<const weft::detail::fiber_core*>();
      auto go_on = weft::make_chan<int>();
      auto f = weft::spawn(weft::fiber_options{.stack_size = room}, [=] {
        for (int round = 0; round < 3; ++round) {
          volatile char kept[8192];
          for (std::size_t i = 0; i < sizeof(kept); ++i) kept[i] = static_cast<char>(i + 1);
          use_much();
          used.send(current_fiber());
          demand(go_on.recv() == round, "it is woken once a round");
          for (std::size_t i = 0; i < sizeof(kept); ++i) {
            demand(kept[i] == static_cast<char>(i + 1), "its frames are intact");
          }
        }
      });
      for (int round = 0; round < 3; ++round) {
        const weft::detail::fiber_core* g = *used.recv();
        const auto end = std::chrono::steady_clock::now() + patience;
        while (weft::detail::membarrier_available &&
               bytes_in_memory(g->stack_class, g->stack_lo) >= deep_bytes) {
          demand(std::chrono::steady_clock::now() < end, "the pages below go back");
          weft::sleep_for(2ms);
        }
        go_on.send(round);
      }
      f.join();
    });
  });
  EXPECT_EQ(r.code, 0) << r.error;
}

// It is the only one that runs, and sysmon, which it has woken, looks while it does: then all go to
// sleep, and nobody but sysmon itself can have it look again.
TEST(ParkedStacks, LosePagesInARuntimeThatIsIdle) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "trim=100ms", 1);
    weft::runtime rt{weft::options{.stack_size = room}};
    auto used = weft::make_chan<const weft::detail::fiber_core*>(1);
    auto go_on = weft::make_chan<int>();
    rt.go([=] {
      while (go_on.recv()) {
        use_much();
        const auto end = std::chrono::steady_clock::now() + 20ms;
        while (std::chrono::steady_clock::now() < end) {
        }
        used.send(current_fiber());
      }
    });
    for (int round = 0; round < 3; ++round) {
      std::this_thread::sleep_for(500ms);  // into the deepest sleep there is
      go_on.send(round);
      const weft::detail::fiber_core* g = *used.recv();
      const auto end = std::chrono::steady_clock::now() + patience;
      while (weft::detail::membarrier_available &&
             bytes_in_memory(g->stack_class, g->stack_lo) >= deep_bytes) {
        demand(std::chrono::steady_clock::now() < end, "the pages below go back");
        std::this_thread::sleep_for(2ms);
      }
    }
    go_on.close();
  });
  EXPECT_EQ(r.code, 0) << r.error;
}

// Parks at `depth` frames of a KiB each, all of which must be there afterwards.
WEFT_NOINLINE void park_deep(int depth, std::uint64_t seed, std::chrono::microseconds time) {
  volatile std::uint64_t frame[128];
  for (volatile std::uint64_t& word : frame) word = seed++;
  asm volatile("" : : "r"(frame) : "memory");
  if (depth > 0) {
    park_deep(depth - 1, seed, time);
  } else {
    weft::sleep_for(time);
  }
  for (std::uint64_t i = 0; i < 128; ++i) demand(frame[i] == seed - 128 + i, "frames are intact");
}

// The period is as short as the sleeps, so that fibers are held while they are woken.
TEST(ParkedStacks, StressWokenWhileTheyAreTrimmed) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "trim=1ms", 1);
    weft::run([] {
      constexpr int fibers = 64;
#if WEFT_TSAN || WEFT_ASAN
      constexpr int rounds = 40;
#else
      constexpr int rounds = 200;
#endif
      weft::wait_group all;
      for (std::uint64_t id = 1; id <= fibers; ++id) {
        all.go([id] {
          for (int i = 0; i < rounds; ++i) {
            const auto time = std::chrono::microseconds(weft::detail::fast_rand(6000));
            park_deep(static_cast<int>(weft::detail::fast_rand(16)), id << 32, time);
          }
        });
      }
      all.wait();
    });
  });
  EXPECT_EQ(r.code, 0) << r.error;
}

}  // namespace
