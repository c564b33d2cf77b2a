// SPDX-License-Identifier: Apache-2.0
// The waiter is in the queue before the mutex is given back, so a notification by whoever gets the
// mutex next finds it.
#include <weft/condition_variable.hpp>

#include "sync/queue_wait.hpp"

namespace weft::inline v0 {

void condition_variable::notify_one() noexcept {
  detail::wake_list woken;
  guard_.lock.lock();
  if (detail::waiter* w = queue_.pop_claimed()) woken.add(w);
  guard_.lock.unlock();
  woken.ready();
}

void condition_variable::notify_all() noexcept {
  detail::wake_list woken;
  guard_.lock.lock();
  woken.add_all(queue_);
  guard_.lock.unlock();
  woken.ready();
}

result<void> condition_variable::wait_until_ns(std::unique_lock<mutex>& lock,
                                               detail::cancel_node* node, std::int64_t deadline) {
  using namespace detail;
  if (!lock.owns_lock()) throw logic_error("weft::condition_variable: the lock is not held");
  wake_extras extras(node, deadline);
  if (auto e = extras.check()) return failure(e);
  waiter w;
  fiber_core* g = w.g = current_fiber();
  w.owner = &guard_;
  w.multi = extras.needed();
  park_begin(g, wait_reason::cond_wait, this);
  g->waiters = &w;
  guard_.lock.lock();
  queue_.push_back(&w);
  guard_.lock.unlock();
  lock.mutex()->unlock();
  if (w.multi) extras.arm(g);
  park_wait(g);
  bool served = true;
  if (w.multi) {
    extras.disarm();
    served = g->wake_param != extras.token();
    if (!served) {
      guard_.lock.lock();
      queue_.remove(&w);
      guard_.lock.unlock();
    }
  }
  lock.mutex()->lock();
  if (!served) return failure(extras.error());
  return {};
}

}  // namespace weft::inline v0
