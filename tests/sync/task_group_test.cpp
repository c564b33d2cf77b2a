// SPDX-License-Identifier: Apache-2.0
// task_group and supervisor: calls with a context, and what becomes of exceptions. (What errgroup
// has is in group_test.cpp.)
#include <weft/task_group.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/log.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::background;

class TaskGroup : public both_worlds {};
WEFT_BOTH_WORLDS(TaskGroup);

const auto boom = std::make_error_code(std::errc::io_error);

/// Counts its runs; shows whether it was moved from.
struct owner {
  std::unique_ptr<int> owned = std::make_unique<int>(1);
  std::atomic<int>* sum;
  explicit owner(std::atomic<int>* s) : sum(s) {}
  void operator()() const { *sum += *owned; }
};

// --- wait with a context

TEST_P(TaskGroup, AContextEndsTheWaitAndNotTheTasks) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(background());
    auto go_on = weft::make_chan<weft::unit>();
    weft::task_group g;
    g.go([=](const weft::context& inside) {
      (void)go_on.recv();
      EXPECT_FALSE(inside.err());
    });
    crew other(in_fibers());
    other.start([&, &until = ctx] { EXPECT_EQ(g.wait(until).error(), weft::errc::canceled); });
    for (int i = 0; i < 20; ++i) weft::yield();
    cancel();
    other.join();
    EXPECT_EQ(g.wait(ctx).error(), weft::errc::canceled);  // done already
    auto [timed, cancel_timed] = weft::with_timeout(background(), 2ms);
    EXPECT_EQ(g.wait(timed).error(), weft::errc::deadline_exceeded);
    go_on.send({});
    EXPECT_TRUE(g.wait(background()));
    EXPECT_EQ(g.wait(ctx).error(), weft::errc::canceled) << "though nothing is left to wait for";
    EXPECT_TRUE(g.context().err());  // over
  });
}

TEST_P(TaskGroup, WaitWithAContextTellsTheFirstError) {
  run([] {
    weft::task_group g;
    g.go([] { return boom; });
    g.go([](const weft::context& inside) { (void)inside.done().recv(); });
    EXPECT_EQ(g.wait(background()).error(), boom);
    EXPECT_EQ(g.wait(), boom);
    weft::supervisor s;
    s.go([]() -> weft::result<void> { return weft::failure(boom); });
    EXPECT_EQ(s.wait(background()).error(), boom);
    weft::supervisor none;
    EXPECT_TRUE(none.wait(background()));
  });
}

TEST_P(TaskGroup, AWaitThatTheContextEndedLeavesTheExceptionToTheNext) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(background());
    weft::task_group g;
    g.go([] { throw std::runtime_error("from a task"); });
    (void)g.context().done().recv();  // it has thrown
    cancel();
    EXPECT_EQ(g.wait(ctx).error(), weft::errc::canceled);
    EXPECT_THROW((void)g.wait(background()), std::runtime_error);
    EXPECT_EQ(g.wait(background()).error(), weft::errc::canceled) << "rethrown once";
  });
}

// The context ends beside the tasks; the group goes as soon as a wait has returned.
TEST_P(TaskGroup, GivingUpTheWaitRacesTheEndStress) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 2000 : 300); ++i) {
      auto [ctx, cancel] = weft::with_cancel(background());
      auto g = std::make_unique<weft::task_group>();
      std::atomic<int> ran{0};
      crew other(in_fibers());
      for (int k = 0; k < 3; ++k) g->go([&] { ++ran; });
      other.start([&stop = cancel] { stop(); });
      EXPECT_TRUE(g->wait(ctx) || g->wait(background()));
      g.reset();
      EXPECT_EQ(ran, 3);
    }
  });
}

// --- go with a context

