// SPDX-License-Identifier: Apache-2.0
// The slow paths of mutex. Locked instructions: lock 1, unlock 1 where nobody waits.
//
// No lost wake-up: a locker publishes its record and sets `waiting`, under the queue's lock, by a
// CAS from a state that says `locked`; the unlock that clears that `locked` therefore fails its
// fast CAS and comes through unlock_slow, where it finds the record. A woken waiter clears `waking`
// when it tries again, whatever comes of it, so the unlock after that wakes the next.
//
// The last touch of an unlock is its CAS where nobody is woken, else the release of the queue's
// lock: the woken one has not returned then, so nobody may destroy the mutex yet.
#include <weft/mutex.hpp>

#include <weft/detail/fatal.hpp>

namespace weft::inline v0 {

using detail::waiter;

namespace {

// As in Go's sync.Mutex: far above a hand-over, far below what a person notices.
constexpr std::int64_t starving_after_ns = 1'000'000;

// A holder on another core usually leaves within a few hundred ns; parking costs about as much.
constexpr int spins = 16;

}  // namespace

bool mutex::barge() noexcept {
  std::uint32_t s = state_.load(std::memory_order_relaxed);
  while ((s & locked) == 0) {
    if (state_.compare_exchange_weak(s, s | locked, std::memory_order_acquire,
                                     std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

/// True: the mutex is ours. False: w is in the queue and the caller is to park.
bool mutex::take_or_enqueue(waiter& w, bool again, std::int64_t since) noexcept {
  const bool starving = again && detail::now_ns() - since > starving_after_ns;
  guard_.lock.lock();
  std::uint32_t s = state_.load(std::memory_order_relaxed);
  for (;;) {
    const std::uint32_t kept = again ? s & ~waking : s;
    const bool free = (s & locked) == 0;
    const std::uint32_t next =
        free ? kept | locked : kept | waiting | (starving ? handing_over : 0);
    // acquire: pairs with the unlock that cleared `locked`.
    if (!state_.compare_exchange_weak(s, next, std::memory_order_acquire,
                                      std::memory_order_relaxed)) {
      continue;
    }
    if (!free) break;
    guard_.lock.unlock();
    return true;
  }
  park_begin(w.g, detail::wait_reason::mutex_lock, this);
  w.g->waiters = &w;
  if (again) {
    queue_.push_front(&w);  // it has waited longest
  } else {
    queue_.push_back(&w);
  }
  guard_.lock.unlock();
  return false;
}

bool mutex::acquire(detail::wake_extras& extras) noexcept {
  for (int i = 0; i < spins; ++i) {
    if (barge()) return true;
    detail::cpu_relax();
  }
  waiter w;
  w.g = detail::current_fiber();
  w.owner = &guard_;
  w.multi = extras.needed();
  const std::int64_t since = detail::now_ns();
  for (bool again = false;; again = true) {
    if (take_or_enqueue(w, again, since)) return true;
    if (extras.needed()) extras.arm(w.g);
    park_wait(w.g);
    if (extras.needed()) {
      extras.disarm();
      if (w.g->wake_param == extras.token()) {
        give_up(w);
        return false;
      }
    }
    if (w.ok) break;  // handed over: it is locked, for us
  }
  if (detail::now_ns() - since < starving_after_ns) {
    guard_.lock.lock();
    state_.fetch_and(~handing_over, std::memory_order_relaxed);
    guard_.lock.unlock();
  }
  return true;
}

void mutex::lock_slow() {
  detail::wake_extras none(nullptr, detail::never);
  static_cast<void>(acquire(none));
}

result<void> mutex::lock_until(detail::cancel_node* node, std::int64_t deadline) {
  detail::wake_extras extras(node, deadline);
  if (auto e = extras.check()) return failure(e);
  if (!acquire(extras)) return failure(extras.error());
  return {};
}

void mutex::clear_if_empty() noexcept {
  if (queue_.empty()) state_.fetch_and(~(waiting | handing_over), std::memory_order_relaxed);
}

void mutex::give_up(waiter& w) noexcept {
  guard_.lock.lock();
  queue_.remove(&w);
  clear_if_empty();
  guard_.lock.unlock();
}

void mutex::unlock_slow() noexcept {
  for (;;) {
    std::uint32_t s = state_.load(std::memory_order_relaxed);
    if ((s & locked) == 0) detail::fatal("unlock of an unlocked weft::mutex");
    if ((s & waiting) == 0 || (s & (waking | handing_over)) == waking) {
      // Nobody to wake, or somebody is on the way.
      if (state_.compare_exchange_weak(s, s & ~locked, std::memory_order_release,
                                       std::memory_order_relaxed)) {
        return;
      }
      continue;
    }
    guard_.lock.lock();
    waiter* w = queue_.pop_claimed();
    if (w == nullptr) {  // all have given up
      clear_if_empty();
      guard_.lock.unlock();
      continue;
    }
    s = state_.load(std::memory_order_relaxed);
    w->ok = (s & handing_over) != 0;
    if (!w->ok) {
      // Ours alone: `locked` is set, and the other bits need the lock we hold.
      state_.store((s & ~locked) | waking, std::memory_order_release);
    }
    clear_if_empty();
    detail::fiber_core* g = w->g;
    g->wake_param = w;
    guard_.lock.unlock();
    ready(g);
    return;
  }
}

}  // namespace weft::inline v0
