// SPDX-License-Identifier: Apache-2.0
// At most N fibers for one request, however deep its calls start them: so that no request takes the
// machine from the others.
//
//   weft::budget b(ctx, 8, weft::budget::adaptive);
//   for (auto& part : parts) weft::go_within(b.context(), [&](const weft::context& c) { ... });
//   b.wait();
//
// Beyond N a `strict` budget refuses, with errc::quota_exceeded; an `adaptive` one runs the
// function in the calling fiber, so the work is done all the same, only less of it at once. Nothing
// waits for a place, so budgets cannot deadlock. The budget travels explicitly, or in its context:
// go_within(ctx, fn) finds it there, also from a fiber that was itself started so.
//
// N counts fibers that the budget has started and that have not ended; the caller is not one of
// them. A place is free again when a fiber's function has returned and is destroyed. For fibers and
// plain threads; what runs inline runs on the caller's stack, so an adaptive recursion needs as
// much of it as an ordinary one. Fibers that the end of their runtime has cut off count as ended:
// neither wait() nor the destructor of a budget that outlives a runtime waits for them.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <source_location>
#include <type_traits>
#include <utility>

#include <weft/context.hpp>
#include <weft/detail/callable.hpp>
#include <weft/detail/config.hpp>
#include <weft/detail/counted_closure.hpp>
#include <weft/detail/runtime_hooks.hpp>
#include <weft/detail/spawn.hpp>
#include <weft/detail/spin_lock.hpp>
#include <weft/error.hpp>
#include <weft/fiber.hpp>
#include <weft/wait_group.hpp>

namespace weft::inline v0 {

class budget;

/// What happens beyond the limit.
enum class budget_mode : std::uint8_t {
  strict,    ///< go() fails with errc::quota_exceeded; the function is untouched
  adaptive,  ///< go() runs the function itself
};

/// Figures of a budget.
struct budget_stats {
  std::size_t in_use = 0;  ///< fibers that run
  std::size_t peak = 0;
  std::uint64_t started = 0;     ///< fibers ever
  std::uint64_t refused = 0;     ///< by a strict one
  std::uint64_t ran_inline = 0;  ///< by an adaptive one
};

namespace detail {

struct budget_key : context_key<budget*> {};
struct budget_access;

/// It runs in a fiber of its own, or where it is.
template <class F>
concept budget_task = (held_function<F, const context&> || held_function<F>) &&
                      (borrowed_function<F, const context&> || borrowed_function<F>);

/// In place of the context of a function that takes none.
struct no_context {
  explicit no_context(const context& /*ctx*/) noexcept {}
};
template <class F>
using context_for = std::conditional_t<std::invocable<F&, const context&>, context, no_context>;

template <class F, class C>
WEFT_INLINE void call_budgeted(F& fn, const C& ctx) {
  if constexpr (std::invocable<F&, const context&>) {
    static_cast<void>(std::invoke(fn, ctx));
  } else {
    static_cast<void>(ctx);
    static_cast<void>(std::invoke(fn));
  }
}

/// A function with the context it is to be given.
template <class F>
struct with_context {
  context ctx;
  F fn;
  void operator()() { static_cast<void>(std::invoke(fn, std::as_const(ctx))); }
};

}  // namespace detail

class budget {
 public:
  using enum budget_mode;

  /// Of at most `limit` fibers; 0 is allowed: an adaptive one then runs everything inline.
  explicit budget(std::size_t limit, budget_mode mode = budget_mode::strict,
                  std::source_location where = std::source_location::current())
      : budget(background(), limit, mode, where) {}
  /// The same, for the request of `parent`.
  WEFT_EXPORT budget(const weft::context& parent, std::size_t limit,
                     budget_mode mode = budget_mode::strict,
                     std::source_location where = std::source_location::current());
  budget(const budget&) = delete;
  budget& operator=(const budget&) = delete;
  /// Waits for the fibers. An exception that wait() has not rethrown goes to the panic handler (as
  /// not fatal) or, without one, to the log.
  WEFT_EXPORT ~budget();

  /// `parent` with this budget in it: what go_within() is given. Copies of it must not be used
  /// after the budget's end.
  [[nodiscard]] const weft::context& context() const noexcept { return ctx_; }
  /// The budget that ctx carries, the nearest one; null without.
  [[nodiscard]] static budget* of(const weft::context& ctx) noexcept {
    budget* const* found = ctx.value<detail::budget_key>();
    return found == nullptr ? nullptr : *found;
  }

