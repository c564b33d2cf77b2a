// SPDX-License-Identifier: Apache-2.0
#include <weft/once.hpp>

#include "sync/queue_wait.hpp"

namespace weft::inline v0 {

result<bool> once_flag::begin(detail::cancel_node* node) {
  detail::wake_extras extras(node, detail::never);
  if (auto e = extras.check()) return failure(e);
  for (;;) {
    guard_.lock.lock();
    const std::uint32_t s = state_.load(std::memory_order_relaxed);
    if (s != running) {
      if (s == fresh) state_.store(running, std::memory_order_relaxed);
      guard_.lock.unlock();
      return s == fresh;
    }
    detail::waiter w;
    if (!wait_in_queue(guard_, queue_, w, extras, detail::wait_reason::once, this)) {
      guard_.lock.unlock();
      return failure(extras.error());
    }
    if (w.ok) return false;  // it has been run; else that call threw, and we try
  }
}

void once_flag::end(bool done) noexcept {
  detail::wake_list woken;
  guard_.lock.lock();
  while (detail::waiter* w = queue_.pop_claimed()) woken.add(w, done);
  // release: pairs with is_done().
  state_.store(done ? finished : fresh, std::memory_order_release);
  guard_.lock.unlock();
  woken.ready();
}

}  // namespace weft::inline v0
