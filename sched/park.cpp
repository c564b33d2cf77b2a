// SPDX-License-Identifier: Apache-2.0
// Park, ready, yield: the moments at which a fiber changes hands.
//
// Locked instructions: yield 1 (0 with one P), park_commit 0 with runnext filled (1 when the ring
// is popped and there is more than one P), ready 0 into runnext, 1 more when it kicks another fiber
// out and finds a P idle.
#include "sched/park.hpp"

#include "runtime/os.hpp"
#include "runtime/signals.hpp"

namespace weft::inline v0::detail {
namespace {

// Picks where g's M goes from here. In a runtime section. Null: stay on g.
fiber_core* leave_for_next(machine* m, processor* p, fiber_core* g) noexcept {
  fiber_core* next = nullptr;
  // (A pinned fiber's M runs nobody else.)
  if (p != nullptr && !m->rt->stopping.load(std::memory_order_relaxed) && !g->is_pinned()) {
    next = next_local(p);
  }
  if (next == g) {
    // Woken before it had left, and picked again at once.
    g->state.store(fiber_state::running, std::memory_order_relaxed);
    rt_exit(m);
    return nullptr;
  }
  return leave_for(m, p, g, next);
}

// A yield that is more than a turn of the ring.
WEFT_NOINLINE switch_pair yield_slowly(machine* m) noexcept {
  if (m == nullptr) {
    ::sched_yield();
    return {nullptr, nullptr};
  }
  fiber_core* g = m->current;
  g->waiters = nullptr;  // of an earlier park: not there any more
  processor* p = rt_enter(m);
  if (m->rt->stopping.load(std::memory_order_relaxed)) return {g, abandon_current(m, g)};
  g->state.store(fiber_state::runnable, std::memory_order_relaxed);
  if (p == nullptr || !p->queue.push(g)) {
    m->rt->inject.push(g);
    wake_if_idle(m->rt);
    return {g, leave_for_next(m, p, g)};
  }
  const bool only_one = p->runnext == nullptr && p->queue.size() == 1;
  if (only_one && !p->fresh.empty_here()) {
    p->favours = max_favours;  // one that has not run yet comes before us
  } else if (only_one && p->spend() && p->rt->inject.empty()) {
    // Alone: take it back rather than tour the scheduler loop. (A thief may have been faster.)
    if (p->queue.pop(p->alone) == g) {
      g->state.store(fiber_state::running, std::memory_order_relaxed);
      rt_exit(m);
      return {g, nullptr};
    }
  }
  return {g, leave_for_next(m, p, g)};
}

WEFT_NOINLINE switch_pair yield_to(machine* m, processor* p, fiber_core* g,
                                   fiber_core* next) noexcept {
  return {g, leave_for(m, p, g, next)};
}

}  // namespace

WEFT_NOINLINE fiber_core* current_fiber() noexcept { return fiber_here(); }

fiber_core* park_commit(fiber_core* g) noexcept { return park_here(g); }

namespace {

WEFT_NOINLINE fiber_core* park_any_way(machine* m, fiber_core* g) noexcept {
  return leave_for_next(m, rt_enter(m), g);
}

WEFT_NOINLINE fiber_core* leave_for_contested(machine* m, processor* p, fiber_core* g) noexcept {
  return leave_for(m, p, g, p->fresh.settle());
}

}  // namespace

WEFT_NOINLINE fiber_core* park_oddly(fiber_core* g) noexcept {
  if (g->is_thread()) {
    thread_park(g);
    return nullptr;
  }
  return park_any_way(machine_here(), g);
}

// Most often, of the other cases, a parent waits for its children and the newest of them starts.
WEFT_NOINLINE fiber_core* park_slowly(machine* m, fiber_core* g) noexcept {
  processor* p = rt_enter_quick(m);
  if (p == nullptr) [[unlikely]]
    return park_any_way(m, g);
  if (p->runnext != nullptr || !p->queue.empty_here() || !p->spend()) {
    rt_exit(m);
    return park_any_way(m, g);
  }
  fiber_core* next = nullptr;
  if (!p->fresh.try_pop<membarrier_sync>(next)) [[unlikely]]
    return leave_for_contested(m, p, g);
  char* stack = next != nullptr ? p->stacks.take(next->stack_class) : nullptr;
  if (stack == nullptr) [[unlikely]]
    return yield_to(m, p, g, next).to;
  prefetch_fresh(p->fresh.after_pop(), 0);
  return leave_for_fresh(m, g, next, stack);
}

WEFT_NOINLINE void park_wait_slow(fiber_core* g) noexcept { park_wait(g); }

// All that is not most common is a tail call: no register is saved for it.
switch_pair yield_commit() noexcept {
  machine* m = machine_here();
  if (m == nullptr) [[unlikely]]
    return yield_slowly(m);
  processor* p = rt_enter_quick(m);
  if (p == nullptr) [[unlikely]]
    return yield_slowly(m);
  // A turn of the ring, if nothing else has a claim on this dispatch. (An ending runtime is noticed
  // when the budget is spent.)
  fiber_core* g = m->current;
  fiber_core* next = nullptr;
  if (p->runnext == nullptr && p->fresh.empty_here() && !g->is_pinned() && p->spend()) [[likely]]
    next = p->queue.rotate(g, p->alone);
  if (next == nullptr) [[unlikely]] {
    rt_exit(m);
    return yield_slowly(m);
  }
  g->waiters = nullptr;
  g->state.store(fiber_state::runnable, std::memory_order_relaxed);
  if (!is_landed(next)) [[unlikely]]
    return yield_to(m, p, g, next);
  return {g, leave_for_landed(m, g, next)};
}

fiber_core* abandon_current(machine* m, fiber_core* g) noexcept {
  g->state.store(fiber_state::abandoned, std::memory_order_relaxed);
  save_thread_state(m, g);
  return to_scheduler_loop(m);
}

void ready(fiber_core* g) noexcept { ready_here(g); }

WEFT_NOINLINE void ready_slowly(machine* m, fiber_core* g) noexcept {
  if (g->is_thread()) {
    thread_ready(g);
    return;
  }
  runtime_state* rt = g->rt;
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
  g->state.store(fiber_state::runnable, std::memory_order_release);  // see abandon_step
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
