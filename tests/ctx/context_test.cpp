// SPDX-License-Identifier: Apache-2.0
// The sentences of API.md on contexts, and the conformance list of Go's context package.
#include <weft/context.hpp>

#include <gtest/gtest.h>

#include <string>
#include <type_traits>
#include <vector>
#include <weft/chan.hpp>
#include <weft/mutex.hpp>
#include <weft/select.hpp>
#include <weft/time.hpp>
#include <weft/wait_group.hpp>

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

class Context : public both_worlds {};
WEFT_BOTH_WORLDS(Context);

static_assert(std::is_copy_constructible_v<context>);
static_assert(!std::is_copy_constructible_v<weft::cancel_handle>);
static_assert(std::is_nothrow_move_constructible_v<weft::cancel_handle>);
static_assert(!std::is_copy_assignable_v<weft::scoped_context>);
static_assert(std::is_convertible_v<weft::scoped_context&, const context&>);

bool is_closed(const weft::recv_chan<weft::unit>& c) { return c.try_recv().closed(); }

struct tenant : weft::context_key<std::string> {};
struct depth : weft::context_key<int> {};
struct other : weft::context_key<int> {};
struct big : weft::context_key<std::array<long, 100>> {};

// TestBackground, TestTODO
TEST_P(Context, BackgroundIsNeverDone) {
  run([] {
    const context ctx = background();
    EXPECT_FALSE(ctx.err());
    EXPECT_FALSE(ctx.cause());
    EXPECT_FALSE(ctx.done());  // nil
    EXPECT_EQ(ctx.deadline(), std::nullopt);
    EXPECT_EQ(ctx.value<tenant>(), nullptr);
    EXPECT_TRUE(ctx == context());
  });
}

// TestWithCancel
TEST_P(Context, CancelReachesChildrenBeforeItReturns) {
  run([] {
    auto [c1, cancel] = with_cancel(background());
    auto [c2, cancel2] = with_cancel(c1);
    auto [c3, cancel3] = with_timeout(c2, 1h);
    const context c4 = with_value<tenant>(c3, "x");
    for (const context& c : {c1, c2, c3, c4}) {
      EXPECT_FALSE(c.err());
      EXPECT_FALSE(c.cause());  // empty before
      EXPECT_TRUE(c.done().try_recv().empty());
    }
    cancel();
    for (const context& c : {c1, c2, c3, c4}) {
      EXPECT_EQ(c.err(), errc::canceled);
      EXPECT_EQ(c.err(), std::errc::operation_canceled);
      EXPECT_EQ(c.cause(), c.err());
      EXPECT_TRUE(is_closed(c.done()));
    }
    cancel();  // idempotent
    EXPECT_EQ(c1.err(), errc::canceled);
  });
}

TEST_P(Context, LeavingTheScopeCancels) {
  run([] {
    context kept;
    {
      auto [ctx, cancel] = with_cancel(background());
      kept = ctx;
      EXPECT_FALSE(kept.err());
    }
    EXPECT_EQ(kept.err(), errc::canceled);
    {
      auto [ctx, cancel] = with_cancel(background());
      kept = ctx;
      const weft::cancel_handle moved = std::move(cancel);
      cancel();  // NOLINT: moved-from does nothing
      EXPECT_FALSE(kept.err());
    }
    EXPECT_EQ(kept.err(), errc::canceled);
    auto [a, cancel_a] = with_cancel(background());
    auto [b, cancel_b] = with_cancel(background());
    cancel_a = std::move(cancel_b);  // what it held before is cancelled
    EXPECT_TRUE(a.err());
    EXPECT_FALSE(b.err());
  });
}

TEST_P(Context, AWholeCancelableContextIsUsedAsItsContext) {
  run([] {
    const context parent = with_value<tenant>(background(), "a");
    const auto scope = with_timeout(parent, 1h);
    EXPECT_FALSE(scope.err());
    EXPECT_FALSE(scope.cause());
    EXPECT_FALSE(is_closed(scope.done()));
    EXPECT_EQ(scope.deadline(), scope.ctx.deadline());
    ASSERT_NE(scope.value<tenant>(), nullptr);
    EXPECT_EQ(*scope.value<tenant>(), "a");
    auto [child, cancel_child] = with_cancel(scope);
    const auto boom = std::make_error_code(std::errc::io_error);
    scope.cancel(boom);
    EXPECT_EQ(scope.err(), errc::canceled);
    EXPECT_EQ(scope.cause(), boom);
    EXPECT_TRUE(is_closed(scope.done()));
    EXPECT_EQ(child.cause(), boom);
  });
}

