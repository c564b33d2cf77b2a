// SPDX-License-Identifier: Apache-2.0
// worker_pool: every accepted task runs once, on no more workers than allowed; what is refused is
// told; nothing outlives the pool.
#include <weft/worker_pool.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/fiber.hpp>
#include <weft/log.hpp>
#include <weft/run.hpp>
#include <weft/wait_group.hpp>

#include "tests/chan/heap_count.hpp"
#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::background;
using weft::worker_pool;

class Workers : public both_worlds {};
WEFT_BOTH_WORLDS(Workers);

/// Tasks that wait for it to open.
class gate {
 public:
  void pass() { static_cast<void>(c_.recv()); }
  void open() { c_.close(); }

 private:
  weft::chan<int> c_ = weft::make_chan<int>();
};

TEST_P(Workers, RunEveryTaskOnce) {
  run([] {
    std::vector<std::atomic<int>> ran(1000);
    {
      worker_pool p({.max_workers = 4, .queue = 10});
      for (auto& r : ran) EXPECT_TRUE(p.submit([&r] { ++r; }));
      p.drain();
      const weft::worker_pool_stats s = p.stats();
      EXPECT_EQ(s.submitted, 1000U);
      EXPECT_EQ(s.done, 1000U);
      EXPECT_EQ(s.workers + s.queued + s.idle + s.blocked, 0U);
      EXPECT_LE(s.peak_workers, 4U);
    }
    for (const auto& r : ran) EXPECT_EQ(r, 1);
  });
}

TEST_P(Workers, TheDestructorRunsWhatWasAccepted) {
  run([] {
    std::atomic<int> ran{0};
    {
      worker_pool p({.max_workers = 2});
      for (int i = 0; i < 100; ++i) {
        EXPECT_TRUE(p.submit([&ran] {
          weft::yield();
          ++ran;
        }));
      }
    }
    EXPECT_EQ(ran, 100);
  });
}

TEST_P(Workers, GrowWhileWorkWaitsAndNoFurther) {
  run([] {
    gate g;
    worker_pool p({.max_workers = 3, .queue = 2, .on_full = worker_pool::reject});
    EXPECT_EQ(p.stats().workers, 0U);
    for (std::size_t i = 1; i <= 3; ++i) {
      EXPECT_TRUE(p.submit([&g] { g.pass(); }));
      EXPECT_EQ(p.stats().workers, i);
    }
    for (std::size_t i = 1; i <= 2; ++i) {
      EXPECT_TRUE(p.submit([&g] { g.pass(); }));
      EXPECT_EQ(p.stats().queued, i);
      EXPECT_EQ(p.stats().workers, 3U);
    }
    EXPECT_EQ(p.submit([] {}).error(), weft::errc::queue_full);
    EXPECT_EQ(p.stats().rejected, 1U);
    g.open();
    p.drain();
    EXPECT_EQ(p.stats().done, 5U);
    EXPECT_EQ(p.stats().peak_workers, 3U);
  });
}

TEST_P(Workers, AnIdleWorkerIsUsedBeforeANewOneIsStarted) {
  run([] {
    worker_pool p({.max_workers = 4, .idle_timeout = 1h});
    for (int i = 0; i < 20; ++i) {
      EXPECT_TRUE(p.submit([] {}));
      yield_until([&p] { return p.stats().idle == 1; });
    }
    EXPECT_EQ(p.stats().peak_workers, 1U);
  });
}

TEST_P(Workers, MinWorkersAreThereFromTheStartAndStay) {
  run([] {
    gate g;
    worker_pool p({.min_workers = 2, .max_workers = 5, .idle_timeout = 1us});
    EXPECT_EQ(p.stats().workers, 2U);
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(p.submit([&g] { g.pass(); }));
    EXPECT_EQ(p.stats().workers, 5U);
    g.open();
    yield_until([&p] { return p.stats().done == 5; });
    yield_until([&p] { return p.stats().workers == 2; });  // the rest times out
    EXPECT_TRUE(p.submit([] {}));
    p.drain();
    EXPECT_EQ(p.stats().workers, 0U);
  });
}

TEST_P(Workers, ShrinkToNothingAndGrowAgain) {
  run([] {
    worker_pool p({.max_workers = 3, .idle_timeout = 0ns});
    for (int round = 0; round < 5; ++round) {
      auto f = p.async([round] { return round; });
      ASSERT_TRUE(f);
      EXPECT_EQ(f->get(), round);
      yield_until([&p] { return p.stats().workers == 0; });
    }
    EXPECT_EQ(p.stats().done, 5U);
  });
}

