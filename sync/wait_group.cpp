// SPDX-License-Identifier: Apache-2.0
#include <weft/wait_group.hpp>

#include "sync/queue_wait.hpp"

namespace weft::inline v0 {

void wait_group::take_back(std::int64_t n) {
  state_.fetch_sub(2 * n, std::memory_order_relaxed);
  throw logic_error("weft::wait_group: negative counter");
}

void wait_group::finished() noexcept {
  detail::wake_list woken;
  guard_.lock.lock();
  state_.fetch_and(~std::int64_t{1}, std::memory_order_relaxed);
  woken.add_all(queue_);
  guard_.lock.unlock();
  woken.ready();
}

result<void> wait_group::wait_until(detail::cancel_node* node) {
  detail::wake_extras extras(node, detail::never);
  if (auto e = extras.check()) return failure(e);
  guard_.lock.lock();
  std::int64_t s = state_.load(std::memory_order_acquire);  // acquire: pairs with done()
  do {
    if (s == 0) {
      guard_.lock.unlock();
      return {};
    }
  } while (!state_.compare_exchange_weak(s, s | waited_for, std::memory_order_acq_rel,
                                         std::memory_order_acquire));
  detail::waiter w;
  if (wait_in_queue(guard_, queue_, w, extras, detail::wait_reason::wait_group, this)) return {};
  guard_.lock.unlock();
  return failure(extras.error());
}

}  // namespace weft::inline v0
