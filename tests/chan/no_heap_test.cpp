// SPDX-License-Identifier: Apache-2.0
// What API.md says takes nothing from the heap: channels in frames, all operations, select, lists
// made at run time.
#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/select.hpp>

#include "tests/chan/heap_count.hpp"
#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;

class NoHeap : public both_worlds {};
WEFT_BOTH_WORLDS(NoHeap);

TEST(NoHeapCheck, TheCountSeesAllocations) {
  EXPECT_EQ(heap_blocks_of([] { ::operator delete(::operator new(64)); }), 1);
  // A buffer this large comes from the heap, made inside the library.
  EXPECT_GT(heap_blocks_of([] { (void)weft::make_chan<large>(1000).len(); }), 0);
}

void ping_pong(const weft::chan<int>& to, const weft::chan<int>& from, int n) {
  for (int i = 0; i < n; ++i) {
    to.send(i);
    (void)from.recv();
    EXPECT_TRUE(to.send_for(1h, i));
    (void)from.recv(weft::background());
    EXPECT_EQ(weft::select(weft::on_send(to, i), weft::on_timeout(1h)), 0U);
    EXPECT_EQ(weft::select(weft::on_recv(from, [] {}), weft::on_timeout(1h)), 0U);
    int value = i;
    std::optional<int> got;
    std::array send{weft::select_case::send(to, value), weft::select_case::timeout(1h)};
    std::array recv{weft::select_case::timeout(1h), weft::select_case::recv(from, got)};
    EXPECT_EQ(weft::select_any(send), 0U);
    EXPECT_EQ(weft::select_any(recv), 1U);
    (void)weft::select(weft::on_recv(from, [] {}), weft::otherwise());
    (void)from.try_recv();
  }
}

TEST_P(NoHeap, FrameChannelsTheirOperationsAndSelects) {
  run([] {
    crew other(in_fibers());
    weft::channel<int> to;
    weft::channel<int, 4> from;
    other.start([&] {
      for (const int v : to) from.send(v);
    });
    ping_pong(to, from, 50);  // caches, timer heaps and stacks grow to what they need
    long least = -1;
    for (int k = 0; k < 5 && least != 0; ++k) {  // the runtime's own threads may take something
      const long taken = heap_blocks_of([&] {
        weft::channel<int, 16> local;
        weft::channel<large, 2> wide;
        for (int i = 0; i < 16; ++i) local.send(i);
        EXPECT_FALSE(local.try_send(1));
        wide.send(large(1));
        ping_pong(to, from, 200);
      });
      least = least < 0 || taken < least ? taken : least;
    }
    EXPECT_EQ(least, 0);
    to.close();
  });
}

#if !WEFT_ASAN  // there each node goes to the heap, so that its end is seen
TEST_P(NoHeap, ScopedContextsAndTheirWaits) {
  run([] {
    const auto use = [] {
      const weft::scoped_context outer(weft::background());
      const weft::channel<int> empty;
      for (int i = 0; i < 100; ++i) {
        weft::scoped_context s(outer, 1h);
        EXPECT_EQ(weft::select(weft::on_done(s), weft::otherwise()), 1U);
        s.cancel();
        EXPECT_FALSE(empty.recv(s));
      }
    };
    const auto derive = [] {
      for (int i = 0; i < 100; ++i) {
        auto [ctx, cancel] = weft::with_cancel(weft::background());
        auto [below, cancel_below] = weft::with_timeout(ctx, 1h);
        const weft::context copy = below;
        cancel();
        EXPECT_TRUE(copy.err());
      }
    };
    use();
    derive();
    long least = -1;
    for (int k = 0; k < 5 && least != 0; ++k) {
      const long taken = heap_blocks_of([&] {
        use();
        derive();  // nodes come from caches
      });
      least = least < 0 || taken < least ? taken : least;
    }
    EXPECT_EQ(least, 0);
  });
}
#endif

}  // namespace
