// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <signal.h>

#include <string>
#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/run.hpp>

#include "tests/chan/support.hpp"
#include "tests/support/child.hpp"

namespace {

using namespace weft_test;
using weft::background;

class SignalContext : public both_worlds {};
WEFT_BOTH_WORLDS(SignalContext);

TEST_P(SignalContext, ASignalCancelsAndIsTheCause) {
  run([] {
    auto [ctx, stop] = weft::signal_context(background(), {SIGUSR1, SIGUSR2});
    auto [child, cancel] = weft::with_cancel(ctx);
    EXPECT_FALSE(ctx.err());
    ASSERT_EQ(::raise(SIGUSR2), 0);
    (void)child.done().recv();
    EXPECT_EQ(ctx.err(), weft::errc::canceled);
    EXPECT_EQ(ctx.cause(), std::error_code(SIGUSR2, weft::signal_category()));
    EXPECT_STREQ(ctx.cause().category().name(), "signal");
    EXPECT_EQ(ctx.cause().message(), "User defined signal 2");
    ASSERT_EQ(::raise(SIGUSR1), 0);  // still caught while it lives; raise returns after its handler
  });
}

TEST_P(SignalContext, SeveralContextsShareASignal) {
  run([] {
    auto a = weft::signal_context(background(), {SIGUSR1});
    auto b = weft::signal_context(background(), {SIGUSR1});
    const weft::cancelable_context other = weft::signal_context(background(), {SIGUSR2});
    ASSERT_EQ(::raise(SIGUSR1), 0);
    (void)a.done().recv();
    (void)b.ctx.done().recv();
    EXPECT_EQ(a.cause(), std::error_code(SIGUSR1, weft::signal_category()));
    EXPECT_FALSE(other.ctx.err());
  });
}

TEST_P(SignalContext, TheOldDispositionComesBack) {
  run([] {
    struct sigaction before{};
    struct sigaction during{};
    struct sigaction after{};
    ::sigaction(SIGUSR1, nullptr, &before);
    {
      auto [ctx, stop] = weft::signal_context(background(), {SIGUSR1});
      ::sigaction(SIGUSR1, nullptr, &during);
      EXPECT_NE(during.sa_handler, before.sa_handler);
      stop();
      EXPECT_EQ(ctx.cause(), weft::errc::canceled);
    }
    ::sigaction(SIGUSR1, nullptr, &after);
    EXPECT_EQ(after.sa_handler, before.sa_handler);
  });
}

TEST_P(SignalContext, ImpossibleSignalsThrow) {
  run([] {
    EXPECT_THROW((void)weft::signal_context(background(), {SIGKILL}), std::system_error);
    EXPECT_THROW((void)weft::signal_context(background(), {SIGUSR1, SIGKILL}), std::system_error);
    EXPECT_THROW((void)weft::signal_context(background(), {100000}), std::system_error);
    struct sigaction after{};
    ::sigaction(SIGUSR1, nullptr, &after);
    EXPECT_EQ(after.sa_handler, SIG_DFL);
  });
}

// A program that waits for a signal is not deadlocked.
TEST(SignalContextAlone, WaitingForASignalIsNoDeadlock) {
  const auto r = run_child([] {
    (void)weft::run(weft::options{}, [] {
      auto [ctx, stop] = weft::signal_context(background(), {SIGTERM});
      std::thread([] {
        ::usleep(50'000);  // the child's own time to fall asleep; nothing depends on it
        ::raise(SIGTERM);
      }).detach();
      (void)ctx.done().recv();
    });
  });
  EXPECT_EQ(r.code, 0) << r.error;
  EXPECT_EQ(r.signal, 0);
}

}  // namespace