  /// Calls fn, which takes nothing or a `const context&` (this budget's), in a fiber of its own, or
  /// here; see budget_mode. errc::no_runtime on a plain thread without a runtime. What fn returns
  /// is dropped; the first exception that leaves it is rethrown by wait(), wherever it ran.
  template <detail::budget_task F>
  [[nodiscard]] WEFT_INLINE result<void> go(
      F&& fn, std::source_location where = std::source_location::current()) {
    return start(ctx_, std::forward<F>(*detail::launder_ptr(&fn)), where);
  }

  /// Waits until no fiber of the budget runs; rethrows the first exception of all, once. Not from
  /// one of its fibers.
  WEFT_EXPORT void wait();
  /// The same, or until ctx is done: then its error.
  [[nodiscard]] WEFT_EXPORT result<void> wait(const weft::context& ctx);

  [[nodiscard]] std::size_t limit() const noexcept { return limit_; }
  [[nodiscard]] WEFT_EXPORT budget_stats stats() const noexcept;

 private:
  friend struct detail::budget_access;
  friend class detail::counted_place<budget>;

  enum class verdict : std::uint8_t { fiber, here, refused, no_runtime };

  template <class F>
  struct task;

  [[nodiscard]] WEFT_EXPORT verdict enter() noexcept;
  WEFT_EXPORT void leave() noexcept;
  WEFT_EXPORT void fail(std::exception_ptr x) noexcept;
  WEFT_EXPORT void rethrow();

  template <class F, class C>
  WEFT_INLINE void run(F& fn, const C& ctx) noexcept {
    try {
      detail::call_budgeted(fn, ctx);
    } catch (...) {
      fail(std::current_exception());
    }
  }

  template <class F>
  WEFT_INLINE result<void> start(const weft::context& ctx, F&& fn,
                                 const std::source_location& where) {
    switch (enter()) {
      case verdict::refused:
        return failure(errc::quota_exceeded);
      case verdict::no_runtime:
        return failure(errc::no_runtime);
      case verdict::here:
        run(*detail::launder_ptr(&fn), ctx);
        return {};
      case verdict::fiber:
        break;
    }
    // (If it cannot be made, its place is given back on the way out.)
    detail::fiber_core* g = detail::fiber_make(
        task<std::decay_t<F>>(this, ctx, std::forward<F>(*detail::launder_ptr(&fn))),
        detail::site_of(where), nullptr);
    detail::fiber_start(g);
    return {};
  }

  weft::context ctx_;
  const std::size_t limit_;
  const budget_mode mode_;
  const void* const site_;
  std::atomic<std::size_t> in_use_{0};
  std::atomic<std::size_t> peak_{0};
  std::atomic<std::uint64_t> started_{0};
  std::atomic<std::uint64_t> refused_{0};
  std::atomic<std::uint64_t> ran_inline_{0};
  wait_group fibers_;
  detail::spin_lock lock_;  // guards the first exception
  std::exception_ptr exception_;
};

template <class F>
struct budget::task : detail::counted_closure {
  // Given back last: what the others owned is gone when wait() returns, and it is free only then.
  detail::counted_place<budget> place;
  [[no_unique_address]] detail::context_for<F> ctx;
  F fn;

  template <class G>
  task(budget* b, const weft::context& c, G&& f) : place(b), ctx(c), fn(std::forward<G>(f)) {}
  void operator()() { place->run(fn, std::as_const(ctx)); }
  void cut_off(bool /*begun*/) noexcept {}
};

namespace detail {
struct budget_access {
  template <class F>
  WEFT_INLINE static result<void> start(budget& b, const context& ctx, F&& fn,
                                        const std::source_location& where) {
    return b.start(ctx, std::forward<F>(*launder_ptr(&fn)), where);
  }
};
}  // namespace detail

/// Calls fn, which takes nothing or a `const context&` (this one), in a fiber of its own under the
/// budget that ctx carries; see budget::go. Without one, as weft::go: then an exception that leaves
/// fn is a panic.
template <detail::budget_task F>
[[nodiscard]] WEFT_INLINE result<void> go_within(
    const context& ctx, F&& fn, std::source_location where = std::source_location::current()) {
  if (budget* b = budget::of(ctx)) {
    return detail::budget_access::start(*b, ctx, std::forward<F>(*detail::launder_ptr(&fn)), where);
  }
  if (detail::current_root_slot() == nullptr) return failure(errc::no_runtime);
  if constexpr (std::invocable<F&, const context&>) {
    weft::go(detail::with_context<std::decay_t<F>>{ctx, std::forward<F>(*detail::launder_ptr(&fn))},
             where);
  } else {
    weft::go(std::forward<F>(*detail::launder_ptr(&fn)), where);
  }
  return {};
}

}  // namespace weft::inline v0
