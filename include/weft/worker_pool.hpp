// SPDX-License-Identifier: Apache-2.0
// A pool of workers with a queue before them: for work that must not run in any number at once, and
// for code that was written for a thread pool.
//
// Workers are fibers of the runtime in which the pool was made (of the one that runs at the first
// submit, if there was none). A task that finds no idle worker starts a new one, up to
// `max_workers`; then it waits in the queue, first come, first served; and when that is full, what
// `on_full` says happens. (Callers that wait get places in the order in which they came.) The
// worker that went idle last gets the next task, so that those not needed stay idle, and end after
// `idle_timeout`, down to `min_workers`. The parameters are those of Java's ThreadPoolExecutor; but
// that one fills its queue before it adds a worker.
//
// All functions are for fibers and plain threads, at the same time. A task waits like any fiber,
// and keeps its worker while it does. A task must not wait for room in its own pool, nor destroy or
// drain it: it would wait for itself. Its labels are those of its submitter; values of fiber_local
// are its worker's.
//
// The destructor runs what has been accepted, and waits for it; unwinding, it cancels first. In
// steady state a submit takes nothing from the heap. A queued task is in the accounts as a fiber
// that has not run, by the line of its submit.
#pragma once

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <source_location>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <weft/context.hpp>
#include <weft/detail/callable.hpp>
#include <weft/detail/config.hpp>
#include <weft/detail/spawn.hpp>
#include <weft/error.hpp>
#include <weft/fiber.hpp>

namespace weft::inline v0 {

/// What a submit does when all workers are busy and the queue is full.
enum class when_full : std::uint8_t {
  block,        ///< waits for room
  reject,       ///< fails with errc::queue_full
  caller_runs,  ///< runs the task itself, which slows down whoever submits too much
};

/// A task that runs.
struct running_task {
  const char* file = "";  ///< where it was submitted
  std::uint32_t line = 0;
  const char* function = "";
  std::chrono::nanoseconds running_for{0};
};

struct worker_pool_options {
  /// So many workers are kept however long they are idle.
  std::size_t min_workers = 0;
  /// At most so many; 0: as many as the runtime has Ps when the pool is made, which is right for
  /// tasks that compute.
  std::size_t max_workers = 0;
  /// How many tasks may wait. 0: a task is accepted only if a worker can take it at once.
  std::size_t queue = 1024;
  when_full on_full = when_full::block;
  /// A worker beyond min_workers that was idle for so long ends.
  std::chrono::nanoseconds idle_timeout = std::chrono::seconds(10);
  /// A task that has run for so long is reported, once. Zero: none is.
  std::chrono::nanoseconds suspicious_after{0};
  /// Gets the report, in a fiber of its own. Empty: a line in the log.
  std::function<void(const running_task&)> on_suspicious{};
  /// Gets what a task of submit() threw, on its worker, which then goes on. Empty: the panic
  /// handler (see set_panic_handler; panic_info::fatal is false) or, without one, a line in the
  /// log. If it throws, that is a panic.
  std::function<void(const std::exception_ptr&)> on_exception{};
  /// Of the workers, as fiber_options::name and ::stack_size.
  std::string_view name{};
  std::size_t stack_size = 0;
};

/// Figures of a worker_pool.
struct worker_pool_stats {
  std::size_t workers = 0;
  std::size_t idle = 0;     ///< of them
  std::size_t queued = 0;   ///< accepted tasks that no worker has yet
  std::size_t blocked = 0;  ///< callers waiting for room
  std::size_t peak_workers = 0;
  std::uint64_t submitted = 0;   ///< accepted ever
  std::uint64_t done = 0;        ///< ended, dropped ones included
  std::uint64_t rejected = 0;    ///< refused for want of room
  std::uint64_t caller_ran = 0;  ///< run by their submitters
  std::uint64_t failed = 0;      ///< left by an exception (those of submit())
  std::uint64_t suspicious = 0;  ///< reported as running for too long
};

namespace detail {

template <class F>
concept worker_task = held_function<F, const context&> || held_function<F>;

/// What a task sees of its pool.
struct worker_pool_base {
  cancelable_context scope;
  std::atomic<bool> dropping{false};        // queued tasks are not to run
  std::atomic<runtime_state*> rt{nullptr};  // whose fibers the workers are
};
struct worker_pool_impl;

template <class F>
WEFT_INLINE decltype(auto) call_task(worker_pool_base* pool, F& fn) {
  if constexpr (std::invocable<F&, const context&>) {
    return std::invoke(fn, std::as_const(pool->scope.ctx));
  } else {
    return std::invoke(fn);
  }
}

/// A task whose result nobody wants.
template <class F>
struct plain_task {
  worker_pool_base* pool;
  F fn;
  void operator()() {
    if (pool->dropping.load(std::memory_order_relaxed)) return;
    static_cast<void>(call_task(pool, fn));
  }
};

/// A task with a future.
template <class F>
struct future_task {
  worker_pool_base* pool;
  F fn;
  decltype(auto) operator()() {
    if (pool->dropping.load(std::memory_order_relaxed)) {
      throw std::system_error(make_error_code(errc::canceled), "weft::worker_pool");
    }
    return call_task(pool, fn);
  }
};

}  // namespace detail

class worker_pool {
 public:
  using enum when_full;

