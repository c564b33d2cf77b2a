// SPDX-License-Identifier: Apache-2.0
// Starting and ending a runtime.
#pragma once

#include <concepts>
#include <exception>
#include <functional>
#include <memory>
#include <source_location>
#include <type_traits>
#include <utility>

#include <weft/detail/callable.hpp>
#include <weft/detail/config.hpp>
#include <weft/detail/spawn.hpp>
#include <weft/error.hpp>
#include <weft/fiber.hpp>
#include <weft/options.hpp>
#include <weft/stats.hpp>

namespace weft::inline v0 {

class context;

namespace detail {

/// What run() takes: it gives an exit code, or nothing.
template <class F>
concept main_function =
    borrowed_function<F> && (std::is_void_v<std::invoke_result_t<F&>> ||
                             std::convertible_to<std::invoke_result_t<F&>, int>);

/// The main fiber's outcome, in the frame of the thread that called run.
struct main_outcome {
  std::exception_ptr exception;
  std::atomic<std::uint32_t> done{0};
};

/// Starts a runtime as the process default; throws std::system_error(errc::already_running).
[[nodiscard]] WEFT_EXPORT runtime_state* run_begin(const options& o);
/// Starts g and waits until the main fiber has set `done`, then ends the runtime.
WEFT_EXPORT void run_main(runtime_state* rt, fiber_core* g, main_outcome* outcome) noexcept;
WEFT_EXPORT void run_end(runtime_state* rt);
WEFT_EXPORT void signal_main_done(main_outcome* outcome) noexcept;

template <class F, class R>
struct main_closure {
  F* fn;
  main_outcome* outcome;
  R* result;
  void operator()() noexcept {
    try {
      if constexpr (std::is_void_v<std::invoke_result_t<F&>>) {
        std::invoke(*fn);
      } else {
        *result = static_cast<R>(std::invoke(*fn));
      }
    } catch (...) {
      outcome->exception = std::current_exception();
    }
    signal_main_done(outcome);
  }
};

template <class F>
int run_on(runtime_state* rt, F& fn, const void* site) {
  main_outcome outcome;
  int result = 0;
  main_closure<F, int> closure{launder_ptr(&fn), launder_ptr(&outcome), launder_ptr(&result)};
  const fiber_options fo{.name = "main"};
  fiber_core* g = fiber_make_in(rt, closure, site, &fo);
  run_main(rt, g, &outcome);
  if (outcome.exception) std::rethrow_exception(outcome.exception);
  return result;
}

}  // namespace detail

/// Starts a runtime, runs `fn` as its main fiber, ends the runtime and returns what fn returned, an
/// int (0 for void). While it runs it is the process's default runtime.
/// When the main fiber returns, the root context is cancelled, other fibers get `o.drain`, and the
/// rest are abandoned: they never run again and destructors in their frames do not run.
/// Throws what fn threw; std::system_error (errc::already_running) if a run is in progress, or the
/// kernel's error if threads or descriptors cannot be had.
template <detail::main_function F>
WEFT_INLINE int run(const options& o, F&& fn,
                    std::source_location loc = std::source_location::current()) {
  struct ender {
    detail::runtime_state* rt;
    ~ender() { detail::run_end(rt); }
  };
  const ender e{detail::run_begin(o)};
  return detail::run_on(e.rt, *detail::launder_ptr(&fn), detail::site_of(loc));
}

/// The same with default options.
template <detail::main_function F>
WEFT_INLINE int run(F&& fn, std::source_location loc = std::source_location::current()) {
  // By its full name: the namespace of F may have a run of its own.
  return weft::run(options{}, std::forward<F>(fn), loc);
}

/// Another number of Ps (fibers that run at the same time) for the caller's, or the default,
/// runtime: 1 to 256, or 0 for what affinity and cgroup quota allow, followed as they change.
/// Returns the number that was wanted before. Takes effect within milliseconds: a P that is one too
/// many hands its fibers, timers and polls on when the fiber on it parks, and is taken from one
/// that computes or blocks. Errors: invalid_argument, no_runtime. From any thread.
[[nodiscard]] WEFT_EXPORT result<int> set_procs(int n);

/// A runtime as an object, for programs with their own main loop. Several may exist; the oldest is
/// the default for plain threads while no `run` is in progress.
class WEFT_EXPORT runtime {
 public:
  /// Throws std::system_error when the kernel refuses threads or descriptors.
  explicit runtime(const options& o);
  /// The same with default options. (Not explicit: an aggregate makes its members from {}.)
  runtime() : runtime(options{}) {}
  runtime(const runtime&) = delete;
  runtime& operator=(const runtime&) = delete;
  /// As shutdown() without a context. Not from one of its own fibers.
  ~runtime();

  /// Starts a fiber here, from any thread, as weft::go does in the caller's runtime.
  template <detail::held_function F>
  WEFT_INLINE void go(F&& fn, std::source_location loc = std::source_location::current()) {
    detail::fiber_start(
        detail::fiber_make_in(state(), std::forward<F>(fn), detail::site_of(loc), nullptr));
  }
  template <detail::held_function F>
  WEFT_INLINE void go(const fiber_options& o, F&& fn,
                      std::source_location loc = std::source_location::current()) {
    detail::fiber_start(
        detail::fiber_make_in(state(), std::forward<F>(fn), detail::site_of(loc), &o));
  }
  template <std::same_as<catching_t> Tag, detail::held_function F>
  WEFT_INLINE void go(Tag /*tag*/, F&& fn,
                      std::source_location loc = std::source_location::current()) {
    using closure = detail::catching_closure<std::decay_t<F>>;
    detail::fiber_start(detail::fiber_make_in(state(),
                                              closure{std::forward<F>(*detail::launder_ptr(&fn))},
                                              detail::site_of(loc), nullptr));
  }
  /// Starts a fiber here that can be joined, from any thread.
  template <detail::held_function F>
  [[nodiscard]] WEFT_INLINE fiber
  spawn(F&& fn, std::source_location loc = std::source_location::current()) {
    return fiber(detail::spawn_handle(state(), std::forward<F>(fn), detail::site_of(loc), nullptr));
  }
  template <detail::held_function F>
  [[nodiscard]] WEFT_INLINE fiber spawn(
      const fiber_options& o, F&& fn, std::source_location loc = std::source_location::current()) {
    return fiber(detail::spawn_handle(state(), std::forward<F>(fn), detail::site_of(loc), &o));
  }
  /// Starts a fiber here whose result can be waited for, from any thread.
  template <detail::held_function F>
  [[nodiscard]] WEFT_INLINE auto async(F&& fn,
                                       std::source_location loc = std::source_location::current()) {
    return detail::future_maker::make(state(), std::forward<F>(fn), detail::site_of(loc));
  }
  /// Runs fn as a fiber and waits for it; from a plain thread. Rethrows what it threw.
  template <detail::main_function F>
  WEFT_INLINE int run(F&& fn, std::source_location loc = std::source_location::current()) {
    return detail::run_on(state(), *detail::launder_ptr(&fn), detail::site_of(loc));
  }
  [[nodiscard]] runtime_stats stats() const;
  /// As weft::set_procs, for this one.
  [[nodiscard]] result<int> set_procs(int n);
  /// Waits until all fibers have ended or ctx is done, then stops the workers; what is left is
  /// abandoned. Returns ctx's error in that case. Idempotent.
  [[nodiscard]] result<void> shutdown(const context& ctx);

 private:
  [[nodiscard]] detail::runtime_state* state() const;
  detail::runtime_state* rt_;
};

}  // namespace weft::inline v0
