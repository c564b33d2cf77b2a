// SPDX-License-Identifier: Apache-2.0
#include <weft/wait_group.hpp>

#include <new>

#include "sched/park.hpp"
#include "sync/queue_wait.hpp"

namespace weft::inline v0 {

void wait_group::take_back(std::int64_t n) {
  state_.fetch_sub(2 * n, std::memory_order_relaxed);
  throw logic_error("weft::wait_group: negative counter");
}

// Locked instructions: the lock, and the bit.
void wait_group::finished() noexcept {
  guard_.lock.lock();
  state_.fetch_and(~waited_for, std::memory_order_relaxed);
  detail::waiter* first = queue_.pop_claimed();
  if (first != nullptr && queue_.empty()) [[likely]] {
    detail::fiber_core* g = first->g;
    first->ok = true;
    g->wake_param = first;
    guard_.lock.unlock();
    detail::ready_here(g);
    return;
  }
  detail::wake_list woken;
  if (first != nullptr) woken.add(first);
  woken.add_all(queue_);
  guard_.lock.unlock();
  woken.ready();
}

// Guard held. False: the counter is 0.
bool wait_group::announce_wait() noexcept {
  std::int64_t s = state_.load(std::memory_order_acquire);  // acquire: pairs with done()
  do {
    if (s == 0) return false;
  } while (!state_.compare_exchange_weak(s, s | waited_for, std::memory_order_acq_rel,
                                         std::memory_order_acquire));
  return true;
}

// Guard held: one of those who wait gives up. The last one takes the bit along, or a done() that
// has nobody to wake would come for the guard, at a time when the group is in use again, or gone.
// False: such a done() is on its way already.
bool wait_group::take_wait_back() noexcept {
  if (!queue_.empty()) return true;
  std::int64_t s = state_.load(std::memory_order_relaxed);
  do {
    if (s == waited_for) return false;
  } while (!state_.compare_exchange_weak(s, s & ~waited_for, std::memory_order_relaxed));
  return true;
}

// Locked instructions: the lock, and the bit.
detail::switch_pair wait_group::start_waiting(void* record) noexcept {
  guard_.lock.lock();
  if (!announce_wait()) {
    guard_.lock.unlock();
    return {nullptr, nullptr};
  }
  detail::fiber_core* g = detail::fiber_here();
  park_begin(g, detail::wait_reason::wait_group, this);
  auto* w = ::new (record) detail::waiter{};
  w->g = g;
  w->owner = &guard_;
  g->waiters = w;
  queue_.push_back(w);
  guard_.lock.unlock();
  return {g, detail::park_here(g)};
}

result<void> wait_group::wait_until(detail::cancel_node* node) {
  detail::wake_extras extras(node, detail::never);
  if (auto e = extras.check()) return failure(e);
  guard_.lock.lock();
  if (!announce_wait()) {
    guard_.lock.unlock();
    return {};
  }
  detail::waiter w;
  if (wait_in_queue(guard_, queue_, w, extras, detail::wait_reason::wait_group, this)) return {};
  if (take_wait_back()) {
    guard_.lock.unlock();
    return failure(extras.error());
  }
  // The wait is over after all: for the done() that will wake us when it has been here.
  detail::wake_extras none(nullptr, detail::never);
  detail::waiter again;
  static_cast<void>(
      wait_in_queue(guard_, queue_, again, none, detail::wait_reason::wait_group, this));
  return {};
}

}  // namespace weft::inline v0