// Nobody keeps the handle.
TEST_P(Context, AContextTakenOutOfATemporaryIsBornCancelled) {
  run([] {
    const context lost = with_cancel(background());
    EXPECT_EQ(lost.err(), errc::canceled);
  });
}

// TestCause: the first reason stays, is seen below, and err stays canceled.
TEST_P(Context, CauseTellsTheFirstReason) {
  run([] {
    const auto boom = std::make_error_code(std::errc::io_error);
    const auto late = std::make_error_code(std::errc::broken_pipe);
    auto [parent, cancel] = with_cancel(background());
    auto [child, cancel_child] = with_cancel(parent);
    auto [own, cancel_own] = with_cancel(parent);
    cancel_own(late);
    cancel(boom);
    cancel(late);
    cancel();
    EXPECT_EQ(parent.cause(), boom);
    EXPECT_EQ(parent.err(), errc::canceled);
    EXPECT_EQ(child.cause(), boom);
    EXPECT_EQ(child.err(), errc::canceled);
    EXPECT_EQ(own.cause(), late);
    auto [born, cancel_born] = with_cancel(child);
    EXPECT_EQ(born.cause(), boom);
    auto [plain, cancel_plain] = with_cancel(background());
    cancel_plain({});
    EXPECT_EQ(plain.cause(), plain.err());
  });
}

// TestParentFinishesChild, TestChildFinishesFirst, TestCancelRemoves: a finished child leaves its
// parent's list at once.
TEST_P(Context, AFinishedChildLeavesItsParent) {
  run([] {
    auto [parent, cancel] = with_cancel(background());
    weft::detail::context_node* node = weft::detail::context_access::node(parent);
    const auto children = [&] {
      node->lock.lock();
      int n = 0;
      for (auto* c = node->children; c != nullptr; c = c->next_child) ++n;
      node->lock.unlock();
      return n;
    };
    auto [a, cancel_a] = with_cancel(parent);
    auto [b, cancel_b] = with_timeout(parent, 1h);
    EXPECT_EQ(children(), 2);
    cancel_a();
    EXPECT_EQ(children(), 1);
    EXPECT_FALSE(parent.err());
    EXPECT_FALSE(b.err());
    for (bool in_time = false; !in_time;) {
      const auto due = weft::clock::now() + 1ms;
      auto [c, cancel_c] = with_timeout(parent, 1ms);
      const int before = children();
      in_time = weft::clock::now() < due;  // else it may have ended before it was counted
      if (in_time) {
        EXPECT_EQ(before, 2);
      }
      (void)c.done().recv();
      yield_until([&] { return children() == 1; });
      const weft::scoped_context s(parent);
      EXPECT_EQ(children(), 2);
      auto handle = weft::after_func(parent, [] {});
      EXPECT_EQ(children(), 3);
      EXPECT_TRUE(handle.stop());
      EXPECT_EQ(children(), 2);
    }
    EXPECT_EQ(children(), 1);
    cancel();
    EXPECT_EQ(children(), 0);
  });
}

// TestDeadline, TestTimeout: fires, nested, past, now
TEST_P(Context, DeadlinesFire) {
  run([] {
    const auto start = weft::clock::now();
    auto [c, cancel] = with_timeout(background(), 10ms);
    auto [inner, cancel_inner] = with_timeout(c, 1h);
    auto [value, cancel_value] = with_cancel(with_value<depth>(c, 1));
    EXPECT_EQ(inner.deadline(), c.deadline());  // the nearer one counts
    ASSERT_TRUE(c.deadline());
    EXPECT_LE(*c.deadline(), weft::clock::now() + 10ms);
    EXPECT_EQ(value.deadline(), c.deadline());
    (void)inner.done().recv();
    EXPECT_GE(weft::clock::now() - start, 10ms);
    EXPECT_EQ(c.err(), errc::deadline_exceeded);
    EXPECT_EQ(inner.err(), errc::deadline_exceeded);
    EXPECT_EQ(inner.err(), std::errc::timed_out);  // TestDeadlineExceededSupportsTimeout
    EXPECT_EQ(c.cause(), errc::deadline_exceeded);
    (void)value.done().recv();
    EXPECT_EQ(value.err(), errc::deadline_exceeded);
    cancel();
    EXPECT_EQ(c.err(), errc::deadline_exceeded);  // the first reason stays

    auto [past, cancel_past] = with_deadline(background(), weft::clock::now() - 1s);
    EXPECT_EQ(past.err(), errc::deadline_exceeded);
    EXPECT_TRUE(is_closed(past.done()));
    auto [now, cancel_now] = with_timeout(background(), 0s);
    EXPECT_EQ(now.err(), errc::deadline_exceeded);
    auto [steady, cancel_steady] =
        with_deadline(background(), std::chrono::steady_clock::now() + 5ms);
    (void)steady.done().recv();
    auto [system, cancel_system] =
        with_deadline(background(), std::chrono::system_clock::now() + 5ms);
    (void)system.done().recv();
    auto [never, cancel_never] = with_timeout(background(), std::chrono::hours::max());
    EXPECT_FALSE(never.err());
  });
}

