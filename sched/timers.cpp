// SPDX-License-Identifier: Apache-2.0
// timer_start and friends: which P's heap a timer goes to, and who must hear of it.
#include <weft/detail/timer_node.hpp>
#include "sched/runtime_state.hpp"

namespace weft::inline v0::detail {
namespace {

// A P for callers that have none; its worker is woken if the new timer is its earliest.
processor* any_processor(runtime_state* rt) noexcept { return rt->procs.front(); }

}  // namespace

bool timer_start(timer_node* t, std::int64_t when) noexcept {
  bool ok = false;
  if (machine* m = this_machine()) {
    const rt_section section(m);
    if (processor* p = section.p()) {
      static_cast<void>(p->timers.insert(t, when, &ok));
      return ok;
    }
  }
  const runtime_hold hold;
  runtime_state* rt = hold.get();
  if (rt == nullptr) return false;
  processor* p = any_processor(rt);
  if (p->timers.insert(t, when, &ok)) {
    p->attention.store(true, std::memory_order_relaxed);
    wake_processor(rt, p);  // it may sleep with a later deadline
  }
  return ok;
}

bool timer_stop(timer_node* t) noexcept {
  // A periodic or re-armed node may move between heaps; heaps are never freed.
  while (timer_heap* heap = t->heap.load(std::memory_order_acquire)) {
    if (heap->remove(t)) return true;
  }
  return false;
}

bool timer_reset(timer_node* t, std::int64_t when) noexcept {
  const bool was_armed = timer_stop(t);
  static_cast<void>(timer_start(t, when));
  return was_armed;
}

}  // namespace weft::inline v0::detail
