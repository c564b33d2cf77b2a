// SPDX-License-Identifier: Apache-2.0
// While the last to arrive runs the completion, the next phase has not begun: missing_ is 0 and
// nobody can arrive but by misuse. release() opens it before anybody is let go.
#include <weft/barrier.hpp>

#include "sync/queue_wait.hpp"

namespace weft::inline v0::detail {

barrier_core::barrier_core(std::ptrdiff_t expected) : expected_(expected), missing_(expected) {
  if (expected <= 0) throw logic_error("weft::barrier: needs at least one participant");
}

bool barrier_core::arrive_locked() noexcept { return --missing_ == 0; }

bool barrier_core::arrive(bool leave_for_good) noexcept {
  guard_.lock.lock();
  if (leave_for_good) --expected_;
  const bool last = arrive_locked();
  guard_.lock.unlock();
  return last;
}

void barrier_core::release() noexcept {
  wake_list woken;
  guard_.lock.lock();
  missing_ = expected_;
  ++phase_;
  woken.add_all(queue_);
  guard_.lock.unlock();
  woken.ready();
}

bool barrier_core::arrive_or_wait() noexcept { return *arrive_or_wait(nullptr); }

result<bool> barrier_core::arrive_or_wait(cancel_node* node) noexcept {
  wake_extras extras(node, never);
  if (auto e = extras.check()) return failure(e);
  guard_.lock.lock();
  if (arrive_locked()) {
    guard_.lock.unlock();
    return true;
  }
  const std::uint64_t phase = phase_;
  waiter w;
  if (wait_in_queue(guard_, queue_, w, extras, wait_reason::semacquire, this)) return false;
  if (phase_ != phase) {  // complete after all: our arrival has been used
    guard_.lock.unlock();
    return false;
  }
  if (missing_ == 0) {
    // The phase is being completed and counts us in: no way back, release() is near.
    wake_extras none(nullptr, never);
    static_cast<void>(wait_in_queue(guard_, queue_, w, none, wait_reason::semacquire, this));
    return false;
  }
  ++missing_;
  guard_.lock.unlock();
  return failure(extras.error());
}

}  // namespace weft::inline v0::detail