TEST_P(Workers, TasksBeginInTheOrderOfTheirSubmits) {
  run([] {
    std::vector<int> order;
    {
      worker_pool p({.max_workers = 1});
      for (int i = 0; i < 100; ++i) EXPECT_TRUE(p.submit([&order, i] { order.push_back(i); }));
    }
    ASSERT_EQ(order.size(), 100U);
    EXPECT_TRUE(std::ranges::is_sorted(order));
  });
}

// --- a full queue

TEST_P(Workers, ARejectedTaskIsUntouched) {
  run([] {
    gate g;
    worker_pool p({.max_workers = 1, .queue = 0, .on_full = weft::when_full::reject});
    EXPECT_TRUE(p.submit([&g] { g.pass(); }));
    std::atomic<int> got{0};
    auto task = [&got, owned = std::make_unique<int>(7)] { got = *owned; };
    EXPECT_EQ(p.submit(std::move(task)).error(), weft::errc::queue_full);
    g.open();
    // NOLINTNEXTLINE(bugprone-use-after-move): that is the point
    yield_until([&] { return p.submit(std::move(task)).has_value(); });
    p.drain();
    EXPECT_EQ(got, 7);
  });
}

TEST_P(Workers, CallersRunWhatFindsNoRoom) {
  run([] {
    gate g;
    worker_pool p({.max_workers = 1, .queue = 0, .on_full = worker_pool::caller_runs});
    EXPECT_TRUE(p.submit([&g] { g.pass(); }));
    const auto self = weft::this_fiber::id();
    const auto thread = std::this_thread::get_id();
    bool ran = false;
    EXPECT_TRUE(p.submit([&] {
      ran = true;
      EXPECT_EQ(weft::this_fiber::id(), self);
      if (!in_fibers()) {
        EXPECT_EQ(std::this_thread::get_id(), thread);
      }
    }));
    EXPECT_TRUE(ran);
    auto f = p.async([] { return 6; });
    ASSERT_TRUE(f);
    EXPECT_TRUE(f->ready());
    EXPECT_EQ(f->get(), 6);
    EXPECT_EQ(p.stats().caller_ran, 2U);
    g.open();
  });
}

TEST_P(Workers, SubmittersWaitForRoom) {
  run([] {
    gate g;
    worker_pool p({.max_workers = 1, .queue = 1});
    std::vector<int> ran;
    EXPECT_TRUE(p.submit([&g] { g.pass(); }));
    EXPECT_TRUE(p.submit([] {}));
    crew waiting(in_fibers());
    for (int i = 0; i < 5; ++i) {
      waiting.start([&p, &ran, i] { EXPECT_TRUE(p.submit([&ran, i] { ran.push_back(i); })); });
      yield_until([&p, i] { return p.stats().blocked == static_cast<std::size_t>(i) + 1; });
    }
    g.open();
    waiting.join();
    p.drain();
    std::ranges::sort(ran);
    EXPECT_EQ(ran, (std::vector{0, 1, 2, 3, 4}));
  });
}

TEST_P(Workers, WaitingForRoomEndsWithTheContext) {
  run([] {
    gate g;
    worker_pool p({.max_workers = 1, .queue = 0});
    EXPECT_TRUE(p.submit([&g] { g.pass(); }));
    auto [ctx, cancel] = weft::with_cancel(background());
    crew other(in_fibers());
    other.start([&p, &limit = ctx] {
      EXPECT_EQ(p.submit(limit, [] {}).error(), weft::errc::canceled);
      EXPECT_EQ(p.async(limit, [] { return 1; }).error(), weft::errc::canceled);
    });
    yield_until([&p] { return p.stats().blocked == 1; });
    cancel();
    other.join();
    EXPECT_EQ(p.stats().blocked, 0U);
    const weft::scoped_context soon(background(), 1ms);
    EXPECT_EQ(p.submit(soon, [] {}).error(), weft::errc::deadline_exceeded);
    g.open();
    EXPECT_TRUE(p.submit(background(), [] {}));
  });
}

// --- futures

