// SPDX-License-Identifier: Apache-2.0
// Tasks that belong together (errgroup): the first failure cancels the others and is what wait()
// tells. The group's tasks never outlive it: the destructor joins, and cancels first when it is run
// by an exception. Of the exceptions of its tasks wait() rethrows the first; one that comes while
// another is still to be rethrown, and one that nobody waited for, goes to the panic handler (as
// not fatal) or, without one, to the log.
//
// Tasks that the end of their runtime has cut off count as ended, with errc::canceled for an error:
// neither wait() nor the destructor of a group that outlives a runtime waits for them.
#pragma once

#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <source_location>
#include <system_error>
#include <type_traits>
#include <utility>

#include <weft/context.hpp>
#include <weft/detail/callable.hpp>
#include <weft/detail/counted_closure.hpp>
#include <weft/detail/spawn.hpp>
#include <weft/semaphore.hpp>
#include <weft/wait_group.hpp>

namespace weft::inline v0 {
namespace detail {

/// What a task may return.
template <class R>
concept task_result =
    std::is_void_v<R> || std::same_as<R, std::error_code> || std::same_as<R, result<void>>;

template <class F, class... Args>
concept task_of =
    held_function<F, Args...> && task_result<std::invoke_result_t<std::decay_t<F>&, Args...>>;

template <class F>
concept group_task = task_of<F, const context&> || task_of<F>;

/// The common part of task_group and supervisor.
class group_core {
 public:
  group_core(const group_core&) = delete;
  group_core& operator=(const group_core&) = delete;

  /// The context of the tasks: done when one has failed (task_group), or when wait has returned.
  [[nodiscard]] const weft::context& context() const noexcept { return scope_.ctx; }

  /// At most n tasks at once; go() then waits for room. Throws logic_error while tasks run, or for
  /// 0.
  WEFT_EXPORT void set_limit(std::size_t n);

  /// Cancels the tasks' context.
  void cancel(std::error_code cause = {}) noexcept { scope_.cancel(cause); }

  /// Waits for all tasks. Rethrows the first exception, once, whatever failed before it; returns
  /// the error of the first failure, which is errc::canceled where that was an exception.
  [[nodiscard]] WEFT_EXPORT std::error_code wait();
  /// The same as a result<>, at most until ctx is done: then its error. That ends the wait only:
  /// the tasks go on, and may be waited for again.
  [[nodiscard]] WEFT_EXPORT result<void> wait(const weft::context& ctx);

 protected:
  WEFT_EXPORT group_core(const weft::context& parent, bool cancel_on_failure,
                         const std::source_location& where);
  WEFT_EXPORT ~group_core();

  WEFT_EXPORT void enter();
  [[nodiscard]] WEFT_EXPORT result<void> enter(const weft::context& ctx);
  [[nodiscard]] WEFT_EXPORT bool try_enter();
  template <class F>
  WEFT_INLINE void start(F&& fn, const std::source_location& where);

 private:
  friend class counted_place<group_core>;
  template <class F>
  struct task;

  WEFT_EXPORT void leave() noexcept;
  WEFT_EXPORT void fail(std::error_code e, std::exception_ptr x) noexcept;
  WEFT_EXPORT void cut_off() noexcept;
  void count_in();
  void report(const std::exception_ptr& x) noexcept;
  [[nodiscard]] std::error_code outcome();

  cancelable_context scope_;
  const bool cancel_on_failure_;
  const int uncaught_;
  const void* const site_;
  wait_group tasks_;
  std::atomic<std::size_t> running_{0};
  std::unique_ptr<semaphore> limit_;
  spin_lock lock_;  // guards the rest
  bool failed_ = false;
  std::error_code error_;         // of the first failure
  std::exception_ptr exception_;  // the first one that wait() has not rethrown
};

template <class F>
struct group_core::task : counted_closure {
  counted_place<group_core> place;  // given back last: what fn owned is gone when wait() returns
  F fn;

  template <class G>
  task(group_core* g, G&& f) : place(g), fn(std::forward<G>(f)) {}