// TestCanceledTimeout
TEST_P(Context, CancelBeforeTheDeadlineGivesCanceled) {
  run([] {
    auto [o, cancel_o] = with_timeout(background(), 1h);
    auto [c, cancel] = with_timeout(o, 2h);
    cancel();
    EXPECT_EQ(c.err(), errc::canceled);
    EXPECT_FALSE(o.err());
  });
}

TEST_P(Context, ADeadlineReachesAWholeSubtree) {
  run([] {
    auto [top, cancel] = with_timeout(background(), 5ms);
    std::vector<weft::cancelable_context> below;
    below.push_back(with_cancel(top));
    for (int i = 0; i < 200; ++i)
      below.push_back(with_cancel(below[static_cast<std::size_t>(i) / 2].ctx));
    for (auto& c : below) {
      (void)c.ctx.done().recv();
      EXPECT_EQ(c.ctx.err(), errc::deadline_exceeded);
    }
  });
}

// TestValues
TEST_P(Context, ValuesAreLookedUpTowardsTheRoot) {
  run([] {
    const context a = with_value<tenant>(background(), "a");
    const context b = with_value<depth>(a, 1);
    const context c = with_value<tenant>(b, std::string(100, 'c'));
    auto [d, cancel] = with_cancel(c);
    EXPECT_EQ(*a.value<tenant>(), "a");
    EXPECT_EQ(a.value<depth>(), nullptr);
    EXPECT_EQ(*b.value<tenant>(), "a");
    EXPECT_EQ(*d.value<tenant>(), std::string(100, 'c'));
    EXPECT_EQ(*d.value<depth>(), 1);
    EXPECT_EQ(d.value<other>(), nullptr);
    const context e = with_value<big>(d, std::array<long, 100>{7});
    EXPECT_EQ((*e.value<big>())[0], 7);
  });
}

TEST_P(Context, AValueThatThrowsLeavesNothing) {
  run([] {
    struct key : weft::context_key<counted> {};
    const counted v(1);
    counted::throw_on_copy = true;
    EXPECT_THROW((void)with_value<key>(background(), v), std::runtime_error);
    counted::throw_on_copy = false;
    {
      const context c = with_value<key>(background(), v);
      EXPECT_EQ(c.value<key>()->value, 1);
      EXPECT_EQ(counted::alive, 2);
    }
    EXPECT_EQ(counted::alive, 1);
  });
}

// TestWithCancelCanceledParent
TEST_P(Context, AChildOfACancelledParentIsBornCancelled) {
  run([] {
    const auto why = std::make_error_code(std::errc::io_error);
    auto [parent, cancel] = with_cancel(background());
    cancel(why);
    auto [child, cancel_child] = with_cancel(parent);
    EXPECT_EQ(child.err(), errc::canceled);
    EXPECT_EQ(child.cause(), why);
    EXPECT_TRUE(is_closed(child.done()));
    auto [timed, cancel_timed] = with_timeout(parent, 1h);
    EXPECT_EQ(timed.err(), errc::canceled);
    const weft::scoped_context scoped(parent, 1h);
    EXPECT_EQ(scoped.err(), errc::canceled);
  });
}

// TestWithoutCancel
TEST_P(Context, WithoutCancelKeepsOnlyTheValues) {
  run([] {
    auto [parent, cancel] = with_timeout(with_value<tenant>(background(), "t"), 1h);
    const context detached = without_cancel(parent);
    EXPECT_EQ(detached.deadline(), std::nullopt);
    EXPECT_FALSE(detached.done());
    cancel();
    EXPECT_FALSE(detached.err());
    EXPECT_EQ(*detached.value<tenant>(), "t");
    auto [below, cancel_below] = with_cancel(detached);
    EXPECT_FALSE(below.err());
    cancel_below();
    EXPECT_TRUE(below.err());
  });
}

