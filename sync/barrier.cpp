// SPDX-License-Identifier: Apache-2.0
// While the last to arrive runs the completion, the next phase has not begun: missing_ is 0 and
// nobody can arrive but by misuse. release() opens it before anybody is let go.
#include <weft/barrier.hpp>

#include "sync/queue_wait.hpp"

namespace weft::inline v0::detail {

barrier_core::barrier_core(std::ptrdiff_t expected) : expected_(expected), missing_(expected) {
  if (expected <= 0) throw logic_error("weft::barrier: needs at least one participant");
}

bool barrier_core::arrive_locked(std::ptrdiff_t n) noexcept { return (missing_ -= n) == 0; }

barrier_core::arrived barrier_core::arrive_times(std::ptrdiff_t n) {
  guard_.lock.lock();
  const bool possible = n > 0 && n <= missing_;
  const bool last = possible && arrive_locked(n);
  arrived a{arrival_token(phase_), last};
  guard_.lock.unlock();
  if (!possible) throw logic_error("weft::barrier: more arrivals than the phase misses, or none");
  return a;
}

bool barrier_core::arrive_and_leave() noexcept {
  guard_.lock.lock();
  --expected_;
  const bool last = arrive_locked(1);
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
  if (arrive_locked(1)) {
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

result<void> barrier_core::wait_phase(const arrival_token& token,
                                      cancel_node* node) const noexcept {
  wake_extras extras(node, never);
  if (auto e = extras.check()) return failure(e);
  guard_.lock.lock();
  if (phase_ != token.phase_) {
    guard_.lock.unlock();
    return {};
  }
  waiter w;
  if (wait_in_queue(guard_, queue_, w, extras, wait_reason::semacquire, this)) return {};
  const bool complete = phase_ != token.phase_;  // after all
  guard_.lock.unlock();
  if (complete) return {};
  return failure(extras.error());
}

}  // namespace weft::inline v0::detail
