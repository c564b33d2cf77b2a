// SPDX-License-Identifier: Apache-2.0
#include <weft/detail/cancel_node.hpp>

#include "sched/thread_fiber.hpp"

namespace weft::inline v0::detail {

bool cancel_locked(cancel_node* n, std::error_code err, std::error_code cause,
                   fiber_core** woken) noexcept {
  if (n->is_done.load(std::memory_order_relaxed)) return false;
  n->err = err;
  n->cause = cause;
  n->is_done.store(true, std::memory_order_release);  // pairs with cancel_node::done()
  while (waiter* w = n->waiters.pop_claimed()) {
    w->ok = false;
    fiber_core* g = w->g;
    g->wake_param = w->slot != nullptr ? w->slot : w;
    g->sched_next = *woken;
    *woken = g;
  }
  return true;
}

void ready_all(fiber_core* list) noexcept {
  while (list != nullptr) {
    fiber_core* g = list;
    list = g->sched_next;  // before ready(): afterwards g belongs to the scheduler
    g->sched_next = nullptr;
    ready(g);
  }
}

void wake_extras::fire_thunk(timer_node* t, std::int64_t /*now*/) noexcept {
  auto* x = reinterpret_cast<wake_extras*>(reinterpret_cast<char*>(t) -
                                           __builtin_offsetof(wake_extras, timer_));
  fiber_core* g = x->g_;
  std::uint32_t unclaimed = 0;
  if (!g->claim.compare_exchange_strong(unclaimed, 1, std::memory_order_acq_rel)) return;
  x->timed_out_ = true;
  g->wake_param = x;
  ready(g);
}

void wake_extras::arm(fiber_core* g) noexcept {
  g_ = g;
  if (node_ != nullptr) {
    ctx_waiter_.g = g;
    ctx_waiter_.slot = this;
    ctx_waiter_.owner = node_;
    ctx_waiter_.multi = true;
    fiber_core* woken = nullptr;
    node_->lock.lock();
    if (node_->is_done.load(std::memory_order_relaxed)) {
      // Cancelled since check(): we are our own waker.
      if (claim(&ctx_waiter_)) {
        g->wake_param = this;
        woken = g;
      }
    } else {
      node_->waiters.push_back(&ctx_waiter_);
      ctx_waiter_.sibling = g->waiters;
      g->waiters = &ctx_waiter_;
    }
    node_->lock.unlock();
    if (woken != nullptr) {
      ready(woken);
      return;
    }
  }
  if (deadline_ == never) return;
  if (g->is_thread()) {
    auto* thread = static_cast<thread_fiber*>(g);
    thread->extras = this;
    thread->deadline = deadline_;
  } else {
    static_cast<void>(timer_start(&timer_, deadline_));
  }
}

void wake_extras::disarm() noexcept {
  if (node_ != nullptr && ctx_waiter_.owner != nullptr) {
    node_->lock.lock();
    node_->waiters.remove(&ctx_waiter_);
    node_->lock.unlock();
  }
  if (deadline_ != never) static_cast<void>(timer_stop(&timer_));
}

}  // namespace weft::inline v0::detail