TEST_P(Workers, FuturesCarryWhatTheTaskReturnsOrThrows) {
  run([] {
    worker_pool p({.max_workers = 2});
    static int global = 5;
    auto value = p.async([] { return std::make_unique<int>(3); });
    auto reference = p.async([]() -> int& { return global; });
    auto nothing = p.async([] {});
    auto thrown = p.async([]() -> int { throw std::runtime_error("task"); });
    auto with_context = p.async([](const weft::context& c) { return c.err() ? 1 : 2; });
    ASSERT_TRUE(value && reference && nothing && thrown && with_context);
    EXPECT_EQ(*value->get(), 3);
    EXPECT_EQ(&reference->get(), &global);
    nothing->get();
    EXPECT_THROW(static_cast<void>(thrown->get()), std::runtime_error);
    EXPECT_EQ(with_context->get(), 2);
    EXPECT_EQ(p.stats().failed, 0U);                                   // the future has it
    static_cast<void>(p.async([] { return std::string(100, 'x'); }));  // nobody wants it
  });
}

TEST_P(Workers, AFutureOutlivesThePool) {
  run([] {
    std::optional<weft::future<std::string>> f;
    {
      worker_pool p({.max_workers = 1});
      auto r = p.async([] { return std::string(100, 'y'); });
      ASSERT_TRUE(r);
      f = std::move(*r);
    }
    EXPECT_TRUE(f->ready());
    EXPECT_EQ(f->get().size(), 100U);
  });
}

TEST_P(Workers, ATaskHasTheLabelsOfItsSubmitter) {
  run([] {
    if (!in_fibers()) return;  // a thread has none
    worker_pool p({.max_workers = 1});
    for (const char* tenant : {"a", "b"}) {
      weft::wait_group wg;
      wg.go([&p, tenant] {
        weft::this_fiber::set_label("tenant", tenant);
        auto f = p.async([] { return std::string(weft::this_fiber::label("tenant")); });
        ASSERT_TRUE(f);
        EXPECT_EQ(f->get(), tenant);
      });
      wg.wait();
    }
    auto f = p.async([] { return std::string(weft::this_fiber::label("tenant")); });
    ASSERT_TRUE(f);
    EXPECT_EQ(f->get(), "");
  });
}

// --- exceptions

TEST_P(Workers, AnExceptionGoesToTheHandlerAndTheWorkerGoesOn) {
  run([] {
    std::atomic<int> seen{0};
    worker_pool p({.max_workers = 1, .on_exception = [&seen](const std::exception_ptr& e) {
                     EXPECT_THROW(std::rethrow_exception(e), std::runtime_error);
                     ++seen;
                   }});
    for (int i = 0; i < 10; ++i) {
      EXPECT_TRUE(p.submit([c = std::make_unique<int>(i)] { throw std::runtime_error("task"); }));
    }
    auto f = p.async([] { return 1; });
    ASSERT_TRUE(f);
    EXPECT_EQ(f->get(), 1);
    p.drain();
    EXPECT_EQ(seen, 10);
    EXPECT_EQ(p.stats().failed, 10U);
    EXPECT_EQ(p.stats().done, 11U);
  });
}

TEST_P(Workers, AnExceptionWithoutAHandlerIsLoggedWithItsLine) {
  run([] {
    std::mutex lock;
    std::string text;
    weft::set_log_sink([&](std::string_view line) {
      const std::lock_guard hold(lock);
      (text += line) += '\n';
    });
    {
      worker_pool p({.max_workers = 1});
      EXPECT_TRUE(p.submit([] { throw std::runtime_error("nobody catches me"); }));
    }
    weft::set_log_sink({});
    EXPECT_NE(text.find("nobody catches me"), std::string::npos) << text;
    EXPECT_NE(text.find("worker_pool_test.cpp"), std::string::npos) << text;
  });
}

std::atomic<int> panics{0};

TEST_P(Workers, AnExceptionWithoutAHandlerGoesToThePanicHandler) {
  panics = 0;
  weft::set_panic_handler([](const weft::panic_info& info) {
    if (!info.fatal && info.what == "to the panic handler") ++panics;
  });
  run([] {
    worker_pool p({.max_workers = 1});
    EXPECT_TRUE(p.submit([] { throw std::runtime_error("to the panic handler"); }));
  });
  weft::set_panic_handler(nullptr);
  EXPECT_EQ(panics, 1);
}

// --- the end