  /// Starts min_workers if a runtime runs. Throws logic_error for more min_workers than
  /// max_workers.
  WEFT_EXPORT explicit worker_pool(worker_pool_options o,
                                   std::source_location where = std::source_location::current());
  /// The same with default options. (Not explicit: an aggregate makes its members from {}. A
  /// template: {} in place of an argument still means the options.)
  template <class = void>
  worker_pool(std::source_location where = std::source_location::current())
      : worker_pool(worker_pool_options{}, where) {}
  worker_pool(const worker_pool&) = delete;
  worker_pool& operator=(const worker_pool&) = delete;
  /// close(), and drain(); cancel() before when it is run by an exception. If the workers' runtime
  /// has ended, what was left is reported as lost.
  WEFT_EXPORT ~worker_pool();

  /// Has a worker call fn, which takes nothing or a `const context&` (see context()); its value is
  /// dropped. errc::queue_full, ::closed, ::no_runtime; fn is untouched then. Waits for room under
  /// `block`.
  template <detail::worker_task F>
  [[nodiscard]] WEFT_INLINE result<void> submit(
      F&& fn, std::source_location where = std::source_location::current()) {
    return submit_task(nullptr, std::forward<F>(*detail::launder_ptr(&fn)), where);
  }
  /// The same; ctx ends the waiting for room (not the task).
  template <detail::worker_task F>
  [[nodiscard]] WEFT_INLINE result<void> submit(
      const weft::context& ctx, F&& fn,
      std::source_location where = std::source_location::current()) {
    return submit_task(detail::node_of(ctx), std::forward<F>(*detail::launder_ptr(&fn)), where);
  }

  /// The same with a future for what fn returns or throws: result<future<T>>. That of a task that
  /// cancel() has dropped throws std::system_error(errc::canceled).
  template <detail::worker_task F>
  [[nodiscard]] WEFT_INLINE auto async(
      F&& fn, std::source_location where = std::source_location::current()) {
    return async_task(nullptr, std::forward<F>(*detail::launder_ptr(&fn)), where);
  }
  template <detail::worker_task F>
  [[nodiscard]] WEFT_INLINE auto async(
      const weft::context& ctx, F&& fn,
      std::source_location where = std::source_location::current()) {
    return async_task(detail::node_of(ctx), std::forward<F>(*detail::launder_ptr(&fn)), where);
  }

  /// The context of the tasks: done after cancel().
  [[nodiscard]] const weft::context& context() const noexcept { return base_->scope.ctx; }

  /// From now on submits fail with errc::closed, also those that wait; what was accepted runs.
  WEFT_EXPORT void close() noexcept;
  /// close(), and the context is cancelled, and tasks that have not begun are dropped: their
  /// futures throw.
  WEFT_EXPORT void cancel(std::error_code cause = {}) noexcept;
  /// close(), and waits until all that was accepted has ended, and the workers with it. What was
  /// under way in a runtime that has ended is reported as lost, and not waited for.
  WEFT_EXPORT void drain() noexcept;
  /// The same, at most until ctx is done: then its error. The pool stays closed.
  [[nodiscard]] WEFT_EXPORT result<void> drain(const weft::context& ctx);

  [[nodiscard]] WEFT_EXPORT worker_pool_stats stats() const noexcept;
  /// The tasks that have been running for at least so long.
  [[nodiscard]] WEFT_EXPORT std::vector<running_task> running(
      std::chrono::nanoseconds for_at_least = {}) const;

 private:
  /// Takes a place for a task. True: the caller is to run it itself.
  [[nodiscard]] WEFT_EXPORT result<bool> enter(detail::cancel_node* node);
  /// Gives it back.
  WEFT_EXPORT void leave(bool here) noexcept;
  /// Fills it.
  WEFT_EXPORT void hand_in(detail::fiber_core* g, bool here);

  struct place {
    worker_pool* pool;  // null once it is filled
    bool here;
    ~place() {
      if (pool != nullptr) pool->leave(here);
    }
    void fill(detail::fiber_core* g) { std::exchange(pool, nullptr)->hand_in(g, here); }
  };
  [[nodiscard]] detail::runtime_state* runtime() const noexcept {
    return base_->rt.load(std::memory_order_acquire);
  }

  template <class F>
  WEFT_INLINE result<void> submit_task(detail::cancel_node* node, F&& fn,
                                       const std::source_location& where) {
    using task = detail::plain_task<std::decay_t<F>>;
    const result<bool> here = enter(node);
    if (!here) return failure(here.error());
    place p{this, *here};
    p.fill(detail::fiber_make_in(runtime(), task{base_, std::forward<F>(*detail::launder_ptr(&fn))},
                                 detail::site_of(where), nullptr));
    return {};
  }

  template <class F>
  WEFT_INLINE auto async_task(detail::cancel_node* node, F&& fn,
                              const std::source_location& where) {
    using task = detail::future_task<std::decay_t<F>>;
    using outcome = result<future<std::invoke_result_t<task&>>>;
    const result<bool> here = enter(node);
    if (!here) return outcome(failure(here.error()));
    place p{this, *here};
    detail::fiber_core* g = detail::future_maker::prepare(
        runtime(), task{base_, std::forward<F>(*detail::launder_ptr(&fn))}, detail::site_of(where));
    outcome r(detail::future_maker::of<task>(g));
    p.fill(g);
    return r;
  }

  detail::worker_pool_base* base_;
};

}  // namespace weft::inline v0
