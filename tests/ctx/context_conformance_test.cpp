// SPDX-License-Identifier: Apache-2.0
// What the tests of Go's context package check and the other files here do not. Each test names the
// one whose idea it is.
#include <gtest/gtest.h>

#include <chrono>
#include <stop_token>
#include <string>
#include <system_error>
#include <vector>
#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/stats.hpp>
#include <weft/time.hpp>

#include "tests/chan/heap_count.hpp"
#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::background;
using weft::context;
using weft::errc;
using weft::with_cancel;
using weft::with_deadline;
using weft::with_timeout;
using weft::with_value;
using weft::without_cancel;

class ContextConformance : public both_worlds {};
WEFT_BOTH_WORLDS(ContextConformance);

struct number : weft::context_key<int> {};
struct text : weft::context_key<std::string> {};

const auto io_error = std::make_error_code(std::errc::io_error);
const auto broken_pipe = std::make_error_code(std::errc::broken_pipe);

/// How many contexts would be cancelled by `ctx` itself.
int children_of(const context& ctx) {
  weft::detail::context_node* node = weft::detail::context_access::node(ctx);
  node->lock.lock();
  int n = 0;
  for (const auto* c = node->children; c != nullptr; c = c->next_child) ++n;
  node->lock.unlock();
  return n;
}

// Go: context/TestWithValueChecksKey: what is no key, or no value of it, does not compile.
struct no_key {
  using value_type = int;
};
struct key_of_another_type : weft::context_key<int> {
  using value_type = std::string;
};
template <class K, class V>
concept can_carry = requires(const context& c, V v) { with_value<K>(c, v); };
template <class K>
concept can_look_up = requires(const context& c) { c.value<K>(); };

static_assert(can_carry<number, int> && can_look_up<number>);
static_assert(can_carry<text, const char*>);
static_assert(!can_carry<text, int>);
static_assert(!can_carry<int, int> && !can_look_up<int>);
static_assert(!can_carry<void, int> && !can_look_up<void>);
static_assert(!can_carry<no_key, int> && !can_look_up<no_key>);
static_assert(!can_carry<key_of_another_type, int> && !can_look_up<key_of_another_type>);

// Go: context/TestInvalidDerivedFail: there is no nil parent: a context that nobody made is the
// background, and everything can be derived from it.
TEST_P(ContextConformance, AParentThatNobodyMadeIsTheBackground) {
  run([] {
    const context none;
    auto [c, cancel] = with_cancel(none);
    auto [timed, cancel_timed] = with_timeout(none, 1h);
    auto [at, cancel_at] = with_deadline(none, weft::clock::now() + 1h);
    weft::scoped_context scoped(none);
    EXPECT_EQ(*with_value<number>(none, 1).value<number>(), 1);
    EXPECT_FALSE(without_cancel(none).done());  // nil: it never is
    EXPECT_TRUE(weft::after_func(none, [] { FAIL(); }).stop());
    for (const context& ctx : {c, timed, at}) EXPECT_FALSE(ctx.err());
    cancel();
    cancel_timed();
    cancel_at();
    scoped.cancel();
    for (const context& ctx : {c, timed, at}) EXPECT_EQ(ctx.err(), errc::canceled);
    EXPECT_EQ(scoped.err(), errc::canceled);
    EXPECT_FALSE(none.err());
  });
}

// Go: context/TestChildFinishesFirst, TestParentFinishesChild, with values on the way: those have
// no place in the tree, and a child finds its canceller, and leaves it, beyond them.
TEST_P(ContextConformance, AChildBelowValuesLeavesTheOneThatCancelsIt) {
  run([] {
    auto [parent, cancel] = with_cancel(background());
    const context value = with_value<text>(with_value<number>(parent, 1), "one");
    EXPECT_EQ(children_of(parent), 0);
    auto [child, cancel_child] = with_cancel(value);
    auto [timed, cancel_timed] = with_timeout(with_value<number>(value, 2), 1h);
    {
      auto [dropped, cancel_dropped] = with_cancel(value);
      const context below = with_value<number>(dropped, 3);
      EXPECT_EQ(children_of(parent), 3);
    }
    EXPECT_EQ(children_of(parent), 2);
    cancel_child();  // the child first
    EXPECT_EQ(children_of(parent), 1);
    EXPECT_EQ(child.err(), errc::canceled);
    for (const context& ctx : {parent, value, timed}) EXPECT_FALSE(ctx.err());
    cancel();  // then the parent
    EXPECT_EQ(children_of(parent), 0);
    for (const context& ctx : {parent, value, timed}) EXPECT_EQ(ctx.err(), errc::canceled);
    auto [late, cancel_late] = with_cancel(with_value<number>(value, 4));
    EXPECT_EQ(late.err(), errc::canceled);
    EXPECT_EQ(children_of(parent), 0);
  });
}

