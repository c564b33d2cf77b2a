// SPDX-License-Identifier: Apache-2.0
// The lock of a waitable: a spin_lock that a worker thread may have to itself for as long as nobody
// else comes. It then costs that thread no locked instruction (5 ns each; a round trip between two
// fibers over a channel takes four locks).
//
// After Dice, Moir and Scherer, "Quickly reacquirable locks" (2003), with the barrier on the side
// that takes the privilege away. Each worker has a slot, which says what it holds by privilege; the
// word of a lock is 0 (free), 1 (held) or the tag of a slot (privileged, held or not):
//
//   owner    slot.held = this; light barrier; is the word my tag? then it is locked.
//            To unlock: slot.held = null.
//   others   CAS the word from tag to 1; heavy barrier; wait until slot.held is not this.
//            Then it is theirs as a common lock, and is given back as one.
//
// Exclusion: by the barriers' pairing (asymmetric_barrier.hpp) the owner sees that its tag is gone,
// and takes the common way, or the other one sees `held`, and waits for the unlock. Every store to
// `held` that it may read then is a release of the owner's (or of whoever had the slot after it),
// so what was done under the lock is seen. A slot outlives its worker, and is used by another one
// later: the owner is whoever has the slot.
//
// Privileges are given by the unlock of a worker that has taken the lock so many times in a row
// that a barrier would not have cost more, and more sparingly each time that one was taken away. A
// worker holds one lock by privilege at a time, and nothing that runs under one may park or take
// that lock again: no code of the user's. The unlock is the last touch of the object.
#pragma once

#include <atomic>
#include <cstdint>

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

template <class Atomics>
struct alignas(cache_line) basic_bias_slot {
  typename Atomics::template atomic<const void*> held{nullptr};
  std::uint32_t tag = 0;    // even, and not 0; fixed once the slot is in use
  std::uint32_t price = 0;  // locks in a row before its worker gets a privilege; likewise
  std::uint8_t mark = 0;  // of its worker in a lock; not 0; two may share one, and then a privilege
};

/// Sync: atomic<T>, light_barrier, heavy_barrier, pause(round); slot, slot_of(tag), own_slot();
/// policy<T>, a variable under the lock.
template <class Sync>
class basic_biased_lock {
 public:
  using slot = typename Sync::slot;

  WEFT_INLINE void lock() noexcept {
    acquire();
    last_ = 0;
  }
  WEFT_INLINE void unlock() noexcept {
    word_.store(0, std::memory_order_release);  // pairs with the acquire of the next lock()
  }

  /// By the worker whose slot it is; null: without any privilege. True: locked by privilege.
  [[nodiscard]] WEFT_INLINE bool lock_as(slot* s) noexcept {
    if (s != nullptr && word_.load(std::memory_order_relaxed) == s->tag &&
        s->held.load(std::memory_order_relaxed) == nullptr) [[likely]] {
      s->held.store(this, std::memory_order_release);
      Sync::light_barrier();  // pairs with the heavy one of take_away()
      if (word_.load(std::memory_order_relaxed) == s->tag) [[likely]]
        return true;
      s->held.store(nullptr, std::memory_order_release);
    }
    acquire();
    count(s);
    return false;
  }

  /// The other half; `privileged` is what lock_as said.
  WEFT_INLINE void unlock_as(slot* s, bool privileged) noexcept {
    if (privileged) [[likely]] {
      leave(s);
    } else {
      give_back(s);
    }
  }

 private:
  static constexpr std::uint8_t dearest = 7;  // the price doubles so often

  WEFT_INLINE void acquire() noexcept {
    std::uint32_t free = 0;
    if (!word_.compare_exchange_strong(free, 1, std::memory_order_acquire,
                                       std::memory_order_relaxed)) [[unlikely]] {
      acquire_slowly();
    }
  }

  static WEFT_INLINE void leave(slot* s) noexcept {
    s->held.store(nullptr, std::memory_order_release);  // pairs with the acquire of take_away()
  }

  WEFT_INLINE void give_back(slot* s) noexcept {
    const bool earned = s != nullptr && left_ == 0 && last_ == s->mark;
    word_.store(earned ? s->tag : 0, std::memory_order_release);
  }

  // Under the common lock.
  WEFT_INLINE void count(const slot* s) noexcept {
    if (s == nullptr) {
      last_ = 0;
    } else if (last_ != s->mark) {
      last_ = s->mark;
      left_ = static_cast<std::uint16_t>(s->price << taken_away_);
    } else if (left_ != 0) {
      left_ = static_cast<std::uint16_t>(left_ - 1);
    }
  }

  WEFT_NOINLINE void acquire_slowly() noexcept {
    for (unsigned round = 0;; ++round) {
      std::uint32_t seen = word_.load(std::memory_order_relaxed);
      if (seen != 1 && word_.compare_exchange_strong(seen, 1, std::memory_order_acquire,
                                                     std::memory_order_relaxed)) {
        if (seen != 0) take_away(seen);
        return;
      }
      Sync::pause(round);
    }
  }

  // The word is 1 and ours, but for the owner, who may not know yet.
  void take_away(std::uint32_t tag) noexcept {
    slot* s = Sync::slot_of(tag);
    if (s == Sync::own_slot()) return;  // (that we do not hold it now is the caller's duty)
    Sync::heavy_barrier();
    for (unsigned round = 0; s->held.load(std::memory_order_acquire) == this; ++round) {
      Sync::pause(round);
    }
    if (taken_away_ < dearest) taken_away_ = static_cast<std::uint8_t>(taken_away_ + 1);
    last_ = 0;
  }

  typename Sync::template atomic<std::uint32_t> word_{0};
  // Under the common lock: how often until the privilege is earned, by whom, and how often one was
  // taken away.
  typename Sync::template policy<std::uint16_t> left_{0};
  typename Sync::template policy<std::uint8_t> last_{0};
  typename Sync::template policy<std::uint8_t> taken_away_{0};
};

struct lock_atomics {
  template <class T>
  using atomic = std::atomic<T>;
};
using bias_slot = basic_bias_slot<lock_atomics>;

struct lock_sync : lock_atomics {
  using slot = bias_slot;
  template <class T>
  using policy = T;
  static WEFT_INLINE void light_barrier() noexcept {
    // (Slots are given out only where membarrier is there.)
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  WEFT_EXPORT static void heavy_barrier() noexcept;
  WEFT_EXPORT static void pause(unsigned round) noexcept;
  [[nodiscard]] WEFT_EXPORT static bias_slot* slot_of(std::uint32_t tag) noexcept;
  [[nodiscard]] WEFT_EXPORT static bias_slot* own_slot() noexcept;
};

using biased_lock = basic_biased_lock<lock_sync>;

/// A slot for the calling thread, until it gives it back. Null: there is none, or no membarrier.
[[nodiscard]] bias_slot* bias_slot_acquire() noexcept;
void bias_slot_release(bias_slot* s) noexcept;

}  // namespace weft::inline v0::detail
