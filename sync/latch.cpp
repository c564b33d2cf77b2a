// SPDX-License-Identifier: Apache-2.0
#include <weft/latch.hpp>

#include "sync/queue_wait.hpp"

namespace weft::inline v0 {
namespace {

constexpr const char* below_zero = "weft::latch: counted below zero";

}  // namespace

latch::latch(std::ptrdiff_t count) : count_(count) {
  if (count < 0) throw logic_error("weft::latch: negative count");
}

void latch::count_down(std::ptrdiff_t n) {
  detail::wake_list woken;
  guard_.lock.lock();
  const bool possible = n >= 0 && n <= count_;
  if (possible && (count_ -= n) == 0) woken.add_all(queue_);
  guard_.lock.unlock();
  if (!possible) throw logic_error(below_zero);
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

result<void> latch::arrive_until(std::ptrdiff_t n, detail::cancel_node* node) {
  detail::wake_extras extras(node, detail::never);
  if (auto e = extras.check()) return failure(e);
  guard_.lock.lock();
  if (n < 0 || n > count_) {
    guard_.lock.unlock();
    throw logic_error(below_zero);
  }
  count_ -= n;
  if (count_ == 0) {
    detail::wake_list woken;
    woken.add_all(queue_);
    guard_.lock.unlock();
    woken.ready();
    return {};
  }
  detail::waiter w;
  if (wait_in_queue(guard_, queue_, w, extras, detail::wait_reason::semacquire, this)) return {};
  const bool open = count_ == 0;  // after all: our arrival has been used
  if (!open) count_ += n;
  guard_.lock.unlock();
  if (open) return {};
  return failure(extras.error());
}

}  // namespace weft::inline v0
