// SPDX-License-Identifier: Apache-2.0
// WEFT_DEBUG=stacks: how much stack fibers have used, by the line that started them.
#include <weft/stack_use.hpp>

#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include <weft/weft.hpp>
#include "tests/support/child.hpp"

namespace {

using weft_test::demand;

constexpr std::size_t deep_bytes = 100 << 10;
constexpr std::size_t room = 256 << 10;  // holds it under sanitizers, too

WEFT_NOINLINE void use_much() {
  volatile char frame[deep_bytes];
  for (std::size_t i = 0; i < deep_bytes; i += 512) frame[i] = 0;  // zeroes are use as well
  asm volatile("" : : "r"(frame) : "memory");
}

// The lines of the fibers below.
std::uint32_t deep_line = 0;
std::uint32_t shallow_line = 0;

void run_deep_and_shallow_fibers() {
  for (int i = 0; i < 5; ++i) {
    deep_line = __LINE__ + 1;
    auto deep = weft::spawn(weft::fiber_options{.stack_size = room}, [] { use_much(); });
    deep.join();
    // On the stack that the deep one has left, most likely.
    shallow_line = __LINE__ + 1;
    auto shallow = weft::spawn(weft::fiber_options{.stack_size = room}, [] { weft::yield(); });
    shallow.join();
  }
}

const weft::diag::stack_use_row* row_of(const std::vector<weft::diag::stack_use_row>& rows,
                                        std::uint32_t line) {
  for (const auto& row : rows) {
    if (row.line == line && row.file.find("stack_use_test.cpp") != std::string::npos) return &row;
  }
  return nullptr;
}

TEST(StackUse, IsTheMostThatAFiberOfTheLineHasUsedWhoeverHadTheStackBefore) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "stacks=1", 1);
    weft::run([] {
      run_deep_and_shallow_fibers();
      while (weft::num_fibers() != 1) weft::yield();  // joined is not yet gone
      const auto rows = weft::diag::stack_use();
      const auto* deep = row_of(rows, deep_line);
      const auto* shallow = row_of(rows, shallow_line);
      demand(deep != nullptr && shallow != nullptr, "both lines are there");
      demand(deep->fibers == 5 && shallow->fibers == 5, "all have been counted");
      demand(deep->high_water >= deep_bytes, "all of the frame counts");
      demand(deep->high_water < deep_bytes + (64 << 10), "and little else");
      demand(shallow->high_water >= 4096, "a page is in use in any case");
      demand(shallow->high_water < (64 << 10), "what others did on the stack does not count");
      demand(deep->stack_size == room && deep->enough_size == room, "a smaller one is too small");
      demand(shallow->enough_size < room, "a smaller one is enough");
    });
  });
  EXPECT_EQ(r.code, 0) << r.error;
}

TEST(StackUse, FibersThatAreLeftAtTheEndCountAndTheTableIsLogged) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "stacks=1", 1);
    weft::run([] {
      weft::chan<int> never;
      auto parked = weft::make_chan<int>();
      deep_line = __LINE__ + 1;
      weft::go(weft::fiber_options{.stack_size = room}, [=] {
        use_much();
        parked.send(1);
        static_cast<void>(never.recv());
      });
      static_cast<void>(parked.recv());
    });
    const auto rows = weft::diag::stack_use();
    const auto* deep = row_of(rows, deep_line);
    demand(deep != nullptr && deep->high_water >= deep_bytes, "it counts");
    std::ostringstream text;
    text << *deep;
    demand(text.str().find(" KiB of 256 KiB") != std::string::npos, "it can be printed");
  });
  EXPECT_EQ(r.code, 0) << r.error;
  EXPECT_NE(r.error.find("weft: stacks: the most that fibers have used"), std::string::npos)
      << r.error;
  EXPECT_NE(r.error.find("stack_use_test.cpp:"), std::string::npos) << r.error;
}

TEST(StackUse, ParkedFibersCountBeforeTheyEnd) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "stacks=1", 1);
    weft::run([] {
      auto gate = weft::make_chan<int>();
      deep_line = __LINE__ + 1;
      auto f = weft::spawn(weft::fiber_options{.stack_size = room}, [=] {
        use_much();
        for (int i = 0; i < 1000; ++i) demand(gate.recv() == i, "it is woken as before");
      });
      for (int i = 0; i < 1000; ++i) {
        const auto rows = weft::diag::stack_use();
        const auto* deep = row_of(rows, deep_line);
        demand(deep == nullptr || deep->high_water >= deep_bytes, "all of the frame counts");
        gate.send(i);
      }
      f.join();
    });
  });
  EXPECT_EQ(r.code, 0) << r.error;
}

TEST(StackUse, IsNotMeasuredUnasked) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "spin=1", 1);
    weft::run([] { run_deep_and_shallow_fibers(); });
    demand(weft::diag::stack_use().empty(), "nobody asked");
  });
  EXPECT_EQ(r.code, 0) << r.error;
  EXPECT_EQ(r.error.find("weft: stacks"), std::string::npos) << r.error;
}

}  // namespace