TEST_P(Workers, AClosedPoolRefusesAndRunsTheRest) {
  run([] {
    gate g;
    worker_pool p({.max_workers = 1, .queue = 1});
    std::atomic<int> ran{0};
    EXPECT_TRUE(p.submit([&] { g.pass(); }));
    EXPECT_TRUE(p.submit([&] { ++ran; }));
    crew other(in_fibers());
    other.start([&p] { EXPECT_EQ(p.submit([] {}).error(), weft::errc::closed); });
    yield_until([&p] { return p.stats().blocked == 1; });
    p.close();
    p.close();
    other.join();
    EXPECT_EQ(p.submit([] {}).error(), weft::errc::closed);
    EXPECT_EQ(p.async([] {}).error(), weft::errc::closed);
    g.open();
    p.drain();
    p.drain();
    EXPECT_EQ(ran, 1);
  });
}

TEST_P(Workers, DrainEndsWithItsContext) {
  run([] {
    gate g;
    worker_pool p({.max_workers = 1});
    EXPECT_TRUE(p.submit([&g] { g.pass(); }));
    const weft::scoped_context soon(background(), 1ms);
    EXPECT_EQ(p.drain(soon).error(), weft::errc::deadline_exceeded);
    EXPECT_EQ(p.submit([] {}).error(), weft::errc::closed);
    g.open();
    EXPECT_TRUE(p.drain(background()));
  });
}

TEST_P(Workers, CancelDropsWhatHasNotBegunAndTellsWhatHas) {
  run([] {
    worker_pool p({.max_workers = 1});
    std::atomic<bool> began{false};
    std::atomic<int> ran{0};
    auto first = p.async([&began](const weft::context& ctx) {
      began = true;
      static_cast<void>(ctx.done().recv());
      return ctx.err();
    });
    EXPECT_TRUE(p.submit([&ran] { ++ran; }));
    auto queued = p.async([&ran] { ++ran; });
    yield_until([&began] { return began.load(); });
    p.cancel();
    p.drain();
    ASSERT_TRUE(first && queued);
    EXPECT_EQ(first->get(), weft::errc::canceled);
    try {
      queued->get();
      ADD_FAILURE() << "it was dropped";
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code(), weft::errc::canceled);
    }
    EXPECT_EQ(ran, 0);
    EXPECT_EQ(p.stats().done, 3U);
  });
}

TEST_P(Workers, UnwindingCancels) {
  run([] {
    std::atomic<int> ran{0};
    try {
      worker_pool p({.max_workers = 1});
      std::atomic<bool> began{false};
      EXPECT_TRUE(p.submit([&began](const weft::context& ctx) {
        began = true;
        static_cast<void>(ctx.done().recv());
      }));
      EXPECT_TRUE(p.submit([&ran] { ++ran; }));
      yield_until([&began] { return began.load(); });
      throw std::runtime_error("out");
    } catch (const std::runtime_error&) {
    }
    EXPECT_EQ(ran, 0);
  });
}

TEST_P(Workers, OptionsThatMakeNoSenseThrow) {
  run([] { EXPECT_THROW(worker_pool({.min_workers = 3, .max_workers = 2}), weft::logic_error); });
}

// --- suspicious tasks

TEST_P(Workers, ATaskThatRunsForTooLongIsReportedWithItsLine) {
  run([] {
    gate g;
    auto told = weft::make_chan<weft::running_task>(1);
    worker_pool p({.max_workers = 2,
                   .suspicious_after = 1ms,
                   .on_suspicious = [told](const weft::running_task& t) { told.send(t); }});
    EXPECT_TRUE(p.submit([&g] { g.pass(); }));
    const auto line = static_cast<std::uint32_t>(__LINE__) - 1;
    const auto report = told.recv();
    ASSERT_TRUE(report);
    EXPECT_EQ(report->line, line);
    EXPECT_NE(std::string(report->file).find("worker_pool_test.cpp"), std::string::npos);
    EXPECT_GE(report->running_for, 1ms);
    const auto now = p.running(1ms);
    ASSERT_EQ(now.size(), 1U);
    EXPECT_EQ(now[0].line, line);
    EXPECT_TRUE(p.running(1h).empty());
    EXPECT_EQ(p.stats().suspicious, 1U);  // once
    g.open();
    p.drain();
    EXPECT_TRUE(p.running().empty());
  });
}

TEST_P(Workers, WithoutACallbackTheReportGoesToTheLog) {
  run([] {
    std::mutex lock;
    std::string text;
    std::atomic<bool> told{false};
    weft::set_log_sink([&](std::string_view line) {
      const std::lock_guard hold(lock);
      if (line.find("indexer") == std::string_view::npos) return;
      text += line;
      told = true;
    });
    {
      worker_pool p({.max_workers = 1, .suspicious_after = 1ms, .name = "indexer"});
      EXPECT_TRUE(p.submit([&told] { yield_until([&told] { return told.load(); }); }));
    }
    weft::set_log_sink({});
    EXPECT_NE(text.find("indexer"), std::string::npos) << text;
    EXPECT_NE(text.find("worker_pool_test.cpp"), std::string::npos) << text;
  });
}

