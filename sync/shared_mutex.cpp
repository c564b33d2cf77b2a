// SPDX-License-Identifier: Apache-2.0
#include <weft/shared_mutex.hpp>

#include <weft/detail/fatal.hpp>
#include "sync/queue_wait.hpp"

namespace weft::inline v0 {

bool shared_mutex::has_room(role r) const noexcept {
  return !written_ && (r == reader || readers_ == 0);
}

void shared_mutex::take_room(role r) noexcept {
  if (r == reader) {
    ++readers_;
  } else {
    written_ = true;
  }
}

/// Guard held.
bool shared_mutex::enter_now(role r) noexcept {
  if (!queue_.empty() || !has_room(r)) return false;
  take_room(r);
  return true;
}

/// Guard held: lets in whom the state allows, from the front of the queue.
template <class List>
void shared_mutex::admit(List& woken) noexcept {
  while (detail::waiter* w = queue_.front()) {
    const role r = static_cast<role>(w->index);
    if (!has_room(r)) return;
    queue_.remove(w);
    if (!claim(w)) continue;  // it has given up
    take_room(r);
    woken.add(w);
  }
}

bool shared_mutex::try_enter(role r) noexcept {
  guard_.lock.lock();
  const bool entered = enter_now(r);
  guard_.lock.unlock();
  return entered;
}

result<void> shared_mutex::lock_until(role r, detail::cancel_node* node, std::int64_t deadline) {
  detail::wake_extras extras(node, deadline);
  if (auto e = extras.check()) return failure(e);
  guard_.lock.lock();
  if (enter_now(r)) {
    guard_.lock.unlock();
    return {};
  }
  detail::waiter w;
  w.index = r;
  const auto reason =
      r == reader ? detail::wait_reason::rwmutex_rlock : detail::wait_reason::rwmutex_lock;
  if (wait_in_queue(guard_, queue_, w, extras, reason, this)) return {};
  detail::wake_list woken;
  admit(woken);  // we may have been in the way of others
  guard_.lock.unlock();
  woken.ready();
  return failure(extras.error());
}

void shared_mutex::unlock() noexcept {
  detail::wake_list woken;
  guard_.lock.lock();
  if (!written_) detail::fatal("unlock of an unlocked weft::shared_mutex");
  written_ = false;
  admit(woken);
  guard_.lock.unlock();
  woken.ready();
}

void shared_mutex::unlock_shared() noexcept {
  detail::wake_list woken;
  guard_.lock.lock();
  if (readers_ == 0) detail::fatal("unlock_shared of a weft::shared_mutex without readers");
  --readers_;
  admit(woken);
  guard_.lock.unlock();
  woken.ready();
}

}  // namespace weft::inline v0