// Go: context/TestCustomContextGoroutines: whatever is derived, and from a canceller that is not a
// context, too: nobody is started who waits for an end.
TEST_P(ContextConformance, DerivingStartsNoFiber) {
  run([] {
    std::stop_source source;
    auto [root, cancel_root] = weft::with_stop_token(background(), source.get_token());
    const auto fibers = weft::num_fibers();
    {
      auto [child, cancel_child] = with_cancel(root);
      auto [timed, cancel_timed] = with_timeout(child, 1h);
      const context value = with_value<number>(timed, 1);
      const context detached = without_cancel(value);
      const weft::scoped_context scoped(value, 1h);
      const context copy = scoped;
      auto handle = weft::after_func(copy, [] {});
      auto [listens, cancel_listens] = weft::with_stop_token(copy, source.get_token());
      EXPECT_TRUE(listens.done().try_recv().empty());
      EXPECT_TRUE(copy.done().try_recv().empty());
      EXPECT_EQ(weft::num_fibers(), fibers);
      cancel_listens();
      EXPECT_TRUE(handle.stop());
      EXPECT_EQ(weft::num_fibers(), fibers);
    }
    (void)source.request_stop();
    EXPECT_EQ(root.err(), errc::canceled);
    EXPECT_EQ(weft::num_fibers(), fibers);
  });
}

#if !WEFT_ASAN  // there each node goes to the heap, so that its end is seen
// Go: context/TestAllocs, the kinds that no_heap_test leaves out.
TEST_P(ContextConformance, NodesOfEveryKindComeFromCaches) {
  run([] {
    const auto derive = [] {
      for (int i = 0; i < 100; ++i) {
        auto [ctx, cancel] = with_cancel(background());
        const context value = with_value<number>(ctx, i);
        const context detached = without_cancel(value);
        auto [timed, cancel_timed] = with_deadline(value, weft::clock::now() + 1h);
        auto handle = weft::after_func(timed, [] {});
        const auto done = timed.done();
        EXPECT_EQ(*detached.value<number>(), i);
        EXPECT_TRUE(handle.stop());
        cancel();
        EXPECT_TRUE(done.try_recv().closed());
      }
    };
    derive();
    long least = -1;
    for (int k = 0; k < 10 && least != 0; ++k) {  // the runtime's own threads may take something
      const long taken = heap_blocks_of(derive);
      least = least < 0 || taken < least ? taken : least;
    }
    EXPECT_EQ(least, 0);
  });
}
#endif

// Go: context/TestLayersTimeout: 30 layers of random kinds below one deadline.
TEST_P(ContextConformance, ADeadlineEndsLayersOfEveryKind) {
  run([] {
    for (unsigned seed = 1; seed <= 10; ++seed) {
      unsigned state = seed * 2654435761U;
      auto [top, cancel] = with_timeout(background(), 2ms);
      auto [beside, cancel_beside] = with_timeout(background(), 1h);
      std::vector<weft::cancelable_context> owners;
      std::vector<context> layers{top};
      int last_value = -1;
      for (int i = 0; i < 30; ++i) {
        state = state * 1664525U + 1013904223U;
        switch ((state >> 16) % 4) {
          case 0:
            layers.push_back(with_value<number>(layers.back(), i));
            last_value = i;
            break;
          case 1:
            owners.push_back(with_cancel(layers.back()));
            layers.push_back(owners.back().ctx);
            break;
          case 2:
            owners.push_back(with_timeout(layers.back(), 1h));
            layers.push_back(owners.back().ctx);
            break;
          default:
            owners.push_back(with_deadline(layers.back(), weft::time_point::max()));
            layers.push_back(owners.back().ctx);
        }
      }
      (void)layers.back().done().recv();
      EXPECT_GE(weft::clock::now(), *top.deadline());
      for (const context& ctx : layers) {
        ASSERT_EQ(ctx.err(), errc::deadline_exceeded);
        ASSERT_EQ(ctx.cause(), errc::deadline_exceeded);
        ASSERT_EQ(ctx.deadline(), top.deadline());
      }
      const int* value = layers.back().value<number>();
      EXPECT_EQ(value == nullptr ? -1 : *value, last_value);
      EXPECT_FALSE(beside.err());
    }
  });
}

// Go: context/TestCause, its rows about values, detached contexts, and a cause that comes too late.
TEST_P(ContextConformance, CausesGoThroughValuesButNotThroughDetachment) {
  run([] {
    auto [plain, cancel_plain] = with_cancel(background());
    cancel_plain();
    cancel_plain(io_error);
    EXPECT_EQ(plain.cause(), errc::canceled);

    auto [parent, cancel] = with_cancel(background());
    const context value = with_value<number>(parent, 1);
    const context detached = without_cancel(value);
    auto [timed, cancel_timed] = with_timeout(value, 1h);
    auto [below, cancel_below] = with_cancel(detached);
    cancel(io_error);
    for (const context& ctx : {parent, value, timed}) {
      EXPECT_EQ(ctx.err(), errc::canceled);
      EXPECT_EQ(ctx.cause(), io_error);
    }
    EXPECT_FALSE(without_cancel(timed).cause());
    EXPECT_FALSE(detached.err());
    EXPECT_FALSE(detached.cause());
    EXPECT_FALSE(below.err());
    EXPECT_FALSE(below.cause());
    cancel_below(broken_pipe);
    EXPECT_EQ(below.cause(), broken_pipe);
    EXPECT_FALSE(detached.cause());
    cancel_timed(broken_pipe);
    EXPECT_EQ(timed.cause(), io_error);  // the first reason stays
  });
}

}  // namespace
