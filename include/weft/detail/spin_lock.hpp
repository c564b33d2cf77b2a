// SPDX-License-Identifier: Apache-2.0
// The lock inside timer heaps, queues and pools (what fibers wait on has a biased_lock): one word,
// one locked instruction to take (5 ns uncontended), a plain release store to give back.
//
// Critical sections are tens of nanoseconds and never park a fiber, run user code that may block,
// or allocate. A holder that the kernel has preempted is waited for by yielding the core, then by
// sleeping: the unlock stays one store, because it never has to know of waiters. (A three-state
// futex lock would pay a second locked instruction on every unlock for that knowledge.)
// The unlock is the last touch: the object around the lock may be gone right after it.
//
// Lock order (rank, lowest first; a thread takes ranks upwards only):
//   1 timer heap   2 waitable (channel, context node, mutex...; several: by address)
//   3 run and inject queues   4 pools   5 the table of slabs
#pragma once

#include <atomic>

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

class spin_lock {
 public:
  WEFT_INLINE void lock() noexcept {
    if (word_.exchange(1, std::memory_order_acquire) != 0) [[unlikely]]
      lock_slow();
  }
  [[nodiscard]] WEFT_INLINE bool try_lock() noexcept {
    return word_.exchange(1, std::memory_order_acquire) == 0;
  }
  WEFT_INLINE void unlock() noexcept {
    word_.store(0, std::memory_order_release);  // pairs with the acquire of the next lock()
  }
  [[nodiscard]] bool is_locked() const noexcept {
    return word_.load(std::memory_order_relaxed) != 0;
  }

 private:
  WEFT_EXPORT void lock_slow() noexcept;

  std::atomic<std::uint32_t> word_{0};
};

}  // namespace weft::inline v0::detail