// A call given a context that is already done returns its error at once and consumes nothing: see
// also chan_test; here the wakers.
TEST_P(Context, CancelWakesWhoeverWaits) {
  run([] {
    auto [ctx, cancel] = with_cancel(background());
    std::atomic<int> woken{0};
    std::atomic<int> started{0};
    const weft::chan<int> nil;
    crew waiters(in_fibers());
    for (int i = 0; i < 10; ++i) {
      waiters.start([&, &until = ctx] {
        ++started;
        EXPECT_EQ(nil.recv(until).error(), errc::canceled);
        ++woken;
      });
      waiters.start([&, &until = ctx] {
        ++started;
        (void)weft::select(weft::on_done(until), weft::on_recv(nil, [] {}));
        ++woken;
      });
      waiters.start([&, &until = ctx] {
        ++started;
        EXPECT_EQ(weft::sleep_for(until, 1h).error(), errc::canceled);
        ++woken;
      });
      waiters.start([&, done = ctx.done()] {
        ++started;
        EXPECT_EQ(done.recv(), std::nullopt);
        ++woken;
      });
    }
    yield_until([&] { return started == 40; });
    cancel();
    waiters.join();
    EXPECT_EQ(woken, 40);
  });
}

// Its error comes first: before a close, a value, a free mutex, an empty group, a time gone by.
TEST_P(Context, ACallWithADoneContextFailsAtOnceAndConsumesNothing) {
  run([] {
    auto [canceled, cancel] = with_cancel(background());
    cancel();
    auto [late, cancel_late] = with_timeout(background(), -1s);
    auto full = weft::make_chan<move_only>(1);
    auto closed = weft::make_chan<move_only>(1);
    full.send(std::make_unique<int>(1));
    closed.send(std::make_unique<int>(2));
    closed.close();
    weft::mutex m;
    weft::wait_group wg;
    const auto fails = [&](const context& ctx, errc why) {
      auto v = std::make_unique<int>(3);
      for (const auto& c : {full, closed, weft::make_chan<move_only>(weft::unbounded),
                            weft::make_chan<move_only>(weft::conflated)}) {
        const std::size_t len = c.len();
        EXPECT_EQ(c.recv(ctx).error(), why);
        EXPECT_EQ(c.send(ctx, std::move(v)).error(), why);  // does not throw
        EXPECT_EQ(c.len(), len);
      }
      ASSERT_TRUE(v);
      EXPECT_EQ(*v, 3);
      EXPECT_EQ(weft::chan<int>().recv(ctx).error(), why);
      EXPECT_EQ(m.lock(ctx).error(), why);
      EXPECT_EQ(wg.wait(ctx).error(), why);
      EXPECT_EQ(weft::sleep_for(ctx, -1s).error(), why);
      EXPECT_EQ(weft::sleep_until(ctx, weft::time_point::max()).error(), why);
    };
    fails(canceled, errc::canceled);
    fails(late, errc::deadline_exceeded);
    EXPECT_TRUE(m.try_lock());  // it was not taken
    m.unlock();
  });
}

TEST_P(Context, ANearerDeadlineOfAChildLeavesTheParentAlone) {
  run([] {
    auto [parent, cancel_parent] = with_timeout(background(), 1h);
    const auto at = weft::clock::now() + 5ms;
    auto [child, cancel_child] = with_deadline(parent, at);
    const weft::scoped_context scoped(parent, at);
    EXPECT_EQ(child.deadline(), at);
    EXPECT_EQ(scoped.deadline(), at);
    (void)child.done().recv();
    (void)scoped.done().recv();
    EXPECT_GE(weft::clock::now(), at);
    EXPECT_EQ(child.err(), errc::deadline_exceeded);
    EXPECT_EQ(scoped.err(), errc::deadline_exceeded);
    EXPECT_FALSE(parent.err());
    EXPECT_FALSE(parent.cause());
    EXPECT_TRUE(parent.done().try_recv().empty());
  });
}

