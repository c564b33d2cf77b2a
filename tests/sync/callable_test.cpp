// SPDX-License-Identifier: Apache-2.0
// Which functions weft takes: those that can be called the way they will be called. What fibers run
// is a copy, called as an lvalue; what is called in place is called as an lvalue, too. All others
// are refused where they are handed over, so that a program may ask (detail/callable.hpp).
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <weft/budget.hpp>
#include <weft/chan.hpp>
#include <weft/circuit_breaker.hpp>
#include <weft/context.hpp>
#include <weft/fiber.hpp>
#include <weft/once.hpp>
#include <weft/pool.hpp>
#include <weft/retry.hpp>
#include <weft/run.hpp>
#include <weft/singleflight.hpp>
#include <weft/time.hpp>
#include <weft/wait_group.hpp>
#include <weft/worker_pool.hpp>

namespace {

using namespace std::chrono_literals;

struct as_lvalue {
  int operator()() & { return 1; }
};
struct as_rvalue {
  int operator()() && { return 1; }
};
/// A const one cannot be called, but copied.
struct changes {
  int operator()() { return ++calls; }
  int calls = 0;
};
struct move_only_function {
  int operator()() { return *value; }
  std::unique_ptr<int> value = std::make_unique<int>(1);
};
struct takes_an_int {
  int operator()(int i) const { return i; }
};

// How many of the forms that keep a copy take an F.
template <class F>
concept go_takes = requires(F&& f) { weft::go(std::forward<F>(f)); };
template <class F>
concept go_with_options_takes =
    requires(F&& f) { weft::go({.name = "named"}, std::forward<F>(f)); };
template <class F>
concept go_catching_takes = requires(F&& f) { weft::go(weft::catching, std::forward<F>(f)); };
template <class F>
concept spawn_takes = requires(F&& f) { weft::spawn(std::forward<F>(f)); };
template <class F>
concept async_takes = requires(F&& f) { weft::async(std::forward<F>(f)); };
template <class F>
concept runtime_go_takes = requires(weft::runtime& rt, F&& f) { rt.go(std::forward<F>(f)); };
template <class F>
concept runtime_async_takes = requires(weft::runtime& rt, F&& f) { rt.async(std::forward<F>(f)); };
template <class F>
concept wait_group_takes = requires(weft::wait_group& wg, F&& f) { wg.go(std::forward<F>(f)); };
template <class F>
concept after_context_takes =
    requires(const weft::context& ctx, F&& f) { weft::after_func(ctx, std::forward<F>(f)); };
template <class F>
concept after_time_takes = requires(F&& f) { weft::after_func(1s, std::forward<F>(f)); };
template <class F>
concept worker_pool_takes = requires(weft::worker_pool& p, F&& f) { p.submit(std::forward<F>(f)); };
using flights = weft::singleflight<int, void>;
template <class F>
concept flight_with_context_takes =
    requires(flights& s, const weft::context& ctx, F&& f) { s.do_(ctx, 1, std::forward<F>(f)); };

template <class F>
constexpr std::size_t keepers_that_take = [] {
  std::size_t n = 0;
  for (const bool takes :
       {go_takes<F>, go_with_options_takes<F>, go_catching_takes<F>, spawn_takes<F>, async_takes<F>,
        runtime_go_takes<F>, runtime_async_takes<F>, wait_group_takes<F>, after_context_takes<F>,
        after_time_takes<F>, worker_pool_takes<F>, flight_with_context_takes<F>}) {
    if (takes) ++n;
  }
  return n;
}();
constexpr std::size_t all_keepers = 12;

static_assert(keepers_that_take<as_lvalue> == all_keepers);
static_assert(keepers_that_take<as_lvalue&> == all_keepers);
static_assert(keepers_that_take<const as_lvalue&> == all_keepers);
static_assert(keepers_that_take<const changes&> == all_keepers);
static_assert(keepers_that_take<move_only_function> == all_keepers);
static_assert(keepers_that_take<int (&)()> == all_keepers);
static_assert(keepers_that_take<int (*)()> == all_keepers);
static_assert(keepers_that_take<as_rvalue> == 0);
static_assert(keepers_that_take<as_rvalue&> == 0);
static_assert(keepers_that_take<move_only_function&> == 0);
static_assert(keepers_that_take<takes_an_int> == 0);
static_assert(keepers_that_take<int> == 0);

// The same of those that call it where it is.
template <class F>
concept run_takes = requires(F&& f) { weft::run(std::forward<F>(f)); };
template <class F>
concept call_once_takes =
    requires(weft::once_flag& flag, F&& f) { weft::call_once(flag, std::forward<F>(f)); };
template <class F>
concept retry_takes = requires(F&& f) { weft::retry({}, std::forward<F>(f)); };
template <class F>
concept breaker_takes = requires(weft::circuit_breaker& b, F&& f) { b.run(std::forward<F>(f)); };
template <class F>
concept flight_takes = requires(flights& s, F&& f) { s.do_(1, std::forward<F>(f)); };

template <class F>
constexpr std::size_t callers_that_take = [] {
  std::size_t n = 0;
  for (const bool takes :
       {run_takes<F>, call_once_takes<F>, retry_takes<F>, breaker_takes<F>, flight_takes<F>}) {
    if (takes) ++n;
  }
  return n;
}();
constexpr std::size_t all_callers = 5;

static_assert(callers_that_take<as_lvalue> == all_callers);
static_assert(callers_that_take<as_lvalue&> == all_callers);
static_assert(callers_that_take<move_only_function&> == all_callers);
static_assert(callers_that_take<int (&)()> == all_callers);
static_assert(callers_that_take<as_rvalue> == 0);
static_assert(callers_that_take<const changes&> == 0);
static_assert(callers_that_take<takes_an_int> == 0);

// blocking is the one that calls what it was given, as it was given.
template <class F>
concept blocking_takes = requires(F&& f) { weft::blocking(std::forward<F>(f)); };
static_assert(blocking_takes<as_rvalue> && !blocking_takes<as_rvalue&>);
static_assert(blocking_takes<as_lvalue&> && !blocking_takes<as_lvalue>);

// A budget may do either.
template <class F>
concept budget_takes = requires(weft::budget& b, F&& f) { b.go(std::forward<F>(f)); };
static_assert(budget_takes<as_lvalue> && budget_takes<move_only_function>);
static_assert(!budget_takes<const changes&> && !budget_takes<move_only_function&>);
static_assert(!budget_takes<as_rvalue>);

// run gives an exit code.
struct no_exit_code {
  const char* operator()() const { return ""; }
};
struct gives_a_bool {
  bool operator()() const { return true; }
};
struct gives_nothing {
  void operator()() const {}
};
static_assert(run_takes<gives_a_bool> && run_takes<gives_nothing>);
static_assert(!run_takes<no_exit_code>);

// What a functor calls its other members is its own affair.
struct has_an_entry {
  std::atomic<int>* calls;
  int entry = 0;
  void operator()() const { ++*calls; }
};
struct has_an_entry_function {
  std::atomic<int>* calls;
  static void entry(int) {}
  void operator()() const { ++*calls; }
};

TEST(Callable, AFunctorMayHaveAMemberOfAnyName) {
  weft::run([] {
    std::atomic<int> calls{0};
    weft::spawn(has_an_entry{&calls}).join();
    weft::spawn(has_an_entry_function{&calls}).join();
    weft::async(has_an_entry{&calls}).get();
    EXPECT_EQ(calls, 3);
  });
}

}  // namespace

