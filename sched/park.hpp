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
  if (m == nullptr) return thread_fiber_of_caller();
  return m->current;
}

/// Its registers are saved, and it may run on any M: to be dispatched at once.
[[nodiscard]] WEFT_INLINE bool is_free(const fiber_core* g) noexcept {
  return g->m.load(std::memory_order_acquire) == nullptr && !g->is_pinned();
}

/// The same, and it has run before.
[[nodiscard]] WEFT_INLINE bool is_landed(const fiber_core* g) noexcept {
  return is_free(g) && g->stack_lo != nullptr;
}

/// Makes `next`, which is landed and taken from its queue, current on m.
WEFT_INLINE void dispatch_landed(machine* m, fiber_core* next) noexcept {
  next->m.store(m, std::memory_order_relaxed);
  next->state.store(fiber_state::running, std::memory_order_relaxed);
  m->current = next;
  load_thread_state(m, next);
}

/// From g to `next`, which is landed and taken from its queue. In a runtime section.
WEFT_INLINE fiber_core* leave_for_landed(machine* m, fiber_core* g, fiber_core* next) noexcept {
  save_thread_state(m, g);
  dispatch_landed(m, next);
  return next;
}

/// From g to `next`, which is fresh and taken from its queue, with `stack` for it. In a runtime
/// section.
WEFT_INLINE fiber_core* leave_for_fresh(machine* m, fiber_core* g, fiber_core* next,
                                        char* stack) noexcept {
  save_thread_state(m, g);
  place_on_stack(next, stack, stack_cache::usable_size(next->stack_class));
  next->m.store(m, std::memory_order_relaxed);
  next->state.store(fiber_state::running, std::memory_order_relaxed);
  m->current = next;
  *m->err = 0;
  *m->eh = {};
  return next;
}

/// From g to `next`, taken from its queue (null: the scheduler loop). In a runtime section.
WEFT_INLINE fiber_core* leave_for(machine* m, processor* p, fiber_core* g,
                                  fiber_core* next) noexcept {
  if (next != nullptr && is_landed(next)) [[likely]]
    return leave_for_landed(m, g, next);
  save_thread_state(m, g);
  if (next != nullptr) [[likely]] {
    if (is_free(next)) [[likely]] {
      prepare_dispatch(m, p, next);
      return next;
    }
    // Pinned, or still leaving its stack elsewhere. Waiting for it here, on a stack that somebody
    // may be waiting for in turn, could deadlock; the scheduler's own stack is waited for by
    // nobody.
    m->pending = next;
  }
  return to_scheduler_loop(m);
}

/// park_commit, but for the case that runnext is there.
[[nodiscard]] fiber_core* park_slowly(machine* m, fiber_core* g) noexcept;

/// park_commit of a plain thread or a pinned fiber.
[[nodiscard]] fiber_core* park_oddly(fiber_core* g) noexcept;

/// See park_commit.
[[nodiscard]] WEFT_INLINE fiber_core* park_here(fiber_core* g) noexcept {
  if ((g->flags & (fiber_is_thread | fiber_is_pinned)) != 0) [[unlikely]]
    return park_oddly(g);
  machine* m = machine_here();
  // (An ending runtime is noticed when the budget is spent.)
  if (processor* p = rt_enter_quick(m)) [[likely]] {
    fiber_core* next = p->runnext;
    if (next != nullptr && next != g && !p->parent_runs() && p->spend()) [[likely]] {
      p->runnext = nullptr;
      return leave_for(m, p, g, next);
    }
    rt_exit(m);
  }
  return park_slowly(m, g);
}

/// ready(), but for the case that g becomes runnext of this M's P.
void ready_slowly(machine* m, fiber_core* g) noexcept;

/// See ready.
WEFT_INLINE void ready_here(fiber_core* g) noexcept {
  machine* m = machine_here();
  if (m != nullptr && !g->is_thread() && m->rt == g->rt) [[likely]] {
    if (processor* p = rt_enter_quick(m)) [[likely]] {
      if (p->runnext == nullptr) [[likely]] {
        g->state.store(fiber_state::runnable, std::memory_order_relaxed);
        // No wake-up: this P runs it next. If it does not park soon, its next call here moves the
        // fiber to the ring, and sysmon sees runnext.
        p->runnext = g;
        rt_exit(m);
        return;
      }
      rt_exit(m);
    }
  }
  ready_slowly(m, g);
}

}  // namespace weft::inline v0::detail
