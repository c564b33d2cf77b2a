// SPDX-License-Identifier: Apache-2.0
#include <weft/latch.hpp>

#include "sync/queue_wait.hpp"

namespace weft::inline v0 {

latch::latch(std::ptrdiff_t count) : count_(count) {
  if (count < 0) throw logic_error("weft::latch: negative count");
}

void latch::count_down(std::ptrdiff_t n) {
  detail::wake_list woken;
  guard_.lock.lock();
  const bool possible = n >= 0 && n <= count_;
  if (possible && (count_ -= n) == 0) woken.add_all(queue_);
  guard_.lock.unlock();
  if (!possible) throw logic_error("weft::latch: counted below zero");
  woken.ready();
}

bool latch::try_wait() const noexcept {
  guard_.lock.lock();
  const bool open = count_ == 0;
  guard_.lock.unlock();
  return open;
}

result<void> latch::wait_until(detail::cancel_node* node) const {
  detail::wake_extras extras(node, detail::never);
  if (auto e = extras.check()) return failure(e);
  guard_.lock.lock();
  if (count_ == 0) {
    guard_.lock.unlock();
    return {};
  }
  detail::waiter w;
  if (wait_in_queue(guard_, queue_, w, extras, detail::wait_reason::semacquire, this)) return {};
  guard_.lock.unlock();
  return failure(extras.error());
}

}  // namespace weft::inline v0