// Nor does it matter what functions there are where it comes from.
namespace elsewhere {
template <class... Args>
int run(Args&&...) {
  return -1;
}
template <class... Args>
void on_ready(Args&&...) {}
struct gives_five {
  int operator()() const { return 5; }
};
struct closes {
  weft::chan<weft::unit> done;
  void operator()() const { done.close(); }
};
}  // namespace elsewhere

namespace {

TEST(Callable, FunctionsBesideItAreNotCalledInstead) {
  EXPECT_EQ(weft::run(elsewhere::gives_five{}), 5);
  weft::run([] {
    auto done = weft::make_chan<weft::unit>();
    auto r = weft::async(elsewhere::gives_five{});
    weft::on_ready(r, elsewhere::closes{done});
    EXPECT_EQ(done.recv(), std::nullopt);
  });
}

TEST(Callable, AConstFunctorIsCopiedAndTheCopyRuns) {
  weft::run([] {
    struct raises {
      std::atomic<int>* calls;
      void operator()() { ++*calls; }
    };
    std::atomic<int> calls{0};
    const raises f{&calls};
    weft::wait_group group;
    group.go(f);
    group.wait();
    weft::spawn(f).join();
    weft::async(f).get();
    EXPECT_EQ(calls, 3);
  });
}

TEST(Callable, AnRvalueIsCalledAsAnLvalue) {
  weft::run([] {
    EXPECT_EQ(weft::async(as_lvalue{}).get(), 1);
    EXPECT_EQ(weft::retry({}, as_lvalue{}), 1);
    weft::once_flag flag;
    weft::call_once(flag, as_lvalue{});
    weft::circuit_breaker breaker;
    EXPECT_EQ(breaker.run(as_lvalue{}), 1);
  });
  EXPECT_EQ(weft::run(as_lvalue{}), 1);
}

}  // namespace