// --- runtimes

TEST(WorkersAlone, WithoutARuntimeThereIsNobody) {
  worker_pool p({.min_workers = 1, .max_workers = 2});
  EXPECT_EQ(p.submit([] {}).error(), weft::errc::no_runtime);
  EXPECT_EQ(p.async([] {}).error(), weft::errc::no_runtime);
  p.drain();
}

TEST(WorkersAlone, APoolMayBeMadeBeforeItsRuntimeAndOutliveIt) {
  std::atomic<int> lines{0};
  weft::set_log_sink([&lines](std::string_view line) {
    if (line.find("were lost") != std::string_view::npos) ++lines;
  });
  {
    weft::channel<int> began;
    worker_pool p({.min_workers = 1, .max_workers = 2});
    std::atomic<int> ran{0};
    for (int round = 1; round <= 3; ++round) {
      weft::run([&] {
        auto f = p.async([&ran] { ++ran; });
        ASSERT_TRUE(f);
        f->get();
        EXPECT_TRUE(p.submit([&began] {
          began.send(1);
          static_cast<void>(weft::chan<int>().recv());  // for ever
        }));
        static_cast<void>(began.recv());
      });
      EXPECT_EQ(ran, round);
    }
  }
  weft::set_log_sink({});
  EXPECT_EQ(lines, 3);
}

// The worker that was idle never comes back to say that it ends.
TEST(WorkersAlone, DrainDoesNotWaitForARuntimeThatHasEnded) {
  worker_pool p({.min_workers = 1, .max_workers = 1});
  weft::run([&p] {
    EXPECT_TRUE(p.submit([] {}));
    yield_until([&p] { return p.stats().idle == 1; });
  });
  EXPECT_TRUE(p.drain(background()));
  p.drain();
  EXPECT_EQ(p.stats().workers, 0U);
}

// As with fibers: nothing is destroyed under the frames that were using it.
TEST(WorkersAlone, ARuntimeThatEndsDestroysTheTasksThatHaveNotBegun) {
  const int before = counted::alive;
  weft::channel<int> began;
  worker_pool p({.max_workers = 1});
  weft::run([&] {
    EXPECT_TRUE(p.submit([c = counted(1), &began] {
      began.send(c.value);
      static_cast<void>(weft::chan<int>().recv());  // for ever
    }));
    EXPECT_TRUE(p.submit([c = counted(2)] { static_cast<void>(c.value); }));
    static_cast<void>(began.recv());
  });
  EXPECT_EQ(counted::alive, before + 1);
}

TEST(WorkersAlone, ThePoolStaysWithTheRuntimeThatItWasMadeIn) {
  weft::runtime a({.procs = 1});
  weft::runtime b({.procs = 1});
  std::optional<worker_pool> p;
  a.run([&p] { p.emplace(weft::worker_pool_options{.max_workers = 2}); });
  const int got = b.run([&p] {
    auto f = p->async([] { return 4; });
    return f ? f->get() : 0;
  });
  EXPECT_EQ(got, 4);
  p.reset();
}

// --- races

TEST_P(Workers, SubmitAgainstCloseStress) {
  run([] {
    for (int round = 0; round < scaled(in_fibers() ? 400 : 60); ++round) {
      std::atomic<int> accepted{0};
      std::atomic<int> ran{0};
      {
        worker_pool p({.max_workers = 2,
                       .queue = 1,
                       .on_full = static_cast<weft::when_full>(round % 3),
                       .idle_timeout = round % 2 == 0 ? 0ns : std::chrono::nanoseconds(1h)});
        crew users(in_fibers());
        for (int u = 0; u < 4; ++u) {
          users.start([&] {
            for (int i = 0; i < 20; ++i) {
              const auto r = p.submit([&ran] {
                weft::yield();
                ++ran;
              });
              if (r) ++accepted;
              if (!r && r.error() == weft::errc::closed) break;
            }
          });
        }
        for (int i = 0; i < round % 50; ++i) weft::yield();
        p.drain();
        users.join();
        EXPECT_EQ(p.stats().done, p.stats().submitted);
      }
      EXPECT_EQ(ran, accepted);
    }
  });
}

