// SPDX-License-Identifier: Apache-2.0
#include <weft/semaphore.hpp>

#include "sync/queue_wait.hpp"

namespace weft::inline v0 {
namespace {

std::size_t units_of(const detail::waiter* w) noexcept {
  return reinterpret_cast<std::size_t>(w->slot);
}

}  // namespace

/// Guard held: serves the front of the queue as far as the free units reach.
template <class List>
void semaphore::grant(List& woken) noexcept {
  while (detail::waiter* w = queue_.front()) {
    if (units_of(w) > free_) return;
    queue_.remove(w);
    if (!claim(w)) continue;  // it has given up
    free_ -= units_of(w);
    woken.add(w);
  }
}

bool semaphore::try_acquire(std::size_t n) noexcept {
  guard_.lock.lock();
  const bool ours = queue_.empty() && n <= free_;
  if (ours) free_ -= n;
  guard_.lock.unlock();
  return ours;
}

void semaphore::acquire(std::size_t n) {
  if (n > size_) throw logic_error("weft::semaphore: more units than there are");
  static_cast<void>(acquire_until(n, nullptr, detail::never));
}

result<void> semaphore::acquire_until(std::size_t n, detail::cancel_node* node,
                                      std::int64_t deadline) {
  detail::wake_extras extras(node, deadline);
  if (auto e = extras.check()) return failure(e);
  detail::waiter w;
  w.slot = reinterpret_cast<void*>(n);
  if (n > size_) {
    // Can never be served: not in the queue, where it would stop everybody.
    detail::waitable own_guard;
    detail::wait_queue own_queue;
    own_guard.lock.lock();
    static_cast<void>(
        wait_in_queue(own_guard, own_queue, w, extras, detail::wait_reason::semacquire, this));
    return failure(extras.error());
  }
  guard_.lock.lock();
  if (queue_.empty() && n <= free_) {
    free_ -= n;
    guard_.lock.unlock();
    return {};
  }
  if (wait_in_queue(guard_, queue_, w, extras, detail::wait_reason::semacquire, this)) return {};
  detail::wake_list woken;
  grant(woken);  // we may have been in the way of others
  guard_.lock.unlock();
  woken.ready();
  return failure(extras.error());
}

void semaphore::release(std::size_t n) {
  detail::wake_list woken;
  guard_.lock.lock();
  const bool possible = n <= size_ - free_;
  if (possible) {
    free_ += n;
    grant(woken);
  }
  guard_.lock.unlock();
  if (!possible) throw logic_error("weft::semaphore: released more than was taken");
  woken.ready();
}

std::size_t semaphore::available() const noexcept {
  guard_.lock.lock();
  const std::size_t n = free_;
  guard_.lock.unlock();
  return n;
}

}  // namespace weft::inline v0