  void operator()() {
    // Noted, then rethrown by wait(): a task of a group does not end the process.
    try {
      run();
    } catch (...) {
      place->fail(make_error_code(errc::canceled), std::current_exception());
    }
  }
  void cut_off(bool /*begun*/) noexcept {
    if (place.owner() != nullptr) place->cut_off();
  }
  void run() {
    if constexpr (task_of<F, const weft::context&>) {
      note([this]() -> decltype(auto) { return std::invoke(fn, place->context()); });
    } else {
      note([this]() -> decltype(auto) { return std::invoke(fn); });
    }
  }
  template <class Call>
  void note(Call call) {
    using R = std::invoke_result_t<Call>;
    if constexpr (std::is_void_v<R>) {
      call();
    } else if constexpr (std::same_as<R, std::error_code>) {
      if (const std::error_code e = call()) place->fail(e, nullptr);
    } else {
      if (const R r = call(); !r) place->fail(r.error(), nullptr);
    }
  }
};

/// The task is counted already. (If it cannot be made, its place is given back on the way out.)
template <class F>
WEFT_INLINE void group_core::start(F&& fn, const std::source_location& where) {
  fiber_core* g =
      fiber_make(task<std::decay_t<F>>(this, std::forward<F>(fn)), site_of(where), nullptr);
  fiber_start(g);  // (of what was moved nothing is left here)
}

}  // namespace detail

/// A group whose first failure cancels the rest.
class task_group : public detail::group_core {
 public:
  /// (Not explicit: an aggregate makes its members from {}.)
  task_group(std::source_location where = std::source_location::current())
      : group_core(background(), true, where) {}
  explicit task_group(const weft::context& parent,
                      std::source_location where = std::source_location::current())
      : group_core(parent, true, where) {}

  /// Starts a task: fn returns void, std::error_code or result<void>, and takes nothing or the
  /// group's context. With a limit, waits for room first.
  template <detail::group_task F>
  WEFT_INLINE void go(F&& fn, std::source_location where = std::source_location::current()) {
    enter();
    start(std::forward<F>(*detail::launder_ptr(&fn)), where);
  }
  /// The same; ctx ends the waiting for room (not the task): then its error, and fn is untouched.
  /// errc::no_runtime where nothing could run it.
  template <detail::group_task F>
  [[nodiscard]] WEFT_INLINE result<void> go(
      const weft::context& ctx, F&& fn,
      std::source_location where = std::source_location::current()) {
    if (result<void> r = enter(ctx); !r) return r;
    start(std::forward<F>(*detail::launder_ptr(&fn)), where);
    return {};
  }
  /// The same if there is room; false otherwise.
  template <detail::group_task F>
  [[nodiscard]] WEFT_INLINE bool try_go(
      F&& fn, std::source_location where = std::source_location::current()) {
    if (!try_enter()) return false;
    start(std::forward<F>(*detail::launder_ptr(&fn)), where);
    return true;
  }
};

/// The same, but siblings of a failed task live on; wait() tells the first failure all the same. A
/// task that is to be started anew when it fails says so itself, with pauses and a limit:
///   g.go([&](const context& ctx) { return retry(ctx, {.max_attempts = 0}, serve_one); });
class supervisor : public detail::group_core {
 public:
  supervisor(std::source_location where = std::source_location::current())
      : group_core(background(), false, where) {}
  explicit supervisor(const weft::context& parent,
                      std::source_location where = std::source_location::current())
      : group_core(parent, false, where) {}

  template <detail::group_task F>
  WEFT_INLINE void go(F&& fn, std::source_location where = std::source_location::current()) {
    enter();
    start(std::forward<F>(*detail::launder_ptr(&fn)), where);
  }
  template <detail::group_task F>
  [[nodiscard]] WEFT_INLINE result<void> go(
      const weft::context& ctx, F&& fn,
      std::source_location where = std::source_location::current()) {
    if (result<void> r = enter(ctx); !r) return r;
    start(std::forward<F>(*detail::launder_ptr(&fn)), where);
    return {};
  }
  template <detail::group_task F>
  [[nodiscard]] WEFT_INLINE bool try_go(
      F&& fn, std::source_location where = std::source_location::current()) {
    if (!try_enter()) return false;
    start(std::forward<F>(*detail::launder_ptr(&fn)), where);
    return true;
  }
};

}  // namespace weft::inline v0
