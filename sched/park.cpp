// SPDX-License-Identifier: Apache-2.0
// Park, ready, yield: the moments at which a fiber changes hands.
//
// Locked instructions: park_commit 0 with runnext filled (1 when the ring is popped), ready 0 into
// runnext, 1 more when it kicks another fiber out and finds a P idle.
#include <weft/detail/park.hpp>

#include "runtime/os.hpp"
#include "runtime/signals.hpp"
#include "sched/runtime_state.hpp"
#include "sched/thread_fiber.hpp"

namespace weft::inline v0::detail {
namespace {

// Picks where g's M goes from here. In a runtime section. Null: stay on g.
fiber_core* leave_for_next(machine* m, processor* p, fiber_core* g) noexcept {
  fiber_core* next = nullptr;
  if (p != nullptr && !m->rt->stopping.load(std::memory_order_relaxed)) next = next_local(p);
  if (next == g) {
    // Woken before it had left, and picked again at once.
    g->state.store(fiber_state::running, std::memory_order_relaxed);
    rt_exit(m);
    return nullptr;
  }
  save_thread_state(m, g);
  if (next != nullptr) {
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

}  // namespace

WEFT_NOINLINE fiber_core* current_fiber() noexcept {
  machine* m = this_machine();
  return m != nullptr ? m->current : thread_fiber_of_caller();
}

fiber_core* park_commit(fiber_core* g) noexcept {
  if (g->is_thread) {
    thread_park(g);
    return nullptr;
  }
  machine* m = this_machine();
  processor* p = rt_enter(m);
  g->waiting_since = m->rt->coarse_now.load(std::memory_order_relaxed);
  return leave_for_next(m, p, g);
}

WEFT_NOINLINE void park_wait_slow(fiber_core* g) noexcept { park_wait(g); }

fiber_core* yield_commit(fiber_core* g) noexcept {
  if (g->is_thread) {
    ::sched_yield();
    return nullptr;
  }
  machine* m = this_machine();
  processor* p = rt_enter(m);
  if (m->rt->stopping.load(std::memory_order_relaxed)) return abandon_current(m, g);
  g->state.store(fiber_state::runnable, std::memory_order_relaxed);
  if (p != nullptr && p->queue.push(g)) {
    const bool only_one = p->runnext == nullptr && p->queue.size() == 1;
    if (only_one && !p->fresh.empty()) {
      p->favours = max_favours;  // one that has not run yet comes before us
    } else if (only_one && p->budget > 0 && !p->attention.load(std::memory_order_relaxed) &&
               p->rt->inject.empty()) {
      // Alone: take it back rather than tour the scheduler loop. (A thief may have been faster.)
      --p->budget;
      if (p->queue.pop() == g) {
        g->state.store(fiber_state::running, std::memory_order_relaxed);
        rt_exit(m);
        return nullptr;
      }
    }
  } else {
    m->rt->inject.push(g);
    wake_if_idle(m->rt);
  }
  return leave_for_next(m, p, g);
}

fiber_core* abandon_current(machine* m, fiber_core* g) noexcept {
  g->state.store(fiber_state::abandoned, std::memory_order_relaxed);
  save_thread_state(m, g);
  m->current = &m->g0;
  load_thread_state(m, &m->g0);
  return &m->g0;
}

void ready(fiber_core* g) noexcept {
  if (g->is_thread) {
    thread_ready(g);
    return;
  }
  runtime_state* rt = g->rt;
  machine* m = this_machine();
  if (m != nullptr && m->rt == rt) {
    const rt_section section(m);
    g->state.store(fiber_state::runnable, std::memory_order_relaxed);
    if (processor* p = section.p()) {
      put_runnable(p, g);
    } else {
      rt->inject.push(g);
      wake_if_idle(rt);
    }
    return;
  }
  // From outside: the counter keeps the runtime from ending under us (runtime_stop waits for it,
  // and cannot have passed while g is still parked or on its way).
  rt->external.fetch_add(1);
  g->state.store(fiber_state::runnable, std::memory_order_relaxed);
  rt->inject.push(g);
  wake_if_idle(rt);
  rt->external.fetch_sub(1);
}

WEFT_NOINLINE void checkpoint() noexcept {
  machine* m = this_machine();
  if (m == nullptr || !m->rt->stopping.load(std::memory_order_relaxed)) return;
  fiber_core* g = m->current;
  if (g == &m->g0) return;
  m->in_rt.store(1, std::memory_order_relaxed);
  switch_to(g, abandon_current(m, g));
}

}  // namespace weft::inline v0::detail
