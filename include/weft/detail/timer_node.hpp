// SPDX-License-Identifier: Apache-2.0
// A timer as the scheduler sees it: a node that its owner embeds (a sleeping frame, a timer object,
// a context), in the heap of one P.
//
// `fire` runs on a worker with the heap's lock held and the node already disarmed (or re-armed, if
// period > 0). It must not block, allocate or call user code; it may claim and ready() a fiber,
// take waitable locks (rank 2) and start fibers. Because it runs under the lock, timer_stop() on
// return guarantees that it is not running and, if it returned true, that it never will.
// No waitable lock may be held when timer_start / timer_stop are called (rank 1 comes first).
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

class timer_heap;

inline constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();

struct timer_node {
  std::int64_t when = never;  // CLOCK_MONOTONIC, ns
  std::int64_t period = 0;    // > 0: fires again, drift-free
  void (*fire)(timer_node*, std::int64_t now) noexcept = nullptr;
  std::atomic<timer_heap*> heap{nullptr};  // where it is armed; null when not
  std::uint32_t pos = 0;                   // where in the heap, guarded by the heap's lock
  bool holds_itself = false;               // it is a self_held_timer
};

/// One that perhaps nobody knows any more but the heap it is armed in. When its runtime ends it is
/// told, so that somebody is left who frees it.
struct self_held_timer : timer_node {
  self_held_timer() noexcept { holds_itself = true; }
  /// Under the heap's lock: it will not fire. True: `let_go` is to be called. False: somebody is
  /// stopping it just now, and sees to the rest.
  bool (*give_up)(self_held_timer*) noexcept = nullptr;
  /// Without a lock; runs user code.
  void (*let_go)(self_held_timer*) noexcept = nullptr;
  self_held_timer* next_given_up = nullptr;
};

/// CLOCK_MONOTONIC now, ns.
[[nodiscard]] WEFT_EXPORT std::int64_t now_ns() noexcept;

/// now + d, saturating at `never`; negative d counts as 0.
[[nodiscard]] WEFT_EXPORT std::int64_t deadline_after(std::int64_t d_ns) noexcept;

/// Arms a disarmed node for `when`. From fibers and plain threads. Returns false when there is no
/// runtime to run it.
WEFT_EXPORT bool timer_start(timer_node* t, std::int64_t when) noexcept;

/// Disarms. True: it was armed and will not fire (again). On return `fire` is not running.
WEFT_EXPORT bool timer_stop(timer_node* t) noexcept;

/// stop + start in one; returns whether it was armed.
WEFT_EXPORT bool timer_reset(timer_node* t, std::int64_t when) noexcept;

}  // namespace weft::inline v0::detail
