// SPDX-License-Identifier: Apache-2.0
// The tree under contention: cancels that meet, children that finish while their parent is
// cancelled, births during a cancellation, frames that end at once.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <vector>
#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/select.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::background;
using weft::context;
using weft::with_cancel;
using weft::with_timeout;

class ContextStress : public both_worlds {};
WEFT_BOTH_WORLDS(ContextStress);

// TestSimultaneousCancels: many contexts cancelled at once.
TEST_P(ContextStress, SimultaneousCancels) {
  run([] {
    for (int round = 0; round < scaled(in_fibers() ? 50 : 10); ++round) {
      auto [root, cancel_root] = with_cancel(background());
      std::vector<weft::cancelable_context> all;
      all.push_back(with_cancel(root));
      for (std::size_t i = 1; i < 60; ++i) all.push_back(with_cancel(all[i / 3].ctx));
      crew crowd(in_fibers());
      for (auto& c : all) {
        crowd.start([&c] {
          c.cancel();
          EXPECT_TRUE(c.ctx.err());
        });
      }
      for (auto& c : all) (void)c.ctx.done().recv();
      crowd.join();
      EXPECT_FALSE(root.err());
    }
  });
}

// Whoever returns from a cancel has seen the whole subtree cancelled, also if somebody else began.
TEST_P(ContextStress, EveryCancelReturnsAfterTheWholeSubtree) {
  run([] {
    for (int round = 0; round < scaled(in_fibers() ? 200 : 40); ++round) {
      auto [top, cancel_top] = with_cancel(background());
      auto [middle, cancel_middle] = with_cancel(top);
      std::vector<weft::cancelable_context> leaves;
      std::vector<weft::recv_chan<weft::unit>> done;
      for (int i = 0; i < 50; ++i) {
        leaves.push_back(with_cancel(middle));
        done.push_back(leaves.back().ctx.done());
      }
      const auto all_ended = [&] {
        for (std::size_t i = 0; i < leaves.size(); ++i) {
          ASSERT_TRUE(leaves[i].ctx.err());
          ASSERT_TRUE(done[i].try_recv().closed());
        }
      };
      crew crowd(in_fibers());
      crowd.start([&, &cancel = cancel_top] {
        cancel();
        all_ended();
      });
      crowd.start([&, &cancel = cancel_middle] {
        cancel();
        all_ended();
      });
      crowd.start([&] {
        for (std::size_t i = 0; i < leaves.size(); i += 2) leaves[i].cancel();
      });
      cancel_middle();
      all_ended();
    }
  });
}

// TestWithCancelSimultaneouslyCanceledParent, TestCauseRace
TEST_P(ContextStress, BirthsDuringACancellation) {
  run([] {
    const auto why = std::make_error_code(std::errc::io_error);
    for (int round = 0; round < scaled(in_fibers() ? 500 : 60); ++round) {
      auto [parent, cancel] = with_cancel(background());
      crew crowd(in_fibers());
      for (int i = 0; i < 3; ++i) {
        crowd.start([&, &above = parent] {
          for (int k = 0; k < 20; ++k) {
            auto [child, cancel_child] = with_cancel(above);
            auto [timed, cancel_timed] = with_timeout(child, 1h);
            weft::scoped_context scoped(timed);
            const context copy = scoped;
            if (above.err()) {
              EXPECT_EQ(above.cause(), why);
            }
          }
          auto [last, cancel_last] = with_cancel(above);
          (void)last.done().recv();
          EXPECT_EQ(last.cause(), why);
        });
      }
      crowd.start([&, &stop = cancel] { stop(why); });
      crowd.join();
    }
  });
}

