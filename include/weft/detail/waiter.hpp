// SPDX-License-Identifier: Apache-2.0
// The waiter record (Go's sudog) and the FIFO queue that objects keep of them. Records live in the
// waiting fiber's frame; stacks do not move, so nothing is pooled or allocated.
//
// A record is linked and unlinked only under the lock of its owner (a `waitable`). The waiting
// fiber removes every record it published, under those locks, before its frame ends: a waker that
// sees a record therefore may read it as long as it holds the lock.
#pragma once

#include <cstdint>

#include <weft/detail/biased_lock.hpp>
#include <weft/detail/config.hpp>
#include <weft/detail/fiber_core.hpp>
#include <weft/detail/relaxed.hpp>
#include <weft/detail/spin_lock.hpp>

namespace weft::inline v0::detail {

class wait_queue;

/// Base of everything a fiber can wait on. `lock` guards the queues of the derived object.
struct waitable {
  biased_lock lock;
};

struct waiter {
  waiter* next = nullptr;  // in the owner's queue
  waiter* prev = nullptr;
  waiter* sibling = nullptr;  // next record of the same park
  fiber_core* g = nullptr;
  void* slot = nullptr;       // the value to send from or to receive into; the owner's business
  waitable* owner = nullptr;  // whose lock guards this record
  relaxed<wait_queue*> queue = nullptr;  // where it is linked; null when not
  std::uint32_t index = 0;               // place of the case in its select
  bool multi = false;                    // several wakers: claim g->claim before waking
  bool ok = false;  // set by the waker: served (true) or closed / cancelled (false)
};

/// True for the one waker that may wake `w`'s fiber. Call with the owner's lock held.
[[nodiscard]] WEFT_INLINE bool claim(waiter* w) noexcept {
  if (!w->multi) return true;
  std::uint32_t expected = 0;
  // acq_rel: the winner sees what the parking fiber wrote, the fiber sees the winner's slot writes
  // through ready(); losers need nothing, acquire keeps them from reading ahead.
  return w->g->claim.compare_exchange_strong(expected, 1, std::memory_order_acq_rel,
                                             std::memory_order_acquire);
}

/// Intrusive doubly linked FIFO of waiter records. Guarded by the owner's lock.
class wait_queue {
 public:
  wait_queue() noexcept = default;
  wait_queue(const wait_queue&) = delete;
  wait_queue& operator=(const wait_queue&) = delete;

  /// An object that goes while fibers wait on it (the main fiber returned and its locals are
  /// destroyed before the runtime abandons the rest) leaves them behind for good: their records
  /// must not lead back here when they are unlinked.
  ~wait_queue() {
    while (waiter* w = head_) {
      remove(w);
      w->owner = nullptr;
    }
  }

  [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }
  /// A hint, without the lock.
  [[nodiscard]] bool looks_empty() const noexcept { return head_.look() == nullptr; }
  [[nodiscard]] waiter* front() const noexcept { return head_; }

  void push_back(waiter* w) noexcept {
    w->next = nullptr;
    w->prev = tail_;
    w->queue = this;
    if (tail_ != nullptr) {
      tail_->next = w;
    } else {
      head_ = w;
    }
    tail_ = w;
  }

  void push_front(waiter* w) noexcept {
    w->prev = nullptr;
    w->next = head_;
    w->queue = this;
    if (head_ != nullptr) {
      head_->prev = w;
    } else {
      tail_ = w;
    }
    head_ = w;
  }

  /// Unlinks `w` if it is still linked here.
  void remove(waiter* w) noexcept {
    if (w->queue != this) return;
    if (w->prev != nullptr) {
      w->prev->next = w->next;
    } else {
      head_ = w->next;
    }
    (w->next != nullptr ? w->next->prev : tail_) = w->prev;
    w->next = w->prev = nullptr;
    w->queue = nullptr;
  }

  /// Unlinks and returns the first waiter that this caller may wake (claimed), or null. Records
  /// whose fiber somebody else has claimed are dropped on the way.
  [[nodiscard]] WEFT_INLINE waiter* pop_claimed() noexcept {
    while (waiter* w = head_) {
      waiter* next = w->next;
      head_ = next;
      (next != nullptr ? next->prev : tail_) = nullptr;
      w->next = nullptr;
      w->queue = nullptr;
      if (claim(w)) return w;
    }
    return nullptr;
  }

 private:
  relaxed<waiter*> head_;
  waiter* tail_ = nullptr;
};

/// A fiber or thread parked here is not among `except`'s park: used to peek for a partner that is
/// not the caller itself (a select that sends and receives on one channel).
[[nodiscard]] inline bool has_other_waiter(const wait_queue& q, const fiber_core* self) noexcept {
  for (const waiter* w = q.front(); w != nullptr; w = w->next) {
    if (w->g != self && (!w->multi || w->g->claim.load(std::memory_order_relaxed) == 0)) {
      return true;
    }
  }
  return false;
}

}  // namespace weft::inline v0::detail
