// SPDX-License-Identifier: Apache-2.0
// How a closure becomes a fiber: allocate a G, build the closure in it, start it. The G's memory
// holds the closure (inline up to 64 bytes, else a pooled block), so starting a fiber allocates
// nothing in steady state.
#pragma once

#include <concepts>
#include <new>
#include <source_location>
#include <type_traits>
#include <utility>

#include <weft/detail/config.hpp>
#include <weft/detail/counted_closure.hpp>
#include <weft/detail/fiber_core.hpp>

namespace weft::inline v0 {
struct fiber_options;
}  // namespace weft::inline v0

namespace weft::inline v0::detail {

/// The one-word address of a source location: equal for the same call, printable later.
[[nodiscard]] WEFT_INLINE const void* site_of(const std::source_location& loc) noexcept {
  static_assert(sizeof(std::source_location) == sizeof(void*));
  return __builtin_bit_cast(const void*, loc);
}

/// A G of the calling fiber's (or the default) runtime with room for the closure at closure_of().
/// Throws no_runtime_error, bad_alloc.
[[nodiscard]] WEFT_EXPORT fiber_core* fiber_alloc(std::size_t closure_size,
                                                  std::size_t closure_align, const void* site,
                                                  const fiber_options* options);
[[nodiscard]] WEFT_EXPORT fiber_core* fiber_alloc_in(runtime_state* rt, std::size_t closure_size,
                                                     std::size_t closure_align, const void* site,
                                                     const fiber_options* options);
/// The same for a closure that fits the G, without options: the hot one.
[[nodiscard]] WEFT_EXPORT fiber_core* fiber_alloc_small(const void* site);
/// The same two, but they return also in a runtime that ends, where the others' callers leave for
/// good: for counted closures, whose place would be left in a frame that nobody looks into.
[[nodiscard]] WEFT_EXPORT fiber_core* fiber_alloc_counted(std::size_t closure_size,
                                                          std::size_t closure_align,
                                                          const void* site);
[[nodiscard]] WEFT_EXPORT fiber_core* fiber_alloc_small_counted(const void* site);
/// Gives a G back that was never started.
WEFT_EXPORT void fiber_discard(fiber_core* g) noexcept;
/// Makes it runnable.
WEFT_EXPORT void fiber_start(fiber_core* g) noexcept;
/// Drops a reference; the last one returns the G to its pool.
WEFT_EXPORT void fiber_unref(fiber_core* g) noexcept;

/// Before it is started: somebody beside the fiber itself will hold a reference.
inline void fiber_add_handle(fiber_core* g) noexcept {
  g->refs.store(2, std::memory_order_relaxed);
  g->join.store(nullptr, std::memory_order_relaxed);
}

template <class F>
inline constexpr bool fits_inline =
    sizeof(F) <= inline_closure_size && alignof(F) <= inline_closure_align;

template <class F>
[[nodiscard]] WEFT_INLINE F* closure_of(fiber_core* g) noexcept {
  if constexpr (fits_inline<F>) {
    return static_cast<F*>(static_cast<void*>(g->inline_closure));
  } else {
    return static_cast<F*>(g->block);
  }
}

template <class F>
void closure_entry(fiber_core* g, entry_op op) {
  F* f = closure_of<F>(g);
  if (op == entry_op::run) {
    static_cast<void>((*f)());  // if it throws, that is a panic, and its frames are kept
  } else if (op == entry_op::abandon) {
    if constexpr (std::derived_from<F, counted_closure>) {
      const bool begun = g->stack_lo != nullptr;
      f->cut_off(begun);
      if (begun) {
        f->place.give_back();
        return;
      }
    } else {
      return;
    }
  }
  f->~F();
  g->entry = nullptr;  // nothing left to destroy when the G is recycled
}

/// Of ours: a user's functor may have an `entry` of another kind.
template <class F>
concept has_own_entry = requires {
  { &F::entry } -> std::same_as<void (*)(fiber_core*, entry_op)>;
};

template <class F>
WEFT_INLINE fiber_core* fiber_make_in(runtime_state* rt, F&& fn, const void* site,
                                      const fiber_options* options) {
  using closure = std::decay_t<F>;
  fiber_core* g = nullptr;
  if constexpr (std::derived_from<closure, counted_closure>) {
    // (These have neither a runtime of their own nor options.)
    if constexpr (fits_inline<closure>) {
      g = fiber_alloc_small_counted(site);
    } else {
      g = fiber_alloc_counted(sizeof(closure), alignof(closure), site);
    }
  } else if (rt != nullptr) {
    g = fiber_alloc_in(rt, sizeof(closure), alignof(closure), site, options);
  } else if (options != nullptr || !fits_inline<closure>) {
    g = fiber_alloc(sizeof(closure), alignof(closure), site, options);
  } else {
    g = fiber_alloc_small(site);
  }
  if constexpr (std::is_nothrow_constructible_v<closure, F>) {
    ::new (launder_ptr(closure_of<closure>(g))) closure(std::forward<F>(*launder_ptr(&fn)));
  } else {
    try {
      ::new (launder_ptr(closure_of<closure>(g))) closure(std::forward<F>(*launder_ptr(&fn)));
    } catch (...) {
      fiber_discard(g);
      throw;
    }
  }
  if constexpr (has_own_entry<closure>) {
    g->entry = &closure::entry;  // keeps its result until the last handle is gone
  } else {
    g->entry = &closure_entry<closure>;
  }
  return g;
}

template <class F>
WEFT_INLINE fiber_core* fiber_make(F&& fn, const void* site, const fiber_options* options) {
  return fiber_make_in(nullptr, std::forward<F>(fn), site, options);
}

}  // namespace weft::inline v0::detail
