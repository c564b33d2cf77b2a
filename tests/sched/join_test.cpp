// SPDX-License-Identifier: Apache-2.0
// Waiting for a fiber's end, or its result, at most until a context is done.
#include <weft/fiber.hpp>

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include <weft/chan.hpp>
#include <weft/context.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::background;

class Join : public both_worlds {};
WEFT_BOTH_WORLDS(Join);

TEST_P(Join, ADoneContextIsAnErrorAlsoWhenTheFiberHasEnded) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(background());
    auto f = weft::spawn([] {});
    auto r = weft::async([] { return 5; });
    yield_until([&] { return r.ready(); });
    cancel();
    EXPECT_EQ(f.join(ctx).error(), weft::errc::canceled);
    EXPECT_TRUE(f.joinable());
    EXPECT_EQ(r.wait(ctx).error(), weft::errc::canceled);
    EXPECT_EQ(r.get(ctx).error(), weft::errc::canceled);
    EXPECT_TRUE(r.valid());
    EXPECT_TRUE(f.join(background()));
    EXPECT_FALSE(f.joinable());
    EXPECT_TRUE(r.wait(background()));
    EXPECT_EQ(r.get(background()), 5);
    EXPECT_FALSE(r.valid());
    EXPECT_THROW((void)r.get(background()), weft::logic_error);
  });
}

TEST_P(Join, AContextThatEndsMeanwhileEndsTheWaitOnly) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(background());
    auto go_on = weft::make_chan<int>();
    auto r = weft::async([go_on] { return *go_on.recv(); });
    auto f = weft::spawn([go_on] { (void)go_on.recv(); });
    crew others(in_fibers());
    others.start([&, &until = ctx] { EXPECT_EQ(r.get(until).error(), weft::errc::canceled); });
    others.start([&, &until = ctx] { EXPECT_EQ(f.join(until).error(), weft::errc::canceled); });
    for (int i = 0; i < 20; ++i) weft::yield();
    cancel();
    others.join();
    auto [timed, cancel_timed] = weft::with_timeout(background(), 2ms);
    EXPECT_EQ(r.get(timed).error(), weft::errc::deadline_exceeded);
    go_on.send(5);
    go_on.send(5);
    EXPECT_TRUE(f.join(background()));
    EXPECT_EQ(r.get(background()), 5);
  });
}

TEST_P(Join, GetWithAContextGivesValuesReferencesMoveOnlyAndVoid) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(background());
    int x = 1;
    auto reference = weft::async([&x]() -> int& { return x; });
    static_assert(
        std::is_same_v<decltype(reference.get(ctx)), weft::result<std::reference_wrapper<int>>>);
    EXPECT_EQ(&reference.get(ctx)->get(), &x);
    auto owner = weft::async([] { return std::make_unique<int>(7); });
    EXPECT_EQ(**owner.get(ctx), 7);
    auto nothing = weft::async([&x] { x = 9; });
    EXPECT_TRUE(nothing.get(ctx));
    EXPECT_EQ(x, 9);
    auto outcome =
        weft::async([]() -> weft::result<int> { return weft::failure(weft::errc::closed); });
    const auto inner = outcome.get(ctx);
    ASSERT_TRUE(inner) << "the wait went well";
    EXPECT_EQ(inner->error(), weft::errc::closed);
    auto thrower = weft::async([]() -> int { throw std::runtime_error("from the fiber"); });
    EXPECT_THROW((void)thrower.get(ctx), std::runtime_error);
    EXPECT_FALSE(thrower.valid());
  });
}

// A context ends at the moment at which the fiber does: the result comes now or at the next get().
TEST_P(Join, AResultThatComesWithTheEndOfTheContextIsNotLostStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 3000 : 300); ++i) {
      auto [ctx, cancel] = weft::with_cancel(background());
      auto r = weft::async([i] { return std::make_unique<int>(i); });
      auto f = weft::spawn([] {});
      crew other(in_fibers());
      other.start([&stop = cancel] { stop(); });
      auto got = r.get(ctx);
      if (!got) {
        EXPECT_EQ(got.error(), weft::errc::canceled);
        EXPECT_TRUE(r.valid());
        got = r.get(background());
      }
      EXPECT_EQ(**got, i);
      EXPECT_FALSE(r.valid());
      EXPECT_TRUE(f.join(ctx) || f.join(background()));
      other.join();
    }
  });
}

}  // namespace
