// SPDX-License-Identifier: Apache-2.0
// The scheduler loop of an M: find something runnable, switch to it, come back when a fiber parks
// and nothing local is left (or when a full look around is due).
//
// Fairness: a P dispatches at most `dispatch_budget` fibers directly before it looks at timers,
// I/O, its mailbox and the inject queue; sysmon's `attention` asks for that look at least every
// 2 ms when dispatches are long. On that occasion runnext goes behind the ring, so a pair of
// fibers that wake each other passes every waiting fiber at most dispatch_budget times.
#include <sched.h>

#include <array>
#include <utility>

#include <weft/detail/fatal.hpp>
#include <weft/detail/random.hpp>
#include <weft/detail/spawn.hpp>
#include "runtime/debug.hpp"
#include "runtime/os.hpp"
#include "sched/runtime_state.hpp"

namespace weft::inline v0::detail {
namespace {

constexpr std::uint32_t dispatch_budget = 64;
constexpr std::uint32_t max_stolen = 64;
constexpr std::int64_t oldest_period_ns = 1'000'000;
constexpr std::uint32_t max_spin_ns = 50'000;  // a wake-up costs the waker 8 us and takes 14 us

}  // namespace

WEFT_NOINLINE void bind_stack(processor* p, fiber_core* g) noexcept {
  const stack_memory stack = p->stacks.acquire(g->stack_class);
  if (!stack) {
    fatal("no memory for a fiber stack (address space, or vm.max_map_count with mprotect guards)");
  }
  place_on_stack(g, stack.lo, stack.size);
  g->eh = {};
  g->saved_errno = 0;
}

namespace {

// The fiber may still be leaving its stack on another M: its registers are not saved before m is
// null. That M is inside a switch of a few instructions, unless the kernel has preempted it. Or
// sysmon holds it, over a system call or two (stack_hold.hpp).
void wait_until_left(const fiber_core* g) noexcept {
  for (int i = 0; g->m.load(std::memory_order_acquire) != nullptr; ++i) {
    if (i < 100) {
      cpu_relax();
    } else {
      ::sched_yield();
    }
  }
}

void release_dead_stack(machine* m, processor* p) noexcept {
  if (m->dead_stack == nullptr) return;
  if (p != nullptr) {
    p->stacks.release(m->dead_stack_class, m->dead_stack);
  } else {
    stack_release(m->dead_stack_class, m->dead_stack);
  }
  m->dead_stack = nullptr;
}

void queue_woken(processor* p, fiber_core* g) noexcept {
  if (p->queue.push(g)) [[likely]]
    return;
  std::array<fiber_core*, run_queue::capacity / 2> older;
  fiber_list half;
  const std::uint32_t n = p->queue.pop_half(older);
  for (std::uint32_t i = 0; i < n; ++i) half.push_back(older[i]);
  half.push_back(g);
  p->rt->inject.push(half);
  wake_if_idle(p->rt);
}

void queue_fresh(processor* p, fiber_core* g) noexcept {
  if (p->fresh.push(g)) [[likely]]
    return;
  p->rt->inject.push(g);  // no memory for a longer queue
  wake_if_idle(p->rt);
}

bool is_fresh(const fiber_core* g) noexcept { return g->stack_lo == nullptr; }

// p's M has told idle Ps, or is about to in this section.
void note_told(processor* p) noexcept {
  if (p->rt->notes_told) [[unlikely]]
    p->note_told();
}

void put_list(processor* p, fiber_list list) noexcept {
  while (fiber_core* g = list.pop_front()) {
    if (g->rt != p->rt) [[unlikely]] {  // a descriptor that several runtimes use
      ready(g);
      continue;
    }
    g->state.store(fiber_state::runnable, std::memory_order_relaxed);
    queue_woken(p, g);
  }
}

// The next of the queued fibers. Those that have run before come first, oldest first: they hold
// stacks, and it is their turn. One in max_favours goes to the others all the same.
fiber_core* next_queued(processor* p) noexcept {
  if (p->rt->randomise && fast_rand(4) == 0) [[unlikely]] {
    if (fiber_core* g = p->fresh.take_oldest()) return g;
  }
  if (p->favours >= max_favours) [[unlikely]] {
    p->favours = 0;
    if (fiber_core* g = p->fresh.pop()) return g;
  }
  if (fiber_core* g = p->queue.pop(p->alone)) {
    ++p->favours;
    return g;
  }
  p->favours = 0;
  return p->fresh.pop();
}

fiber_core* take_first(processor* p, fiber_list list) noexcept {
  fiber_core* g = list.pop_front();
  if (g == nullptr) return nullptr;
  g->state.store(fiber_state::runnable, std::memory_order_relaxed);
  if (!list.empty()) {
    put_list(p, list);
    wake_if_idle(p->rt);
    note_told(p);
  }
  return g;
}

}  // namespace

void look_around(processor* p) noexcept {
  p->attention.store(false, std::memory_order_relaxed);
  p->looks.store(p->looks.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  p->budget.store(dispatch_budget, std::memory_order_relaxed);
  if (p->rt->notes_told) [[unlikely]]
    p->forget_told();
  if (p->timers.next_when() != never) {
    const std::int64_t now = now_ns();
    p->rt->coarse_now.store(now, std::memory_order_relaxed);
    p->timers.run(now);
  }
  if (p->has_io_requests.load(std::memory_order_acquire)) {
    fiber_list fired;
    drain_io_requests(p, &fired);
    put_list(p, fired);
  }
  if (p->io->has_completions()) put_list(p, p->io->poll());
  if (!p->mailbox.empty()) put_list(p, p->mailbox.pop(run_queue::capacity));
  // Those that have not run yet take turns newest first, but now and then the oldest: by the clock
  // and not by count, or a tree of fibers would be walked breadth first.
  const std::int64_t now = p->rt->coarse_now.load(std::memory_order_relaxed);
  if (now - p->oldest_taken >= oldest_period_ns) {
    p->oldest_taken = now;
    if (fiber_core* g = p->fresh.take_oldest()) {
      queue_woken(p, g);
      p->favours = 0;
    }
  }
  // runnext has had its privilege; see the file's top.
  if (p->runnext != nullptr && p->has_queued()) {
    fiber_core* g = p->runnext;
    p->runnext = nullptr;
    queue_woken(p, g);
    p->favours = max_favours;
  }
}

namespace {

fiber_core* take_injected(processor* p) noexcept {
  const std::uint32_t waiting = p->rt->inject.size();
  if (waiting == 0) return nullptr;
  const auto share = waiting / static_cast<std::uint32_t>(p->rt->n_procs) + 1;
  return take_first(p, p->rt->inject.pop(share < 64 ? share : 64));
}

// Half of what has not run yet, the oldest first; one is returned, the rest become p's own.
fiber_core* steal_fresh(processor* victim, processor* p) noexcept {
  std::array<fiber_core*, max_stolen> got;
  const std::uint32_t n = victim->fresh.steal(got.data(), max_stolen);
  for (std::uint32_t i = 1; i < n; ++i) queue_fresh(p, got[i]);
  p->fresh_since = no_parent;
  return n == 0 ? nullptr : got[0];
}

// Without the time to look twice (more workers than cores) everything is ripe.
bool is_ripe(machine* m, const processor* p, std::int64_t now) noexcept {
  return !m->rt->spin_allowed() || m->eye.is_ripe(p, m->p, now);
}

fiber_core* steal(machine* m, processor* p) noexcept {
  runtime_state* rt = m->rt;
  const auto n = static_cast<std::uint32_t>(rt->procs.size());
  if (n < 2) return nullptr;
  std::uint32_t i = fast_rand(n);
  for (std::uint32_t k = 0; k < n; ++k, i = i + 1 == n ? 0 : i + 1) {
    processor* victim = rt->procs[i];
    if (victim == p) continue;
    fiber_core* g = victim->queue.steal_into(p->queue);
    if (g == nullptr && victim->has_stealable_fresh() && is_ripe(m, victim, now_ns())) {
      g = steal_fresh(victim, p);
    }
    if (g != nullptr) {
      p->steals.store(p->steals.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      note_told(p);  // by stop_spinning()
      return g;
    }
  }
  return nullptr;
}

// Due timers of Ps whose owner is busy; their fibers become ours.
bool run_timers_of_others(processor* p) noexcept {
  bool any = false;
  std::int64_t now = 0;
  for (processor* victim : p->rt->procs) {
    const std::int64_t when = victim->timers.next_when();
    if (victim == p || when == never) continue;
    if (now == 0) now = now_ns();
    if (when <= now) any |= victim->timers.run(now) != 0;
  }
  return any;
}

// Whether this M may join the search: not more than half of the busy ones.
bool may_spin(machine* m) noexcept {
  runtime_state* rt = m->rt;
  if (m->spinning) return true;
  if (2 * rt->spinning.load(std::memory_order_relaxed) >= rt->n_procs - rt->idle.count()) {
    return false;
  }
  rt->spinning.fetch_add(1);
  m->spinning = true;
  return true;
}

enum class prospect : std::uint8_t { nothing, unripe, work };

// What other Ps have for m.
prospect look_at_others(machine* m, const processor* mine, std::int64_t now) noexcept {
  prospect best = prospect::nothing;
  for (const processor* p : m->rt->procs) {
    if (p == mine) continue;
    if (!p->queue.empty()) return prospect::work;
    if (!p->has_stealable_fresh()) continue;
    if (is_ripe(m, p, now)) return prospect::work;
    best = prospect::unripe;
  }
  return best;
}

bool has_own_work(const runtime_state* rt, const processor* p) noexcept {
  return p->io->has_completions() || !rt->inject.empty() || !p->mailbox.empty() ||
         p->has_io_requests.load(std::memory_order_relaxed);
}

// Waits briefly before the M sleeps: waking a core costs far more than looking a little longer.
// Adaptive: the limit doubles when spinning paid and halves when it did not, so that an idle
// process and a slow ticker do not burn CPU. Other Ps are looked at once a microsecond: each look
// costs them a cache miss.
bool spin_for_work(machine* m, processor* p) noexcept {
  const runtime_state* rt = m->rt;
  if (!rt->spin_allowed()) return false;
  const std::int64_t start = now_ns();
  if (p->spin_limit < 1000) {
    // Nearly given up: try again now and then.
    if (fast_rand(16) != 0 && look_at_others(m, p, start) == prospect::nothing) return false;
    p->spin_limit = 4000;
  }
  const std::int64_t end = start + p->spin_limit;
  const std::int64_t timer = p->timers.next_when();
  for (std::int64_t now = start; now < timer && !rt->stopping.load(std::memory_order_relaxed);
       now = now_ns()) {
    const prospect others = look_at_others(m, p, now);
    bool found = others == prospect::work;
    if (others == prospect::nothing && now >= end) break;
    for (int i = 0; i < 20 && !found; ++i) {
      found = has_own_work(rt, p);
      cpu_relax();
    }
    if (found) {
      p->spin_limit = p->spin_limit * 2 < max_spin_ns ? p->spin_limit * 2 : max_spin_ns;
      return true;
    }
  }
  p->spin_limit /= 2;
  return false;
}

// One round over every source; null when all are empty.
fiber_core* search(machine* m, processor* p, bool injected_first) noexcept {
  look_around(p);
  if (injected_first) {
    if (fiber_core* g = take_injected(p)) return g;
  }
  if (fiber_core* g = pop_local(p)) return g;  // attention or not: nothing may be left behind here
  if (fiber_core* g = take_injected(p)) return g;
  if (may_spin(m)) {
    if (fiber_core* g = steal(m, p)) return g;
    if (run_timers_of_others(p)) {
      if (fiber_core* g = pop_local(p)) return g;
    }
  }
  return nullptr;
}

// Something else runs next than what the one before has started: nobody was woken for that, if it
// is a lone one.
void leave_fresh_behind(processor* p) noexcept {
  p->fresh_since = no_parent;
  if (!p->fresh.empty_here()) wake_if_idle(p->rt);
}

// Null: the P is gone, or has other things to do, or the runtime stops.
fiber_core* find_runnable(machine* m) noexcept {
  bool injected_first = true;
  while (!m->rt->stopping.load(std::memory_order_acquire) && !procs_change_due(m->p)) {
    processor* p = m->p;
    if (fiber_core* g = search(m, p, injected_first)) {
      if (p->fresh_since != no_parent) leave_fresh_behind(p);
      stop_spinning(m, true);
      return g;
    }
    injected_first = false;
    if (spin_for_work(m, p)) continue;
    if (!sleep_idle(m)) return nullptr;
  }
  // Its P has to go, perhaps: then others may rely on this search.
  stop_spinning(m, !m->rt->stopping.load(std::memory_order_relaxed));
  return nullptr;
}

// In a runtime section, for an M without a P. With a fiber to dispatch it takes an idle one; with
// none it waits in the pool for one that is handed over. (A P that sleeps has an M that sleeps with
// it, and to take that P is to wake that M and leave it without: if it took the next one, they
// would drive each other from P to P for ever.)
bool get_processor(machine* m) noexcept {
  bool got = false;
  if (m->pending != nullptr) {
    got = acquire_idle_processor(m);
    if (!got) {
      m->rt->inject.push(std::exchange(m->pending, nullptr));
      wake_if_idle(m->rt);
    }
  }
  reattach_machine(m);
  stop_spinning(m, true);  // it may have lost its P while it looked
  return got || pool_sleep(m);
}

}  // namespace

fiber_core* next_local(processor* p) noexcept {
  const bool parent_leaves = p->parent_runs();
  if (!p->spend()) return nullptr;
  fiber_core* g = pop_local(p);
  if (parent_leaves) leave_fresh_behind(p);
  return g;
}

fiber_core* pop_local(processor* p) noexcept {
  fiber_core* g = p->runnext;
  if (p->rt->randomise) [[unlikely]] {
    // Debug builds: runnext or ring by the toss of a coin.
    if (g != nullptr && fast_rand(2) == 0) {
      if (fiber_core* other = next_queued(p)) return other;
    }
  }
  if (g != nullptr) {
    p->runnext = nullptr;
    return g;
  }
  return next_queued(p);
}

namespace {

// fiber_start, but for the most common case. True: idle Ps were told.
bool start_fresh(processor* p, fiber_core* g) noexcept {
  const machine* m = machine_here();
  const bool by_fiber = m->current != &m->g0;  // else: by a timer's callback, say
  p->fresh_since = by_fiber ? p->budget.load(std::memory_order_relaxed) : no_parent;
  queue_fresh(p, g);
  fiber_core* old = p->runnext;
  if (old != nullptr) {
    p->runnext = nullptr;
    queue_woken(p, old);
  }
  const bool is_for_others = old != nullptr || !by_fiber || p->fresh.size() > 1;
  if (is_for_others) wake_if_idle(p->rt);
  return is_for_others;
}

// Force-migrate mode: g goes to the mailbox of another P. False: there is none in service.
bool migrate(const processor* p, fiber_core* g) noexcept {
  runtime_state* rt = p->rt;
  const auto n = static_cast<std::uint32_t>(rt->procs.size());
  if (n < 2) return false;
  const std::uint32_t other = (static_cast<std::uint32_t>(p->index) + 1 + fast_rand(n - 1)) % n;
  processor* target = rt->procs[other];
  if (target->retired.load(std::memory_order_relaxed)) return false;
  target->mailbox.push(g);
  // Its owner sees the mailbox at its next look; if it sleeps, it must be woken itself.
  target->attention.store(true, std::memory_order_relaxed);
  wake_processor(rt, target);  // changes a word atomically, which is a fence
  full_fence();                // (not everywhere); pairs with the heavy barrier of retire()
  if (target->retired.load(std::memory_order_relaxed)) {
    rt->inject.push(target->mailbox.pop(~0U));
    wake_if_idle(rt);
  }
  return true;
}

// True: idle Ps were told.
WEFT_INLINE bool put_here(processor* p, fiber_core* g) noexcept {
  if (is_fresh(g)) return start_fresh(p, g);
  fiber_core* old = p->runnext;
  p->runnext = g;
  if (old == nullptr) {
    // No wake-up: this P runs it next. If it does not park soon, its next call here moves the fiber
    // to the ring, and sysmon sees runnext.
    return false;
  }
  queue_woken(p, old);
  wake_if_idle(p->rt);
  return true;
}

// Force-migrate mode, or what idle Ps are told of is noted.
WEFT_NOINLINE void put_runnable_oddly(processor* p, fiber_core* g) noexcept {
  if (p->rt->force_migrate && migrate(p, g)) return;
  if (put_here(p, g)) note_told(p);
}

}  // namespace

void put_runnable(processor* p, fiber_core* g) noexcept {
  if (p->rt->wakes_oddly) [[unlikely]] {
    put_runnable_oddly(p, g);
    return;
  }
  static_cast<void>(put_here(p, g));
}

void schedule_loop(machine* m) noexcept {
  m->in_rt.store(1, std::memory_order_relaxed);
  while (!m->rt->stopping.load(std::memory_order_acquire)) {
    if (m->lock_depth != 0 && m->pending == nullptr) [[unlikely]] {
      wait_for_pinned(m);
      continue;
    }
    processor* p = rt_enter(m);
    release_dead_stack(m, p);
    if (p == nullptr) {
      if (!get_processor(m)) break;
      continue;
    }
    reattach_machine(m);
    fiber_core* g = m->pending;
    m->pending = nullptr;
    if (g == nullptr && procs_change_due(p)) [[unlikely]] {
      change_procs(m);
      continue;
    }
    if (g == nullptr) g = find_runnable(m);
    if (g == nullptr) continue;
    if (g->is_pinned() && !is_at_home(m, g)) [[unlikely]] {
      hand_to_home(m, g);
      continue;
    }
    wait_until_left(g);
    // (When all sleep, whoever wakes comes this way.)
    if (m->rt->deadlock_told.load(std::memory_order_relaxed)) [[unlikely]]
      m->rt->deadlock_told.store(false, std::memory_order_relaxed);
    prepare_dispatch(m, m->p, g);
    switch_to(&m->g0, g);
    m->current = &m->g0;
  }
  release_dead_stack(m, nullptr);
  stop_spinning(m, false);
  reattach_machine(m);
  rt_exit(m);
}

}  // namespace weft::inline v0::detail