TEST_P(Workers, ContextsEndWhileRoomComesStress) {
  run([] {
    worker_pool p({.max_workers = 1, .queue = 1});
    std::atomic<int> accepted{0};
    std::atomic<int> ran{0};
    crew users(in_fibers());
    for (int u = 0; u < 4; ++u) {
      users.start([&] {
        for (int i = 0; i < scaled(500); ++i) {
          auto [ctx, cancel] = weft::with_cancel(background());
          crew canceller(in_fibers());
          canceller.start([&end = cancel] { end(); });
          if (p.submit(ctx, [&ran] { ++ran; })) ++accepted;
        }
      });
    }
    users.join();
    p.drain();
    EXPECT_EQ(ran, accepted);
    EXPECT_EQ(p.stats().blocked, 0U);
  });
}

// The pool is gone as soon as the last future has been served.
TEST_P(Workers, DestroyedAtOnceStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 2000 : 200); ++i) {
      auto p = std::make_unique<worker_pool>(
          weft::worker_pool_options{.max_workers = 2, .idle_timeout = i % 2 == 0 ? 0ns : 1000ns});
      auto f = p->async([i] { return i; });
      ASSERT_TRUE(f);
      if (i % 3 == 0) {
        EXPECT_EQ(f->get(), i);
      }
      p.reset();
      if (i % 3 != 0) {
        EXPECT_EQ(f->get(), i);
      }
    }
  });
}

// Timeouts of idle workers against tasks for them.
TEST_P(Workers, IdleTimeoutsAgainstSubmitsStress) {
  run([] {
    // In the second, whoever waits for room waits for a worker, and may wait for one that ends.
    const weft::worker_pool_options few_or_one[] = {
        {.min_workers = 1, .max_workers = 3, .queue = 4, .idle_timeout = 1us},
        {.min_workers = 0, .max_workers = 1, .queue = 0, .idle_timeout = 0ns},
    };
    for (const weft::worker_pool_options& options : few_or_one) {
      worker_pool p(options);
      crew users(in_fibers());
      std::atomic<int> ran{0};
      const int n = scaled(2000);
      for (int u = 0; u < 3; ++u) {
        users.start([&] {
          for (int i = 0; i < n; ++i) {
            EXPECT_TRUE(p.submit([&ran] { ++ran; }));
            if (i % 3 == 0) weft::yield();
          }
        });
      }
      users.join();
      p.drain();
      EXPECT_EQ(ran, 3 * n);
      EXPECT_LE(p.stats().peak_workers, options.max_workers);
    }
  });
}

// A worker that times out is room until the moment in which another may be started.
TEST_P(Workers, NothingIsRejectedWhileAWorkerTimesOutStress) {
  run([] {
    worker_pool p(
        {.max_workers = 1, .queue = 0, .on_full = worker_pool::reject, .idle_timeout = 0ns});
    for (int i = 1; i <= scaled(2000); ++i) {
      EXPECT_TRUE(p.submit([] {}));
      yield_until([&p, i] {
        const weft::worker_pool_stats s = p.stats();
        return s.done == static_cast<std::uint64_t>(i) && s.idle == s.workers;
      });
    }
    EXPECT_EQ(p.stats().rejected, 0U);
  });
}

TEST_P(Workers, AQueueMayHaveAnySize) {
  run([] {
    std::atomic<int> ran{0};
    {
      worker_pool p({.max_workers = 1, .queue = SIZE_MAX, .on_full = worker_pool::reject});
      for (int i = 0; i < 100; ++i) EXPECT_TRUE(p.submit([&ran] { ++ran; }));
    }
    EXPECT_EQ(ran, 100);
  });
}

// --- the heap

TEST_P(Workers, SubmitAndAsyncTakeNothingFromTheHeapInSteadyState) {
  run([] {
    worker_pool p({.min_workers = 1, .max_workers = 2, .queue = 16});
    std::atomic<int> ran{0};
    const auto use = [&] {
      for (int i = 0; i < 100; ++i) {
        static_cast<void>(p.submit([&ran] { ++ran; }));
        auto f = p.async([&ran] { return ran.load(); });
        static_cast<void>(f->get());
      }
    };
    use();
    long least = -1;
    for (int k = 0; k < 10 && least != 0; ++k) {
      const long taken = heap_blocks_of(use);
      least = least < 0 || taken < least ? taken : least;
    }
    EXPECT_EQ(least, 0);
  });
}

}  // namespace