TEST_P(TaskGroup, GoWithADoneContextStartsNothing) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(background());
    std::atomic<int> sum{0};
    weft::task_group unlimited;
    weft::task_group limited;
    limited.set_limit(1);
    weft::supervisor supervised;
    owner task(&sum);
    cancel();
    EXPECT_EQ(unlimited.go(ctx, std::move(task)).error(), weft::errc::canceled);
    EXPECT_EQ(limited.go(ctx, std::move(task)).error(), weft::errc::canceled);
    EXPECT_EQ(supervised.go(ctx, std::move(task)).error(), weft::errc::canceled);
    EXPECT_NE(task.owned, nullptr);
    EXPECT_TRUE(limited.go(background(), std::move(task)));  // no place was taken
    EXPECT_TRUE(unlimited.go(background(), owner(&sum)));
    EXPECT_TRUE(supervised.go(background(), owner(&sum)));
    EXPECT_FALSE(limited.wait());
    EXPECT_FALSE(unlimited.wait());
    EXPECT_FALSE(supervised.wait());
    EXPECT_EQ(sum, 3);
  });
}

TEST_P(TaskGroup, AContextEndsTheWaitingForRoom) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(background());
    auto go_on = weft::make_chan<weft::unit>();
    std::atomic<int> sum{0};
    weft::task_group g;
    g.set_limit(1);
    g.go([=] { (void)go_on.recv(); });
    owner task(&sum);
    crew other(in_fibers());
    other.start([&, &until = ctx] {
      EXPECT_EQ(g.go(until, std::move(task)).error(), weft::errc::canceled);
    });
    for (int i = 0; i < 20; ++i) weft::yield();
    cancel();
    other.join();
    EXPECT_NE(task.owned, nullptr);
    auto [timed, cancel_timed] = weft::with_timeout(background(), 2ms);
    EXPECT_EQ(g.go(timed, std::move(task)).error(), weft::errc::deadline_exceeded);
    EXPECT_FALSE(g.try_go(std::move(task)));
    EXPECT_NE(task.owned, nullptr);
    other.start([&] { EXPECT_TRUE(g.go(background(), std::move(task))); });
    go_on.send({});
    other.join();
    EXPECT_FALSE(g.wait());
    EXPECT_EQ(sum, 1);
  });
}

// Its end comes after the task has been let in, for which it means nothing.
TEST_P(TaskGroup, TheContextOfGoIsNotTheTasks) {
  run([] {
    auto [ctx, cancel] = weft::with_cancel(background());
    auto go_on = weft::make_chan<weft::unit>();
    weft::task_group g;
    EXPECT_TRUE(g.go(ctx, [=](const weft::context& inside) {
      (void)go_on.recv();
      EXPECT_FALSE(inside.err());
    }));
    cancel();
    go_on.send({});
    EXPECT_FALSE(g.wait());
  });
}

// Either the task runs, or fn and the place are there as before.
TEST_P(TaskGroup, GivingUpTheWaitForRoomRacesItStress) {
  run([] {
    std::atomic<int> sum{0};
    int started = 0;
    weft::task_group g;
    g.set_limit(1);
    for (int i = 0; i < scaled(in_fibers() ? 2000 : 300); ++i) {
      auto [ctx, cancel] = weft::with_cancel(background());
      crew other(in_fibers());
      g.go([] { weft::yield(); });
      other.start([&stop = cancel] { stop(); });
      owner task(&sum);
      if (g.go(ctx, std::move(task))) {
        ++started;
      } else {
        EXPECT_NE(task.owned, nullptr);
      }
    }
    EXPECT_TRUE(g.go(background(), owner(&sum)));
    EXPECT_FALSE(g.wait());
    EXPECT_EQ(sum, started + 1);
  });
}

TEST(TaskGroupAlone, SaysThatThereIsNoRuntime) {
  std::atomic<int> sum{0};
  owner task(&sum);
  weft::task_group g;
  g.set_limit(1);
  for (int i = 0; i < 2; ++i) {  // the place is given back
    EXPECT_EQ(g.go(background(), std::move(task)).error(), weft::errc::no_runtime);
  }
  EXPECT_NE(task.owned, nullptr);
  EXPECT_TRUE(g.wait(background()));
}

