// SPDX-License-Identifier: Apache-2.0
// The hot halves of park and ready, inlined into the functions of the library that end in one: a
// send that wakes, a receive that parks. They read the M by a plain load (machine_here), so only
// functions that are never inlined into others, and that contain no switch, may use them.
#pragma once

#include <weft/detail/park.hpp>

#include "sched/runtime_state.hpp"
#include "sched/thread_fiber.hpp"

namespace weft::inline v0::detail {

/// The calling fiber, or the stand-in of a plain thread.
[[nodiscard]] WEFT_INLINE fiber_core* fiber_here() noexcept {
  machine* m = machine_here();
  return m != nullptr ? m->current : thread_fiber_of_caller();
}

/// From g to `next`, already taken from its queue (null: the scheduler loop). In a runtime section.
WEFT_INLINE fiber_core* leave_for(machine* m, processor* p, fiber_core* g,
                                  fiber_core* next) noexcept {
  save_thread_state(m, g);
  if (next != nullptr) [[likely]] {
    if (next->on_cpu.load(std::memory_order_acquire) == 0) [[likely]] {
      prepare_dispatch(m, p, next);
      return next;
    }
    // Still leaving its stack elsewhere. Waiting for it here, on a stack that somebody may be
    // waiting for in turn, could deadlock; the scheduler's own stack is waited for by nobody.
    m->pending = next;
  }
  m->current = &m->g0;
  load_thread_state(m, &m->g0);
  return &m->g0;
}

/// park_commit, but for the case that runnext is there.
[[nodiscard]] fiber_core* park_slowly(machine* m, processor* p, fiber_core* g) noexcept;

/// See park_commit.
[[nodiscard]] WEFT_INLINE fiber_core* park_here(fiber_core* g) noexcept {
  if (g->is_thread) [[unlikely]] {
    thread_park(g);
    return nullptr;
  }
  machine* m = machine_here();
  processor* p = rt_enter(m);
  g->waiting_since = m->rt->coarse_now.load(std::memory_order_relaxed);
  // (An ending runtime is noticed when the budget is spent.)
  if (p != nullptr && p->runnext != nullptr && p->runnext != g && !p->shuffled && p->spend())
      [[likely]] {
    fiber_core* next = p->runnext;
    p->runnext = nullptr;
    p->has_runnext.store(false, std::memory_order_relaxed);
    return leave_for(m, p, g, next);
  }
  return park_slowly(m, p, g);
}

/// ready(), but for the case that g becomes runnext of this M's P.
void ready_slowly(machine* m, fiber_core* g) noexcept;

/// See ready.
WEFT_INLINE void ready_here(fiber_core* g) noexcept {
  machine* m = machine_here();
  if (m == nullptr || g->is_thread || m->rt != g->rt) [[unlikely]] {
    ready_slowly(m, g);
    return;
  }
  const bool outer = m->in_rt.load(std::memory_order_relaxed) != 0;
  processor* p = rt_enter(m);
  if (p != nullptr && p->runnext == nullptr && !p->shuffled) [[likely]] {
    g->state.store(fiber_state::runnable, std::memory_order_relaxed);
    // No wake-up: this P runs it next. If it does not park soon, its next call here moves the fiber
    // to the ring, and sysmon sees has_runnext.
    p->runnext = g;
    p->has_runnext.store(true, std::memory_order_relaxed);
  } else {
    ready_slowly(m, g);
  }
  if (!outer) rt_exit(m);
}

}  // namespace weft::inline v0::detail