TEST_P(Context, AGivenCauseStaysOnTheTimedOnesToo) {
  run([] {
    const auto why = std::make_error_code(std::errc::io_error);
    auto [timed, cancel] = with_timeout(background(), 1h);
    weft::scoped_context scoped(timed, 1h);
    cancel(why);
    EXPECT_EQ(timed.err(), errc::canceled);
    EXPECT_EQ(timed.cause(), why);
    EXPECT_EQ(scoped.cause(), why);
    scoped.cancel(std::make_error_code(std::errc::broken_pipe));
    EXPECT_EQ(scoped.cause(), why);  // the first reason stays
    weft::scoped_context over(background(), 2ms);
    (void)over.done().recv();
    over.cancel(why);
    EXPECT_EQ(over.cause(), errc::deadline_exceeded);
    EXPECT_EQ(over.err(), errc::deadline_exceeded);
  });
}

TEST_P(Context, DoneChannelsOutliveTheirContext) {
  run([] {
    weft::recv_chan<weft::unit> done;
    weft::recv_chan<weft::unit> same;
    {
      auto [ctx, cancel] = with_cancel(background());
      done = ctx.done();
      same = with_value<depth>(ctx, 1).done();
      EXPECT_TRUE(done == same);
      EXPECT_TRUE(done.try_recv().empty());
    }
    EXPECT_TRUE(is_closed(done));
  });
}

// --- scoped_context

void takes_a_reference(const context& ctx, const context& parent) {
  EXPECT_FALSE(ctx.err());
  EXPECT_EQ(ctx.value<tenant>(), parent.value<tenant>());
}

TEST_P(Context, AScopedContextIsAContext) {
  run([] {
    const context parent = with_value<tenant>(background(), "t");
    {
      weft::scoped_context s(parent, 1h);
      takes_a_reference(s, parent);
      ASSERT_TRUE(s.deadline());
      EXPECT_TRUE(s.done().try_recv().empty());
      s.cancel(std::make_error_code(std::errc::io_error));
      EXPECT_EQ(s.err(), errc::canceled);
      EXPECT_EQ(s.cause(), std::errc::io_error);
      EXPECT_TRUE(is_closed(s.done()));
    }
    const weft::scoped_context timed(parent, 5ms);
    const weft::chan<int> nil;
    EXPECT_EQ(nil.recv(timed).error(), errc::deadline_exceeded);
    const weft::scoped_context at(parent, weft::clock::now() + 5ms);
    EXPECT_EQ(nil.recv(at).error(), errc::deadline_exceeded);
    const weft::scoped_context past(parent, -1s);
    EXPECT_EQ(past.err(), errc::deadline_exceeded);
  });
}

TEST_P(Context, ACopyOfAScopedContextIsAChildThatOutlivesIt) {
  run([] {
    const context parent = with_value<tenant>(background(), "t");
    context copy;
    context second;
    context derived_value;
    weft::cancelable_context derived;
    {
      weft::scoped_context s(parent, 1h);
      copy = s;
      second = context(s);
      derived = with_cancel(s);
      derived_value = with_value<depth>(s, 3);
      EXPECT_TRUE(copy == second);
      EXPECT_FALSE(copy == s);
      EXPECT_EQ(copy.deadline(), s.deadline());
      EXPECT_FALSE(copy.err());
    }
    EXPECT_EQ(copy.err(), errc::canceled);
    EXPECT_EQ(derived.ctx.err(), errc::canceled);
    EXPECT_EQ(derived_value.err(), errc::canceled);
    EXPECT_EQ(*derived_value.value<tenant>(), "t");
    EXPECT_EQ(*derived_value.value<depth>(), 3);
    weft::scoped_context done(parent);
    done.cancel();
    copy = done;  // promoted after its end: born cancelled
    EXPECT_EQ(copy.err(), errc::canceled);
    context moved = std::move(static_cast<context&>(done));
    EXPECT_EQ(moved.err(), errc::canceled);
    EXPECT_EQ(done.err(), errc::canceled);
  });
}

TEST_P(Context, AParentEndsAScopedContextAndItsCopies) {
  run([] {
    auto [parent, cancel] = with_cancel(background());
    weft::scoped_context s(parent);
    const context copy = s;
    const weft::scoped_context nested(s);
    const weft::scoped_context nested_in_copy(copy);
    cancel();
    EXPECT_EQ(s.err(), errc::canceled);
    EXPECT_EQ(copy.err(), errc::canceled);
    EXPECT_EQ(nested.err(), errc::canceled);
    EXPECT_EQ(nested_in_copy.err(), errc::canceled);
  });
}

TEST_P(Context, ADeadlineEndsTheCopiesOfAScopedContext) {
  run([] {
    const weft::scoped_context s(background(), 5ms);
    const context copy = s;
    auto [below, cancel] = with_cancel(copy);
    (void)below.done().recv();
    EXPECT_EQ(s.err(), errc::deadline_exceeded);
    EXPECT_EQ(copy.err(), errc::deadline_exceeded);
    EXPECT_EQ(below.err(), errc::deadline_exceeded);
  });
}

