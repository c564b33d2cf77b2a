// SPDX-License-Identifier: Apache-2.0
#include "sched/idle.hpp"

#include "runtime/asymmetric_barrier.hpp"
#include "sched/runtime_state.hpp"

namespace weft::inline v0::detail {

bool work_anywhere(runtime_state* rt) noexcept {
  if (!rt->inject.empty()) return true;
  for (const processor* p : rt->procs) {
    if (p->has_queued()) return true;
  }
  return false;
}

void wake_if_idle(runtime_state* rt) noexcept {
  light_barrier();  // work was published before; pairs with the heavy barrier of sleep_idle
  if (!rt->idle.any() || rt->spinning.load(std::memory_order_relaxed) != 0) return;
  wake_one(rt);
}

void wake_one(runtime_state* rt) noexcept {
  do {
    int expected = 0;
    if (!rt->spinning.compare_exchange_strong(expected, 1)) return;  // a spinner will find it
    const int i = rt->idle.take_any();
    if (i >= 0) {
      processor* p = rt->procs[static_cast<std::size_t>(i)];
      p->woken_to_spin.store(true, std::memory_order_relaxed);
      p->owner.store(owner_woken);
      if (p->sleepers.load() > 0) {
        p->io->wake();
        return;
      }
      std::uint64_t woken = owner_woken;
      if (p->owner.compare_exchange_strong(woken, owner_claimed)) start_machine(rt, p, true);
      return;
    }
    rt->spinning.fetch_sub(1);
  } while (rt->idle.any());
}

void stop_spinning(machine* m, bool found) noexcept {
  if (!m->spinning) return;
  m->spinning = false;
  runtime_state* rt = m->rt;
  if (rt->spinning.fetch_sub(1) != 1 || !found) return;
  // The last spinner: submitters have relied on it. See the file's top. If no P is idle, nobody can
  // be woken, and one that goes idle from here on looks after its own barrier; count() reads after
  // our decrement in the one order of all these operations.
  if (rt->idle.count() == 0) return;
  heavy_barrier();
  if (rt->idle.any() && work_anywhere(rt)) wake_one(rt);
}

bool acquire_idle_processor(machine* m) noexcept {
  const int i = m->rt->idle.take_any();
  if (i < 0) return false;
  processor* p = m->rt->procs[static_cast<std::size_t>(i)];
  adopt_processor(m, p);
  if (p->sleepers.load() > 0) p->io->wake();  // the old sleeper finds its P gone
  return true;
}

namespace {

// Something that this P in particular has to do. (Its ring and runnext were empty when its M gave
// up searching, and only an owner fills them.)
bool own_work(const processor* p) noexcept {
  return !p->mailbox.empty() || p->has_io_requests.load(std::memory_order_acquire);
}

// After wait(): who owns the P now?
bool settle_after_wait(machine* m, processor* p) noexcept {
  p->sleepers.fetch_sub(1);
  if (m->rt->idle.take(p->index)) {
    adopt_processor(m, p);
  } else {
    std::uint64_t o = p->owner.load();
    // Whoever took the bit is about to say what for.
    while (o == owner_idle) {
      cpu_relax();
      o = p->owner.load();
    }
    m->epoch++;
    const std::uint64_t tag =
        (static_cast<std::uint64_t>(m->id) << 3) | (static_cast<std::uint64_t>(m->epoch) << 32);
    if (o != owner_woken || !p->owner.compare_exchange_strong(o, tag)) {
      m->p = nullptr;
      // A wake-up meant for another sleeper of this P may have ended up here.
      if (p->sleepers.load() > 0) p->io->wake();
      return false;
    }
    m->tag = tag;
    m->p = p;
    p->running_on.store(m, std::memory_order_relaxed);
    m->spinning = p->woken_to_spin.load(std::memory_order_relaxed);
  }
  if (p->sleepers.load() > 0) p->io->wake();  // flush out stale sleepers
  return true;
}

}  // namespace

bool sleep_idle(machine* m) noexcept {
  runtime_state* rt = m->rt;
  processor* p = m->p;
  p->io->prepare_wait();
  stop_spinning(m, false);
  const std::int64_t when = p->timers.next_when();
  p->woken_to_spin.store(false, std::memory_order_relaxed);
  p->sleepers.fetch_add(1);
  p->owner.store(owner_idle);
  rt->idle.put(p->index);
  heavy_barrier();
  const bool again = work_anywhere(rt) || own_work(p) || p->timers.next_when() < when ||
                     rt->stopping.load(std::memory_order_acquire);
  if (again && rt->idle.take(p->index)) {
    p->sleepers.fetch_sub(1);
    adopt_processor(m, p);
    m->spinning = true;
    rt->spinning.fetch_add(1);
    return true;
  }
  // (If `again` but the bit is gone, somebody has woken us already and wait() returns at once.)
  if (rt->idle.count() == rt->n_procs) check_deadlock(rt);
  rt_exit(m);
  std::int64_t timeout = -1;
  if (when != never) {
    const std::int64_t now = now_ns();
    timeout = when > now ? when - now : 0;
  }
  if (timeout != 0) p->io->wait(timeout);
  m->in_rt.store(1, std::memory_order_relaxed);
  const bool mine = settle_after_wait(m, p);
  if (mine && rt->sysmon_asleep.load(std::memory_order_relaxed)) sysmon_wake(rt);
  return mine;
}

}  // namespace weft::inline v0::detail