// A scoped_context that ends while its parent's cancellation passes through it.
TEST_P(ContextStress, FramesEndWhileTheParentIsCancelled) {
  run([] {
    for (int round = 0; round < scaled(in_fibers() ? 500 : 60); ++round) {
      auto [parent, cancel] = with_cancel(background());
      crew crowd(in_fibers());
      for (int i = 0; i < 3; ++i) {
        crowd.start([&, &above = parent] {
          for (int k = 0; k < 10; ++k) {
            context copy;
            {
              weft::scoped_context s(above, std::chrono::microseconds(k));
              if (k % 2 == 0) copy = s;
              const weft::scoped_context inner(s);
              EXPECT_FALSE(inner.err() && !s.err());
            }
            if (k % 2 == 0) {
              (void)copy.done().recv();
            }
          }
        });
      }
      crowd.start([&, &stop = cancel] { stop(); });
      crowd.join();
    }
  });
}

// Whoever sees the end may leave at once, and take handle, context and frame along, while the
// canceller is still inside its call.
TEST_P(ContextStress, DestroyedTheMomentTheEndIsSeen) {
  run([] {
    const int rounds = scaled(in_fibers() ? 4000 : 400);
    const auto await_end = [](const context& ctx, int i) {
      if (i % 3 == 0) {
        (void)ctx.done().recv();
      } else if (i % 3 == 1) {
        (void)weft::select(weft::on_done(ctx));
      } else {
        yield_until([&] { return static_cast<bool>(ctx.err()); });
      }
    };
    for (int i = 0; i < rounds; ++i) {
      crew peers(in_fibers());
      {
        auto owned = std::make_unique<weft::cancelable_context>(with_timeout(background(), 1h));
        peers.start([raw = &owned->cancel] { (*raw)(); });
        await_end(owned->ctx, i);
        owned.reset();
      }
      {
        auto owned = std::make_unique<weft::scoped_context>(background(), 1h);
        peers.start([raw = owned.get()] { raw->cancel(); });
        await_end(*owned, i);
        owned.reset();
      }
      {
        auto [parent, cancel] = with_cancel(background());
        auto owned = std::make_unique<weft::scoped_context>(parent);
        peers.start([&, &stop = cancel] { stop(); });
        await_end(*owned, i);
        owned.reset();
        peers.join();
      }
      {
        // A deadline is the canceller.
        auto owned =
            std::make_unique<weft::scoped_context>(background(), std::chrono::microseconds(i % 20));
        await_end(*owned, i);
        owned.reset();
      }
      // A block that was given back too early would lose its deadline to the last canceller.
      auto [next, cancel_next] = with_timeout(background(), 10us);
      (void)next.done().recv();
    }
  });
}

// Deadlines against cancels and drops.
TEST_P(ContextStress, DeadlinesRaceCancels) {
  run([] {
    const weft::chan<int> nil;
    for (int round = 0; round < scaled(in_fibers() ? 2000 : 200); ++round) {
      auto [parent, cancel_parent] = with_cancel(background());
      auto [ctx, cancel] = with_timeout(parent, std::chrono::microseconds(round % 60));
      auto [child, cancel_child] = with_cancel(ctx);
      crew crowd(in_fibers());
      crowd.start([&, &below = child] { EXPECT_TRUE(nil.recv(below).error()); });
      crowd.start([&, &until = ctx] {
        (void)weft::select(weft::on_done(until), weft::on_recv(nil, [] {}));
        EXPECT_TRUE(until.err());
      });
      if (round % 3 == 0) cancel();
      if (round % 3 == 1) cancel_parent();
      crowd.join();
      EXPECT_TRUE(ctx.err() == weft::errc::canceled || ctx.err() == weft::errc::deadline_exceeded);
    }
  });
}

// The done channel is made lazily: also while the context ends.
TEST_P(ContextStress, DoneIsAskedForWhileItEnds) {
  run([] {
    for (int round = 0; round < scaled(in_fibers() ? 2000 : 200); ++round) {
      auto [ctx, cancel] = with_cancel(background());
      crew crowd(in_fibers());
      for (int i = 0; i < 3; ++i) {
        crowd.start([until = ctx] { EXPECT_EQ(until.done().recv(), std::nullopt); });
      }
      crowd.start([&, &until = ctx, &stop = cancel] {
        stop();
        EXPECT_TRUE(until.done().try_recv().closed());
      });
      crowd.join();
    }
  });
}

}  // namespace
