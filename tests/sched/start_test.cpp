// SPDX-License-Identifier: Apache-2.0
// The ways to start a fiber: with options, catching, with a handle, with a result, in the caller's
// runtime and in one that is named; and what is run when a result is there.
#include <weft/run.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/fiber.hpp>

#include "tests/support/child.hpp"

namespace {

using namespace std::chrono_literals;

thread_local int runtime_of_worker = 0;

weft::options marked(int number) {
  return {.on_worker_start = [number] { runtime_of_worker = number; }};
}

std::string here() {
  return std::to_string(runtime_of_worker) + std::string(weft::this_fiber::name());
}

TEST(Start, EmptyBracesAreOptions) {
  weft::run([] {
    auto done = weft::make_chan<weft::unit>();
    weft::go({}, [done] { done.close(); });
    EXPECT_EQ(done.recv(), std::nullopt);
    weft::spawn({}, [] {}).join();
  });
  weft::runtime rt;
  rt.spawn({}, [] {}).join();
  auto told = weft::make_chan<int>(1);
  rt.go({}, [told] { told.send(1); });
  EXPECT_EQ(told.recv(), 1);
}

TEST(Start, EveryFormStartsInTheRuntimeThatIsNamed) {
  weft::runtime one(marked(1));  // the default, being the oldest
  weft::runtime two(marked(2));
  auto told = weft::make_chan<std::string>(1);
  const auto tell = [told] { told.send(here()); };
  const auto every_form = [&] {
    two.go(tell);
    EXPECT_EQ(told.recv(), "2");
    two.go({.name = " writer", .stack_size = 256 << 10}, tell);
    EXPECT_EQ(told.recv(), "2 writer");
    two.go(weft::catching, tell);
    EXPECT_EQ(told.recv(), "2");
    two.spawn(tell).join();
    EXPECT_EQ(told.recv(), "2");
    two.spawn({.name = " joined"}, tell).join();
    EXPECT_EQ(told.recv(), "2 joined");
    EXPECT_EQ(two.async(here).get(), "2");
  };
  every_form();  // from a thread
  one.spawn([&] {
       EXPECT_EQ(here(), "1");
       every_form();  // from another one's fiber
     })
      .join();
  two.spawn(every_form).join();
}

TEST(Start, ACatchingFiberOfARuntimeGoesToThePanicHandler) {
  auto told = weft::make_chan<std::string>(1);
  weft::set_panic_handler(
      [told](const weft::panic_info& info) { told.send(std::string(info.what)); });
  weft::runtime rt;
  rt.go(weft::catching, [] { throw std::runtime_error("caught here"); });
  EXPECT_EQ(told.recv(), "caught here");
  EXPECT_TRUE(rt.shutdown(weft::background()));
  weft::set_panic_handler(nullptr);
  EXPECT_THROW(rt.go([] {}), weft::no_runtime_error);
  EXPECT_THROW((void)rt.spawn([] {}), weft::no_runtime_error);
}

// --- on_ready

template <class R, class F>
concept takes_handler = requires(R&& r, F f) { weft::on_ready(std::forward<R>(r), f); };
using future_of_int = weft::future<int>;
static_assert(takes_handler<future_of_int, void (*)(weft::future<int>)>);
static_assert(takes_handler<future_of_int&, void (*)(weft::future<int>)>);
static_assert(takes_handler<future_of_int&, void (*)(weft::future<int>&&)>);
static_assert(takes_handler<future_of_int&, void (*)(long)>);
static_assert(takes_handler<future_of_int&, void (*)()>);
static_assert(takes_handler<weft::future<void>&, void (*)()>);
static_assert(takes_handler<weft::future<int&>&, void (*)(int&)>);
static_assert(!takes_handler<const future_of_int&, void (*)()>);
static_assert(!takes_handler<future_of_int&, void (*)(std::string)>);
static_assert(!takes_handler<future_of_int&, void (*)(weft::future<int>&)>);
static_assert(!takes_handler<weft::future<void>&, void (*)(int)>);

TEST(Start, OnReadyConsumesANamedFuture) {
  weft::run([] {
    auto told = weft::make_chan<int>(1);
    auto r = weft::async([] { return 5; });
    weft::on_ready(r, [told](weft::future<int> done) {
      EXPECT_TRUE(done.ready());
      told.send(done.get());
    });
    EXPECT_FALSE(r.valid());
    EXPECT_EQ(told.recv(), 5);
    EXPECT_THROW(weft::on_ready(r, [] {}), weft::logic_error);
  });
}

TEST(Start, OnReadyGivesTheFutureTheValueOrNothing) {
  weft::run([] {
    auto told = weft::make_chan<int>(1);
    weft::on_ready(weft::async([] { return std::make_unique<int>(1); }),
                   [told](std::unique_ptr<int> p) { told.send(*p); });
    EXPECT_EQ(told.recv(), 1);
    int variable = 0;
    weft::on_ready(weft::async([&]() -> int& { return variable; }), [told, &variable](int& v) {
      EXPECT_EQ(&v, &variable);
      told.send(2);
    });
    EXPECT_EQ(told.recv(), 2);
    weft::on_ready(weft::async([] { return 5; }), [told] { told.send(3); });
    EXPECT_EQ(told.recv(), 3);
    weft::on_ready(weft::async([] {}), [told] { told.send(4); });
    EXPECT_EQ(told.recv(), 4);
    // Who could take any of them gets the future.
    weft::on_ready(weft::async([] { return 5; }), [told](auto&&... r) {
      static_assert(std::is_same_v<decltype(r)..., weft::future<int>&&>);
      told.send(std::forward<decltype(r)...>(r...).get());
    });
    EXPECT_EQ(told.recv(), 5);
  });
}

TEST(Start, OnReadyHandsAnExceptionOnWithTheFuture) {
  weft::run([] {
    auto told = weft::make_chan<int>(1);
    const auto fails = [] {
      throw std::runtime_error("no value");
      return 1;
    };
    weft::on_ready(weft::async(fails), [told](weft::future<int> r) {
      EXPECT_THROW((void)r.get(), std::runtime_error);
      told.send(1);
    });
    EXPECT_EQ(told.recv(), 1);
    weft::on_ready(weft::async(fails), [told] { told.send(2); });
    EXPECT_EQ(told.recv(), 2);
  });
}

TEST(Start, OnReadyOfAValueThatNeverCameIsAPanic) {
  const auto r = weft_test::run_child([] {
    weft::run([] {
      auto never = weft::make_chan<weft::unit>();
      weft::on_ready(weft::async([]() -> int { throw std::runtime_error("no value"); }),
                     [](int) { weft_test::demand(false, "there was no value"); });
      static_cast<void>(never.recv());
    });
  });
  EXPECT_EQ(r.code, 2) << r.error;
  EXPECT_NE(r.error.find("panic: std::runtime_error: no value"), std::string::npos) << r.error;
}

TEST(Start, OnReadyKeepsTheFutureWhenTheHandlerCannotBeCopied) {
  struct throws_on_copy {
    throws_on_copy() = default;
    throws_on_copy(const throws_on_copy&) { throw std::runtime_error("copy"); }
    void operator()() const {}
  };
  weft::run([] {
    auto r = weft::async([] { return 5; });
    const throws_on_copy handler;
    EXPECT_THROW(weft::on_ready(r, handler), std::runtime_error);
    ASSERT_TRUE(r.valid());
    EXPECT_EQ(r.get(), 5);
  });
}

}  // namespace
