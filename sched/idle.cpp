// SPDX-License-Identifier: Apache-2.0
#include "sched/idle.hpp"

#include <algorithm>

#include "runtime/stack_pool.hpp"
#include "sched/runtime_state.hpp"

namespace weft::inline v0::detail {

bool work_anywhere(runtime_state* rt) noexcept {
  if (!rt->inject.empty()) return true;
  for (const processor* p : rt->procs) {
    if (p->has_stealable()) return true;
  }
  return false;
}

namespace {

struct native_world : native_sync {
  using runtime = runtime_state;
  using processor = detail::processor;
  using machine = detail::machine;

  static WEFT_INLINE void light_barrier(const runtime* rt) noexcept { rt->light_barrier(); }
  static void heavy_barrier(const runtime* rt) noexcept { rt->heavy_barrier(); }
  static bool work_anywhere(runtime* rt) noexcept { return detail::work_anywhere(rt); }
  // Something that this P in particular has to do. (Its queues and runnext were empty when its M
  // gave up searching, and only an owner fills them.)
  static bool own_work(const machine* m) noexcept {
    const processor* p = m->p;
    return !p->mailbox.empty() || p->has_io_requests.load(std::memory_order_acquire) ||
           p->timers.next_when() < m->sleep_until;
  }
  static bool stopping(const runtime* rt) noexcept {
    return rt->stopping.load(std::memory_order_acquire);
  }
  static void start_machine(runtime* rt, processor* p, bool spinning) noexcept {
    static_cast<void>(detail::start_machine(rt, p, spinning));
  }
  static void adopt(machine* m, processor* p) noexcept { adopt_processor(m, p); }
  static std::uint64_t new_tag(machine* m) noexcept { return next_tag(m); }
  static void set_tag(machine* m, std::uint64_t tag) noexcept { detail::set_tag(m, tag); }
  static void wake(processor* p) noexcept { p->io->wake(); }
};

using protocol = idle_protocol<native_world>;

}  // namespace

void wake_if_idle(runtime_state* rt) noexcept { protocol::wake_if_idle(rt); }

void wake_one(runtime_state* rt) noexcept { protocol::wake_one(rt); }

namespace {

WEFT_NOINLINE void wake_one_and_exit(machine* m) noexcept {
  protocol::wake_one(m->rt);
  rt_exit(m);
}

}  // namespace

// (A tail call: a lone one, which is common, saves no register.)
WEFT_NOINLINE void wake_for_fresh(machine* m, const processor* p) noexcept {
  if (p->fresh.size() > 1) [[unlikely]] {
    wake_one_and_exit(m);
    return;
  }
  rt_exit(m);
}

void wake_processor(runtime_state* rt, processor* p) noexcept {
  // No barrier: this changes the very word in which a sleeper puts its bit up. If it comes first,
  // the sleeper's change reads from it and, after that, what was published; else it finds the bit.
  if (!rt->idle.take(p->index)) return;
  p->woken_to_spin.store(false, std::memory_order_relaxed);
  p->owner.store(owner_woken);
  protocol::hand_to_sleeper(rt, p, false);
}

namespace {

// Before the protocol takes m out of the count: whoever sees that sees this, too.
void note_end_of_search(machine* m) noexcept {
  if (m->spinning) ++m->searches;
}

}  // namespace

void stop_spinning(machine* m, bool found) noexcept {
  note_end_of_search(m);
  protocol::stop_spinning(m, found);
}

bool acquire_idle_processor(machine* m) noexcept { return protocol::acquire(m); }

namespace {

// What p keeps for its next fibers. After a period without any, the pools get it, and the kernel
// from them (memory_trim.hpp).
bool has_spares(const processor* p) noexcept { return !p->stacks.empty() || !p->fibers.empty(); }

void give_spares_back(processor* p) noexcept {
  p->stacks.flush();
  p->fibers.flush();
  p->slept_out = false;
}

}  // namespace

bool sleep_idle(machine* m) noexcept {
  runtime_state* rt = m->rt;
  processor* p = m->p;
  p->fresh.trim();
  if (p->slept_out) give_spares_back(p);
  const std::int64_t patience = has_spares(p) ? trim_period_ns() : never;
  p->io->prepare_wait();
  m->sleep_until = p->timers.next_when();
  note_end_of_search(m);
  if (protocol::give_up(m)) return true;
  if (rt->idle.count() == rt->n_procs.load()) static_cast<void>(check_deadlock(rt));
  rt_exit(m);
  std::int64_t timeout = patience;
  std::int64_t start = 0;
  if (m->sleep_until != never || patience != never) {
    start = now_ns();
    if (m->sleep_until != never) timeout = std::min(timeout, m->sleep_until - start);
  }
  if (timeout > 0) p->io->wait(timeout == never ? -1 : timeout);
  m->in_rt.store(1, std::memory_order_relaxed);
  const bool mine = protocol::settle(m);
  if (mine && patience != never) p->slept_out = now_ns() - start >= patience;
  if (mine && rt->sysmon_asleep.load(std::memory_order_relaxed)) sysmon_wake(rt);
  return mine;
}

}  // namespace weft::inline v0::detail