// --- exceptions

TEST_P(TaskGroup, AnExceptionThatComesAfterAnErrorIsRethrown) {
  run([] {
    weft::task_group g;
    g.go([](const weft::context& inside) {
      (void)inside.done().recv();
      throw std::runtime_error("on being cancelled");
    });
    g.go([] { return boom; });
    EXPECT_THROW((void)g.wait(), std::runtime_error);
    EXPECT_EQ(g.context().cause(), boom);
    EXPECT_EQ(g.wait(), boom) << "once, and the first error is told all the same";
    weft::supervisor s;
    s.set_limit(1);  // one after the other
    s.go([] { return boom; });
    s.go([] { throw std::runtime_error("the first"); });
    s.go([] { throw 5; });
    EXPECT_THROW((void)s.wait(), std::runtime_error);
    EXPECT_EQ(s.wait(), boom);
  });
}

/// What goes to the log while it lives.
class log_catcher {
 public:
  log_catcher() {
    weft::set_log_sink([this](std::string_view line) {
      const std::lock_guard hold(lock_);
      text_ += line;
    });
  }
  log_catcher(const log_catcher&) = delete;
  log_catcher& operator=(const log_catcher&) = delete;
  ~log_catcher() { weft::set_log_sink({}); }
  [[nodiscard]] std::string text() {
    const std::lock_guard hold(lock_);
    return text_;
  }

 private:
  std::mutex lock_;
  std::string text_;
};

bool has(const std::string& text, std::string_view what) {
  return text.find(what) != std::string::npos;
}

TEST_P(TaskGroup, AnExceptionThatNobodyWaitsForIsLogged) {
  run([] {
    log_catcher logged;
    {
      weft::task_group g;
      g.go([] { throw std::runtime_error("nobody waits for me"); });
      weft::supervisor s;
      s.go([] { throw std::runtime_error("nor for me"); });
      weft::task_group told;
      told.go([] { throw std::runtime_error("I was told"); });
      EXPECT_THROW((void)told.wait(), std::runtime_error);
      weft::task_group quiet;
      quiet.go([] { return boom; });
    }
    const std::string text = logged.text();
    EXPECT_TRUE(has(text, "task_group: a task of ")) << text;
    EXPECT_TRUE(has(text, "nobody waits for me")) << text;
    EXPECT_TRUE(has(text, "supervisor: a task of ")) << text;
    EXPECT_TRUE(has(text, "nor for me")) << text;
    EXPECT_FALSE(has(text, "I was told")) << text;
  });
}

// `wait` can rethrow one at a time.
TEST_P(TaskGroup, AnExceptionThatComesBesideAnotherIsLogged) {
  run([] {
    log_catcher logged;
    weft::supervisor s;
    s.set_limit(1);  // one after the other
    s.go([] { throw std::runtime_error("the first"); });
    s.go([] { throw std::runtime_error("the second"); });
    s.go([] { throw 5; });
    EXPECT_THROW((void)s.wait(), std::runtime_error);
    s.go([] { throw std::runtime_error("the first of the next wait"); });
    EXPECT_THROW((void)s.wait(), std::runtime_error);
    weft::task_group g;
    g.go([](const weft::context& inside) {
      (void)inside.done().recv();
      throw std::runtime_error("on being cancelled");
    });
    g.go([] { throw std::runtime_error("the cause"); });
    EXPECT_THROW((void)g.wait(), std::runtime_error);
    const std::string text = logged.text();
    EXPECT_FALSE(has(text, "the first")) << text;
    EXPECT_TRUE(has(text, "threw: the second")) << text;
    EXPECT_TRUE(has(text, "threw something")) << text;
    EXPECT_TRUE(has(text, "task_group: a task of ")) << text;
    EXPECT_TRUE(has(text, "threw: on being cancelled")) << text;
    EXPECT_FALSE(has(text, "the cause")) << text;
  });
}

}  // namespace
