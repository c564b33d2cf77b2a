// SPDX-License-Identifier: Apache-2.0
// The wait that all objects of sync/ share: one waiter in one queue under one guard, perhaps beside
// a context or deadline; and the list of fibers that a waker collects under the guard and readies
// after it.
#pragma once

#include <weft/detail/cancel_node.hpp>
#include <weft/detail/park.hpp>
#include <weft/detail/waiter.hpp>

namespace weft::inline v0::detail {

/// Enqueues w (its slot and index are the caller's), releases the guard, parks.
/// True: a waker has popped w, see w.ok; the object may be gone.
/// False: the context or deadline ended the wait; w is unlinked and the guard is held again.
[[nodiscard]] inline bool wait_in_queue(waitable& guard, wait_queue& queue, waiter& w,
                                        wake_extras& extras, wait_reason reason,
                                        const void* object) noexcept {
  fiber_core* g = current_fiber();
  park_begin(g, reason, object);
  w.g = g;
  w.owner = &guard;
  w.multi = extras.needed();
  g->waiters = &w;
  queue.push_back(&w);
  guard.lock.unlock();
  if (!extras.needed()) {
    park_wait(g);
    return true;
  }
  extras.arm(g);
  park_wait(g);
  extras.disarm();
  if (g->wake_param != extras.token()) return true;
  guard.lock.lock();
  queue.remove(&w);
  return false;
}

/// Fibers to ready once the guard is free, in order.
class wake_list {
 public:
  wake_list() = default;
  wake_list(const wake_list&) = delete;
  wake_list& operator=(const wake_list&) = delete;

  /// w was popped, claimed, by us.
  void add(waiter* w, bool ok = true) noexcept {
    w->ok = ok;
    w->g->wake_param = w;
    w->g->sched_next = nullptr;
    *tail_ = w->g;
    tail_ = &w->g->sched_next;
  }
  void add_all(wait_queue& queue) noexcept {
    while (waiter* w = queue.pop_claimed()) add(w);
  }
  [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }
  /// With no guard held.
  void ready() noexcept {
    if (head_ != nullptr) ready_all(head_);
  }

 private:
  fiber_core* head_ = nullptr;
  fiber_core** tail_ = &head_;
};

}  // namespace weft::inline v0::detail
