// SPDX-License-Identifier: Apache-2.0
// g++ 12 to 14 lose the escape of a local whose address travels inside a struct (a lambda that
// captured it by reference) through forwarding functions that are not inlined, and then keep the
// local's old value. Every function below is that shape through the real API: it sets locals to one
// value, hands lambdas that change them to weft, and looks. They are kept apart (noinline) so that
// each is optimised by itself, and the locals are plain, as a user's are. The second half does the
// same with a user's own forwarding wrapper around each lambda, where only laundering inside weft
// helps if -fno-ipa-modref did not reach the compiler. Says ok.
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <weft/weft.hpp>

namespace {

using namespace std::chrono_literals;

#define APART __attribute__((noinline))

APART bool otherwise_changes_a_local() {
  bool more = true;
  const std::size_t taken = weft::select(weft::otherwise([&] { more = false; }));
  return taken == 0 && !more;
}

APART bool a_loop_ends_by_otherwise() {
  auto c = weft::make_chan<int>(4);
  for (int i = 1; i <= 4; ++i) c.send(i);
  int sum = 0;
  int rounds = 0;
  bool more = true;
  while (more && rounds < 100) {
    ++rounds;
    (void)weft::select(weft::on_recv(c, [&](std::optional<int> v) { sum += v.value_or(1000); }),
                       weft::otherwise([&] { more = false; }));
  }
  return sum == 10 && rounds == 5;
}

APART bool on_recv_changes_locals() {
  auto c = weft::make_chan<std::string>(1);
  c.send("a value that does not fit into a small string");
  std::string got = "before";
  std::size_t size = 0;
  (void)weft::select(weft::on_recv(c, [&](std::optional<std::string> v) {
    got = std::move(*v);
    size = got.size();
  }));
  return got == "a value that does not fit into a small string" && size == got.size();
}

APART bool a_parked_on_recv_changes_locals() {
  auto c = weft::make_chan<int>();
  int got = -1;
  weft::go([=] { c.send(7); });
  (void)weft::select(weft::on_recv(c, [&](std::optional<int> v) { got = *v; }),
                     weft::on_timeout(30s, [&] { got = -2; }));
  return got == 7;
}

APART bool on_send_takes_a_local_lvalue() {
  auto c = weft::make_chan<int>(1);
  int value = 1;
  bool sent = false;
  value = 5;
  (void)weft::select(weft::on_send(c, value, [&] {
    sent = true;
    value = 6;
  }));
  return sent && value == 6 && c.recv() == 5;
}

APART bool on_send_moves_a_local_rvalue_only_if_taken() {
  auto c = weft::make_chan<std::unique_ptr<int>>(1);
  auto value = std::make_unique<int>(5);
  int rounds = 0;
  for (bool more = true; more && rounds < 10;) {
    ++rounds;
    (void)weft::select(
        weft::on_send(c, std::move(value), [&] { value = std::make_unique<int>(9); }),
        weft::otherwise([&] { more = false; }));
  }
  auto got = c.recv();
  return rounds == 2 && value != nullptr && *value == 9 && got && **got == 5;
}

APART bool on_timeout_changes_a_local() {
  int ticks = 0;
  weft::chan<int> never;
  (void)weft::select(weft::on_recv(never, [&](std::optional<int>) { ticks = -1; }),
                     weft::on_timeout(1ms, [&] { ticks = 1; }));
  return ticks == 1;
}

APART bool on_done_changes_a_local() {
  auto [ctx, cancel] = weft::with_cancel(weft::background());
  int seen = 0;
  cancel();
  (void)weft::select(weft::on_done(ctx, [&] { seen = 3; }));
  return seen == 3;
}

APART bool wait_group_go_changes_locals() {
  int first = 1;
  int second = 1;
  weft::wait_group group;
  group.go([&] { first = 2; });
  group.go([&] { second = 3; });
  group.wait();
  return first == 2 && second == 3;
}

APART bool go_changes_a_local() {
  int value = 1;
  auto done = weft::make_chan<weft::unit>();
  weft::go([&] {
    value = 2;
    done.close();
  });
  (void)done.recv();
  return value == 2;
}

APART bool go_with_options_changes_a_local() {
  int value = 1;
  auto done = weft::make_chan<weft::unit>();
  weft::go({.name = "modref"}, [&] {
    value = 2;
    done.close();
  });
  (void)done.recv();
  return value == 2;
}

APART bool spawn_changes_a_local() {
  int value = 1;
  weft::fiber f = weft::spawn([&] { value = 2; });
  f.join();
  return value == 2;
}

APART bool async_changes_a_local_and_returns() {
  int value = 1;
  auto result = weft::async([&] {
    value = 2;
    return 40;
  });
  return result.get() + value == 42;
}

APART bool go_catching_changes_a_local() {
  int value = 1;
  auto done = weft::make_chan<weft::unit>();
  weft::go(weft::catching, [&] {
    value = 2;
    done.close();
  });
  (void)done.recv();
  return value == 2;
}

APART bool on_ready_changes_locals() {
  int made = 1;
  int seen = 1;
  auto done = weft::make_chan<weft::unit>();
  auto result = weft::async([&] { return made = 2; });
  weft::on_ready(result, [&](weft::future<int> r) {
    seen = r.get();
    done.close();
  });
  (void)done.recv();
  return made == 2 && seen == 2;
}

APART bool a_panic_handler_changes_a_local() {
  int value = 1;
  auto done = weft::make_chan<weft::unit>();
  weft::set_panic_handler([&](std::exception_ptr) {
    value = 2;
    done.close();
  });
  weft::go(weft::catching, [] { throw 1; });
  (void)done.recv();
  weft::set_panic_handler(nullptr);
  return value == 2;
}

APART bool blocking_changes_a_local() {
  int value = 1;
  weft::blocking([&] { value = 2; });
  return value == 2;
}

APART bool after_func_changes_a_local() {
  auto [ctx, cancel] = weft::with_cancel(weft::background());
  int value = 1;
  auto done = weft::make_chan<weft::unit>();
  auto handle = weft::after_func(ctx, [&] {
    value = 2;
    done.close();
  });
  cancel();
  (void)done.recv();
  return value == 2;
}

APART bool call_once_changes_a_local() {
  int value = 1;
  weft::once_flag once;
  weft::call_once(once, [&] { value = 2; });
  return value == 2;
}

APART bool task_group_go_changes_a_local() {
  int value = 1;
  weft::task_group group;
  group.go([&] { value = 2; });
  return !group.wait() && value == 2;
}

APART bool task_group_go_with_a_context_changes_a_local() {
  int value = 1;
  weft::task_group group;
  const auto r = group.go(weft::background(), [&] { value = 2; });
  return r && group.wait(weft::background()) && value == 2;
}

APART bool parallel_for_changes_locals() {
  int value = 1;
  weft::parallel_for(0, 1, [&](int) { value = 2; });
  const bool plain = value == 2;
  value = 1;
  const auto r = weft::parallel_for(weft::background(), 0, 1, [&](int) { value = 2; });
  return r && plain && value == 2;
}

APART bool retry_changes_locals() {
  int value = 1;
  int calls = 0;
  weft::retry({.initial = 1us}, [&] {
    value = 2;
    if (++calls < 3) throw calls;
  });
  return value == 2 && calls == 3;
}

APART bool retry_with_a_context_changes_locals() {
  int value = 1;
  bool has_deadline = false;
  const auto r = weft::retry(weft::background(), {.timeout = 1h}, [&](const weft::context& ctx) {
    value = 2;
    has_deadline = ctx.deadline().has_value();
  });
  return r && value == 2 && has_deadline;
}

APART bool circuit_breaker_run_changes_a_local() {
  int value = 1;
  weft::circuit_breaker breaker;
  return breaker.run([&] { value = 2; }) && value == 2;
}

APART bool singleflight_changes_a_local() {
  int value = 1;
  weft::singleflight<int, int> flights;
  return flights.do_(1, [&] { return value = 2; }).first == 2 && value == 2;
}

APART bool singleflight_with_a_context_changes_a_local() {
  int value = 1;
  weft::singleflight<int, int> flights;
  const auto r = flights.do_(weft::background(), 1, [&] { return value = 2; });
  return r && r->first == 2 && value == 2;
}

APART bool atomic_value_update_changes_a_local() {
  int value = 1;
  weft::atomic_value<int> v(5);
  v.update([&](int old) { return value = old + 1; });
  return *v.load() == 6 && value == 6;
}

APART bool budget_changes_locals() {
  int in_a_fiber = 1;
  weft::budget one(1);
  const bool started = one.go([&] { in_a_fiber = 2; }).has_value();
  one.wait();
  int here = 1;
  weft::budget none(0, weft::budget::adaptive);
  const bool ran = none.go([&](const weft::context&) { here = 2; }).has_value();
  int within = 1;
  const bool found = weft::go_within(none.context(), [&] { within = 2; }).has_value();
  return started && ran && found && in_a_fiber == 2 && here == 2 && within == 2;
}

APART bool worker_pool_changes_locals() {
  int submitted = 1;
  int awaited = 1;
  weft::worker_pool p({.max_workers = 1});
  const bool accepted = p.submit([&] { submitted = 2; }).has_value();
  auto f = p.async([&] { return awaited = 2; });
  const bool returned = f && f->get() == 2 && awaited == 2;
  p.drain();
  return accepted && returned && submitted == 2;
}

APART bool worker_pool_in_the_caller_changes_locals() {
  auto gate = weft::make_chan<int>();
  weft::worker_pool p({.max_workers = 1, .queue = 0, .on_full = weft::worker_pool::caller_runs});
  const bool busy = p.submit([gate] { (void)gate.recv(); }).has_value();
  int submitted = 1;
  int awaited = 1;
  const bool ran = p.submit([&] { submitted = 2; }).has_value();
  auto f = p.async([&] { return awaited = 2; });
  gate.close();
  return busy && ran && submitted == 2 && f && f->get() == 2 && awaited == 2;
}

APART bool pool_functions_change_locals() {
  int made = 1;
  weft::pool<int> maker([&] { return made = 2; });
  const bool right = *maker.get() == 2 && made == 2;
  int reset = 1;
  weft::pool<int> resetter({.reset = [&](int& v) { reset = v = 2; }});
  resetter.put(resetter.get());
  return right && reset == 2;
}

APART bool run_changes_a_local() {
  int value = 1;
  (void)weft::run([&] { value = 2; });
  return value == 2;
}

APART bool a_runtime_changes_locals() {
  int plain = 1;
  int named = 1;
  int caught = 1;
  int joined = 1;
  weft::wait_group started;
  weft::runtime rt;
  started.add(3);
  rt.go([&] {
    plain = 2;
    started.done();
  });
  rt.go({.name = "modref"}, [&] {
    named = 2;
    started.done();
  });
  rt.go(weft::catching, [&] {
    caught = 2;
    started.done();
  });
  started.wait();
  rt.spawn([&] { joined = 2; }).join();
  return plain == 2 && named == 2 && caught == 2 && joined == 2;
}

// --- a user's wrapper between the lambda and weft
// -------------------------------------------------

template <class F>
struct named {
  F f;
  void operator()() { f(); }
};
template <class F>
APART named<F> wrap_again(F f) {
  return named<F>{f};
}
template <class F>
APART named<F> wrapped(F& f) {
  return wrap_again(f);
}

APART bool wrapped_otherwise() {
  bool more = true;
  auto f = [&] { more = false; };
  (void)weft::select(weft::otherwise(wrapped(f)));
  return !more;
}

APART bool wrapped_on_timeout() {
  int value = 1;
  auto f = [&] { value = 2; };
  (void)weft::select(weft::on_timeout(1ms, wrapped(f)));
  return value == 2;
}

APART bool wrapped_on_send() {
  auto c = weft::make_chan<int>(1);
  int value = 1;
  auto f = [&] { value = 2; };
  (void)weft::select(weft::on_send(c, 1, wrapped(f)));
  return value == 2;
}

APART bool wrapped_go() {
  int value = 1;
  auto done = weft::make_chan<weft::unit>();
  auto f = [&] {
    value = 2;
    done.close();
  };
  weft::go(wrapped(f));
  (void)done.recv();
  return value == 2;
}

APART bool wrapped_go_catching() {
  int value = 1;
  auto done = weft::make_chan<weft::unit>();
  auto f = [&] {
    value = 2;
    done.close();
  };
  weft::go(weft::catching, wrapped(f));
  (void)done.recv();
  return value == 2;
}

APART bool wrapped_on_ready() {
  int value = 1;
  auto done = weft::make_chan<weft::unit>();
  auto f = [&] {
    value = 2;
    done.close();
  };
  weft::on_ready(weft::async([] {}), wrapped(f));
  (void)done.recv();
  return value == 2;
}

APART bool wrapped_wait_group_go() {
  int value = 1;
  auto f = [&] { value = 2; };
  weft::wait_group group;
  group.go(wrapped(f));
  group.wait();
  return value == 2;
}

APART bool wrapped_spawn() {
  int value = 1;
  auto f = [&] { value = 2; };
  weft::fiber fiber = weft::spawn(wrapped(f));
  fiber.join();
  return value == 2;
}

APART bool wrapped_async() {
  int value = 1;
  auto f = [&] { value = 2; };
  weft::async(wrapped(f)).get();
  return value == 2;
}

APART bool wrapped_blocking() {
  int value = 1;
  auto f = [&] { value = 2; };
  weft::blocking(wrapped(f));
  return value == 2;
}

APART bool wrapped_after_func() {
  auto [ctx, cancel] = weft::with_cancel(weft::background());
  int value = 1;
  auto done = weft::make_chan<weft::unit>();
  auto f = [&] {
    value = 2;
    done.close();
  };
  auto handle = weft::after_func(ctx, wrapped(f));
  cancel();
  (void)done.recv();
  return value == 2;
}

APART bool wrapped_call_once() {
  int value = 1;
  auto f = [&] { value = 2; };
  weft::once_flag once;
  weft::call_once(once, wrapped(f));
  return value == 2;
}

APART bool wrapped_task_group_go() {
  int value = 1;
  auto f = [&] { value = 2; };
  weft::task_group group;
  group.go(wrapped(f));
  return !group.wait() && value == 2;
}

APART bool wrapped_task_group_go_with_a_context() {
  int value = 1;
  auto f = [&] { value = 2; };
  weft::task_group group;
  const auto r = group.go(weft::background(), wrapped(f));
  return r && group.wait(weft::background()) && value == 2;
}

APART bool wrapped_retry() {
  int value = 1;
  auto f = [&] { value = 2; };
  weft::retry({}, wrapped(f));
  const bool once = value == 2;
  value = 1;
  return weft::retry(weft::background(), {}, wrapped(f)) && once && value == 2;
}

APART bool wrapped_circuit_breaker_run() {
  int value = 1;
  auto f = [&] { value = 2; };
  weft::circuit_breaker breaker;
  return breaker.run(wrapped(f)) && value == 2;
}

APART bool wrapped_singleflight() {
  int value = 1;
  auto f = [&] { value = 2; };
  weft::singleflight<int, void> flights;
  (void)flights.do_(1, wrapped(f));
  const bool once = value == 2;
  value = 1;
  return flights.do_(weft::background(), 1, wrapped(f)) && once && value == 2;
}

APART bool wrapped_budget_go() {
  int value = 1;
  auto f = [&] { value = 2; };
  weft::budget one(1);
  const bool started = one.go(wrapped(f)).has_value();
  one.wait();
  const bool once = value == 2;
  value = 1;
  weft::budget none(0, weft::budget::adaptive);
  return none.go(wrapped(f)) && started && once && value == 2;
}

APART bool wrapped_worker_pool() {
  int value = 1;
  auto f = [&] { value = 2; };
  weft::worker_pool p({.max_workers = 1});
  auto r = p.async(wrapped(f));
  if (!r) return false;
  r->get();
  const bool once = value == 2;
  value = 1;
  const bool accepted = p.submit(wrapped(f)).has_value();
  p.drain();
  return once && accepted && value == 2;
}

APART bool wrapped_runtime_spawn() {
  int value = 1;
  auto f = [&] { value = 2; };
  weft::runtime rt;
  rt.spawn(wrapped(f)).join();
  return value == 2;
}

APART bool wrapped_run() {
  int value = 1;
  auto f = [&] { value = 2; };
  (void)weft::run(wrapped(f));
  return value == 2;
}

struct property {
  const char* name;
  bool (*holds)();
};

#define PROPERTY(f) \
  property { #f, f }

const property in_a_fiber[] = {
    PROPERTY(otherwise_changes_a_local),
    PROPERTY(a_loop_ends_by_otherwise),
    PROPERTY(on_recv_changes_locals),
    PROPERTY(a_parked_on_recv_changes_locals),
    PROPERTY(on_send_takes_a_local_lvalue),
    PROPERTY(on_send_moves_a_local_rvalue_only_if_taken),
    PROPERTY(on_timeout_changes_a_local),
    PROPERTY(on_done_changes_a_local),
    PROPERTY(wait_group_go_changes_locals),
    PROPERTY(go_changes_a_local),
    PROPERTY(go_with_options_changes_a_local),
    PROPERTY(spawn_changes_a_local),
    PROPERTY(async_changes_a_local_and_returns),
    PROPERTY(go_catching_changes_a_local),
    PROPERTY(on_ready_changes_locals),
    PROPERTY(a_panic_handler_changes_a_local),
    PROPERTY(blocking_changes_a_local),
    PROPERTY(after_func_changes_a_local),
    PROPERTY(call_once_changes_a_local),
    PROPERTY(task_group_go_changes_a_local),
    PROPERTY(task_group_go_with_a_context_changes_a_local),
    PROPERTY(parallel_for_changes_locals),
    PROPERTY(retry_changes_locals),
    PROPERTY(retry_with_a_context_changes_locals),
    PROPERTY(circuit_breaker_run_changes_a_local),
    PROPERTY(singleflight_changes_a_local),
    PROPERTY(singleflight_with_a_context_changes_a_local),
    PROPERTY(atomic_value_update_changes_a_local),
    PROPERTY(budget_changes_locals),
    PROPERTY(worker_pool_changes_locals),
    PROPERTY(worker_pool_in_the_caller_changes_locals),
    PROPERTY(pool_functions_change_locals),
    PROPERTY(wrapped_otherwise),
    PROPERTY(wrapped_on_timeout),
    PROPERTY(wrapped_on_send),
    PROPERTY(wrapped_go),
    PROPERTY(wrapped_go_catching),
    PROPERTY(wrapped_on_ready),
    PROPERTY(wrapped_wait_group_go),
    PROPERTY(wrapped_spawn),
    PROPERTY(wrapped_async),
    PROPERTY(wrapped_blocking),
    PROPERTY(wrapped_after_func),
    PROPERTY(wrapped_call_once),
    PROPERTY(wrapped_task_group_go),
    PROPERTY(wrapped_task_group_go_with_a_context),
    PROPERTY(wrapped_retry),
    PROPERTY(wrapped_circuit_breaker_run),
    PROPERTY(wrapped_singleflight),
    PROPERTY(wrapped_budget_go),
    PROPERTY(wrapped_worker_pool),
};

bool report(const property& p) {
  const bool holds = p.holds();
  if (!holds) std::printf("wrong: %s\n", p.name);
  return holds;
}

}  // namespace

int main() {
  int wrong = 0;
  if (!report(PROPERTY(run_changes_a_local))) ++wrong;
  if (!report(PROPERTY(wrapped_run))) ++wrong;
  if (!report(PROPERTY(a_runtime_changes_locals))) ++wrong;
  if (!report(PROPERTY(wrapped_runtime_spawn))) ++wrong;
  wrong += weft::run([] {
    int count = 0;
    for (const property& p : in_a_fiber) {
      if (!report(p)) ++count;
    }
    return count;
  });
  if (wrong == 0) std::puts("ok");
  return wrong;
}
