// SPDX-License-Identifier: Apache-2.0
// Who observes panics: which handlers are taken, what they are told, and that one can be replaced
// while fibers panic.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

#include <weft/chan.hpp>
#include <weft/detail/config.hpp>
#include <weft/fiber.hpp>
#include <weft/run.hpp>

#include "tests/support/child.hpp"

namespace {

using namespace std::chrono_literals;

template <class F>
concept observes = requires(F f) { weft::set_panic_handler(f); };
static_assert(observes<void (*)(const weft::panic_info&)>);
static_assert(observes<std::function<void(const weft::panic_info&)>>);
static_assert(observes<void (*)(std::exception_ptr)>);
static_assert(observes<std::function<void(const std::exception_ptr&)>>);
static_assert(observes<std::nullptr_t>);
static_assert(!observes<void (*)(int)> && !observes<int>);

class PanicHandler : public testing::Test {
 protected:
  ~PanicHandler() override { weft::set_panic_handler(nullptr); }
};

TEST_F(PanicHandler, IsTheUsersClosureAndGoesWhenItIsReplaced) {
  auto owned = std::make_shared<int>(7);
  auto told = weft::make_chan<std::string>(1);
  weft::set_panic_handler([owned, told](const weft::panic_info& info) {
    EXPECT_FALSE(info.fatal);
    EXPECT_NE(info.fiber_id, 0U);
    EXPECT_TRUE(info.exception);
    told.send(std::string(info.what));
  });
  EXPECT_EQ(owned.use_count(), 2);
  weft::run(weft::options{.drain = 10s}, [&] {
    weft::go(weft::catching, [] { throw std::runtime_error("caught"); });
    EXPECT_EQ(told.recv(), "caught");
    weft::go(weft::catching, [] { throw 5; });
    EXPECT_EQ(told.recv(), "");
  });
  weft::set_panic_handler([](const auto& info) { EXPECT_TRUE(info.exception); });
  EXPECT_EQ(owned.use_count(), 1);
}

TEST_F(PanicHandler, MayTakeTheExceptionAlone) {
  auto told = weft::make_chan<int>(1);
  weft::set_panic_handler([&](std::exception_ptr e) {
    try {
      std::rethrow_exception(e);
    } catch (int i) {
      told.send(i);
    }
  });
  weft::run(weft::options{.drain = 10s}, [&] {
    weft::go(weft::catching, [] { throw 5; });
    EXPECT_EQ(told.recv(), 5);
  });
  std::function<void(std::exception_ptr)> empty;
  weft::set_panic_handler(empty);  // removes it
  EXPECT_FALSE(weft::detail::report_caught(std::make_exception_ptr(5)));
}

TEST_F(PanicHandler, WithoutOneACatchingFiberJustEnds) {
  weft::run(weft::options{.drain = 10s}, [] {
    auto began = weft::make_chan<weft::unit>();
    weft::go(weft::catching, [began] {
      began.close();
      throw std::runtime_error("nobody hears");
    });
    EXPECT_EQ(began.recv(), std::nullopt);
  });
}

TEST_F(PanicHandler, SeesWhatEndsTheProcess) {
  const auto r = weft_test::run_child([] {
    const std::string prefix = "observed: ";
    weft::set_panic_handler([&prefix](const weft::panic_info& info) {
      std::fprintf(stderr, "%s%s, %s, %s\n", prefix.c_str(), std::string(info.what).c_str(),
                   info.fatal ? "fatal" : "not fatal", info.exception ? "exception" : "none");
    });
    weft::run([] { weft::spawn([] { throw std::runtime_error("the end"); }).join(); });
  });
  EXPECT_EQ(r.code, 2) << r.error;
  EXPECT_NE(r.error.find("observed: the end, fatal, exception"), std::string::npos) << r.error;
}

TEST_F(PanicHandler, ThatThrowsDoesNotSuppressTheReport) {
  const auto observe = [](const weft::panic_info& info) {
    throw std::logic_error(info.fatal ? "from a fatal one" : "from the handler");
  };
  auto r = weft_test::run_child([&] {
    weft::set_panic_handler(observe);
    weft::run([] { weft::spawn([] { throw std::runtime_error("the end"); }).join(); });
  });
  EXPECT_EQ(r.code, 2) << r.error;
  EXPECT_NE(r.error.find("panic: std::runtime_error: the end"), std::string::npos) << r.error;
  // Where the process would have gone on, what the handler throws is the panic.
  r = weft_test::run_child([&] {
    weft::set_panic_handler(observe);
    weft::run([] {
      auto never = weft::make_chan<weft::unit>();
      weft::go(weft::catching, [] { throw std::runtime_error("caught"); });
      static_cast<void>(never.recv());
    });
  });
  EXPECT_EQ(r.code, 2) << r.error;
  EXPECT_NE(r.error.find("panic: std::logic_error: from the handler"), std::string::npos)
      << r.error;
}

TEST_F(PanicHandler, MayRemoveItself) {
  auto told = weft::make_chan<int>(1);
  weft::set_panic_handler([told, owned = std::make_shared<int>(5)](std::exception_ptr) {
    weft::set_panic_handler(nullptr);
    told.send(*owned);  // the captures are still there
  });
  weft::run(weft::options{.drain = 10s}, [&] {
    weft::go(weft::catching, [] { throw 1; });
    EXPECT_EQ(told.recv(), 5);
  });
  EXPECT_FALSE(weft::detail::report_caught(std::make_exception_ptr(5)));
}

// Each panic is observed by the one handler that is there when it begins, however long that takes.
TEST_F(PanicHandler, IsReplacedWhileFibersPanicStress) {
  constexpr int panics = WEFT_TSAN || WEFT_ASAN || WEFT_EMULATED ? 300 : 3000;
  std::atomic<int> observed{0};
  std::atomic<bool> over{false};
  const auto observer = [&observed] {
    return [&observed, own = std::make_shared<int>(1)](const weft::panic_info&) {
      weft::yield();  // time for others to replace us
      observed += *own;
    };
  };
  weft::set_panic_handler(observer());
  weft::run(weft::options{.drain = 10s}, [&] {
    std::thread replaces([&] {
      while (!over) weft::set_panic_handler(observer());
    });
    for (int i = 0; i < panics; ++i) {
      weft::go(weft::catching, [] { throw std::runtime_error("one of many"); });
      if (i % 16 == 0) weft::yield();
    }
    while (observed < panics) weft::yield();
    over = true;
    replaces.join();
  });
  EXPECT_EQ(observed, panics);
}

}  // namespace