// --- the tree

// TestInterlockedCancels: a child cancelled from the parent's done.
TEST_P(Context, InterlockedCancels) {
  run([] {
    auto [parent, cancel_parent] = with_cancel(background());
    auto [child, cancel_child] = with_cancel(parent);
    crew helper(in_fibers());
    helper.start([&, done = parent.done(), &stop_child = cancel_child] {
      (void)done.recv();
      stop_child();
    });
    cancel_parent();
    (void)child.done().recv();
    EXPECT_TRUE(child.err());
  });
}

// TestLayersCancel: 30 layers of random kinds.
TEST_P(Context, LayersCancelAndKeepTheirValues) {
  run([] {
    for (unsigned seed = 1; seed <= 20; ++seed) {
      unsigned state = seed * 2654435761U;
      std::vector<weft::cancelable_context> layers;
      context ctx = background();
      int last_value = -1;
      for (int i = 0; i < 30; ++i) {
        state = state * 1664525U + 1013904223U;
        switch ((state >> 16) % 3) {
          case 0:
            ctx = with_value<depth>(ctx, i);
            last_value = i;
            break;
          case 1:
            layers.push_back(with_cancel(ctx));
            ctx = layers.back().ctx;
            break;
          default:
            layers.push_back(with_timeout(ctx, 1h));
            ctx = layers.back().ctx;
        }
      }
      const int* value = ctx.value<depth>();
      EXPECT_EQ(value == nullptr ? -1 : *value, last_value);
      if (layers.empty()) continue;
      const std::size_t at = state % layers.size();
      layers[at].cancel();
      EXPECT_EQ(ctx.err(), errc::canceled);
      for (std::size_t i = 0; i < layers.size(); ++i) {
        EXPECT_EQ(static_cast<bool>(layers[i].ctx.err()), i >= at);
      }
    }
  });
}

TEST_P(Context, DeepChainsAndWideTreesNeedNoRecursion) {
  run([] {
    const int n = scaled(100000);
    auto [root, cancel] = with_cancel(background());
    {
      std::vector<weft::cancelable_context> chain;
      context tip = root;
      for (int i = 0; i < n; ++i) {
        chain.push_back(with_cancel(tip));
        tip = chain.back().ctx;
      }
      std::vector<weft::cancelable_context> wide;
      for (int i = 0; i < 10000; ++i) wide.push_back(with_cancel(root));
      context values = root;
      for (int i = 0; i < n; ++i) values = with_value<depth>(values, i);
      cancel();
      EXPECT_TRUE(tip.err());
      EXPECT_TRUE(values.err());
      for (auto& c : wide) EXPECT_TRUE(c.ctx.err());
    }  // and down again
  });
}

TEST(ContextWithoutRuntime, DeadlinesNeedOne) {
  const auto before = weft::stats().live.contexts;
  EXPECT_THROW((void)with_timeout(background(), 1h), weft::no_runtime_error);
  EXPECT_THROW((void)weft::scoped_context(background(), 1h), weft::no_runtime_error);
  {
    auto [ctx, cancel] = with_cancel(background());
    std::thread other([&, &stop = cancel] { stop(); });
    const weft::chan<int> nil;
    EXPECT_EQ(nil.recv(ctx).error(), errc::canceled);
    other.join();
    auto [past, cancel_past] = with_timeout(background(), -1s);
    EXPECT_TRUE(past.err());
  }
  EXPECT_EQ(weft::stats().live.contexts, before);
}

TEST(ContextRoot, EndsWhenTheMainFiberReturns) {
  const weft::chan<std::error_code> seen = weft::make_chan<std::error_code>(2);
  for (int round = 0; round < 3; ++round) {
    context kept;
    (void)weft::run(weft::options{.drain = 10s}, [&] {
      kept = weft::root_context();
      EXPECT_FALSE(kept.err());
      EXPECT_TRUE(kept == weft::root_context());
      weft::go([&] {
        auto [ctx, cancel] = with_cancel(weft::root_context());
        (void)ctx.done().recv();
        seen.send(ctx.err());
      });
    });
    EXPECT_EQ(kept.err(), errc::canceled);
    EXPECT_EQ(*seen.recv(), errc::canceled);
  }
  EXPECT_TRUE(weft::root_context() == background());
}

}  // namespace
