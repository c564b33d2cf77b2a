// SPDX-License-Identifier: Apache-2.0
// The fibers of a P that have not run yet: a work-stealing deque. The owner takes the newest, so a
// tree of fibers is walked depth first and few of them hold stacks at a time; thieves take the
// oldest, which stand for the largest part of the tree.
//
// The protocol is Cilk-5's THE (Frigo, Leiserson, Randall, "The implementation of the Cilk-5
// multithreaded language", 1998) with the cost moved to the thief: it announces what it wants by
// raising head, and pays a heavy barrier; the owner lowers tail, passes a light one, and reads
// head. So one of the two sees the other: either the owner finds tail below head, and settles the
// matter under the lock, or the thief finds the lowered tail and takes less. Thieves exclude each
// other by the lock; one barrier pays for a whole batch.
//
// Invariants: only the owner writes tail, slots, `slots_`, `mask_` and `limit_`; the array changes
// under the lock only, so a thief always reads the one it sees. Outside the lock
// head <= tail (mod 2^32) but for the moment of a pop, and tail - head <= capacity. A slot in
// [head, tail) holds a fiber that is nowhere else. `limit_` <= (true head) + capacity: up to there
// tail may go without a look at head.
// Orders: each store of tail is a release (also that of pop(): a thief may read it in place of the
// one of push()), paired with the thief's acquire load: it sees the slots below, and the fibers.
// The lock orders thieves, and the owner after them. Locked instructions: push 0, pop 0 (1 when a
// thief is at the same few fibers), steal 1 and a heavy barrier for the batch.
// tests/model/fresh_deque_model_test.cpp tries every interleaving of small programs on this code.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

#include <weft/detail/fiber_core.hpp>
#include "runtime/os.hpp"
#include "runtime/sync_policy.hpp"

namespace weft::inline v0::detail {

/// Initial: slots inside the object, a power of two. Memory: where larger arrays come from.
template <class Sync, class T, std::uint32_t Initial, class Memory>
class basic_fresh_deque {
  using slot = typename Sync::template atomic<T*>;

 public:
  static constexpr std::uint32_t max_capacity = 1U << 30;

  basic_fresh_deque() noexcept = default;
  ~basic_fresh_deque() { use(initial_.data(), Initial); }
  basic_fresh_deque(const basic_fresh_deque&) = delete;
  basic_fresh_deque& operator=(const basic_fresh_deque&) = delete;

  /// Owner only. False when it is full and there is no memory for more.
  [[nodiscard]] WEFT_INLINE bool push(T* g) noexcept {
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (tail == limit_ && !make_room(tail)) [[unlikely]]
      return false;
    put(tail, g);
    return true;
  }

  /// The same, but false also when the array would have to grow.
  [[nodiscard]] WEFT_INLINE bool try_push(T* g) noexcept {
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (tail == limit_) [[unlikely]]
      return false;
    put(tail, g);
    return true;
  }

  /// Owner only. Newest first; null when empty.
  [[nodiscard]] WEFT_INLINE T* pop() noexcept {
    T* g = nullptr;
    return try_pop(g) ? g : settle();
  }

  /// After a pop: what the next one is likely to find. A hint, only to be prefetched.
  [[nodiscard]] WEFT_INLINE const T* after_pop() const noexcept {
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (head_.load(std::memory_order_relaxed) == tail) return nullptr;
    return slots_[(tail - 1) & mask_].load(std::memory_order_relaxed);
  }

  /// pop() but for the rare case: false, and settle() says what came of it. (Barrier: Sync, or what
  /// the caller knows to be enough.)
  template <class Barrier = Sync>
  [[nodiscard]] WEFT_INLINE bool try_pop(T*& g) noexcept {
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    // (Equal because a thief has announced the last ones: they are its own, as nobody contests.)
    if (head_.load(std::memory_order_relaxed) == tail) {
      times_empty_.store(times_empty_.load(std::memory_order_relaxed) + 1,
                         std::memory_order_relaxed);
      g = nullptr;
      return true;
    }
    const std::uint32_t last = tail - 1;
    tail_.store(last, std::memory_order_release);
    Barrier::light_barrier();  // pairs with the heavy one of steal()
    g = slots_[last & mask_].load(std::memory_order_relaxed);
    return is_at_or_after(last, head_.load(std::memory_order_relaxed));
  }

  /// The owner has lowered tail and found a thief's announcement above it.
  [[nodiscard]] T* settle() noexcept {
    const std::uint32_t last = tail_.load(std::memory_order_relaxed);
    lock_.lock();  // no thief is at it now: head is true, and at most last + 1
    const std::uint32_t head = head_.load(std::memory_order_relaxed);
    T* g = nullptr;
    if (is_at_or_after(last, head)) {
      g = slots_[last & mask_].load(std::memory_order_relaxed);
    } else {
      tail_.store(last + 1, std::memory_order_release);
    }
    lock_.unlock();
    return g;
  }

  /// Owner only. The oldest, or any other if a thief is at them.
  [[nodiscard]] T* take_oldest() noexcept {
    if (!lock_.try_lock()) return pop();
    const std::uint32_t head = head_.load(std::memory_order_relaxed);
    T* g = nullptr;
    if (head != tail_.load(std::memory_order_relaxed)) {
      g = slots_[head & mask_].load(std::memory_order_relaxed);
      head_.store(head + 1, std::memory_order_relaxed);
    }
    lock_.unlock();
    return g;
  }

  /// A thief: the oldest ones, half of all (one of one), at most `most`. How many came into `out`;
  /// 0 also when another thief is here.
  [[nodiscard]] std::uint32_t steal(T** out, std::uint32_t most) noexcept {
    if (empty() || !lock_.try_lock()) return 0;
    const std::uint32_t head = head_.load(std::memory_order_relaxed);
    const std::uint32_t half = (count(head, tail_.load(std::memory_order_acquire)) + 1) / 2;
    std::uint32_t n = std::min(half, most);
    if (n != 0) {
      head_.store(head + n, std::memory_order_relaxed);
      Sync::heavy_barrier();
      const std::uint32_t there = count(head, tail_.load(std::memory_order_acquire));
      if (there < n) head_.store(head + (n = there), std::memory_order_relaxed);
    }
    for (std::uint32_t i = 0; i < n; ++i) {
      out[i] = slots_[(head + i) & mask_].load(std::memory_order_relaxed);
    }
    lock_.unlock();
    return n;
  }

  /// Owner only, when it has time: gives the memory of a burst back.
  void trim() noexcept {
    if (slots_ == initial_.data() || !empty_here()) return;
    lock_.lock();
    if (empty_here()) use(initial_.data(), Initial);
    lock_.unlock();
  }

  /// Owner only; false may be out of date.
  [[nodiscard]] bool empty_here() const noexcept {
    return head_.load(std::memory_order_relaxed) == tail_.load(std::memory_order_relaxed);
  }

  /// From any thread; a hint.
  [[nodiscard]] std::uint32_t size() const noexcept {
    const std::uint32_t head = head_.load(std::memory_order_acquire);
    return count(head, tail_.load(std::memory_order_acquire));
  }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }

  /// From any thread; a hint. The same as some time ago: the oldest of then has been here since.
  [[nodiscard]] std::uint64_t mark() const noexcept {
    return (std::uint64_t{times_empty_.load(std::memory_order_relaxed)} << 32) |
           head_.load(std::memory_order_relaxed);
  }

 private:
  [[nodiscard]] static bool is_at_or_after(std::uint32_t i, std::uint32_t j) noexcept {
    return static_cast<std::int32_t>(i - j) >= 0;
  }
  // tail may be below head for a moment.
  [[nodiscard]] static std::uint32_t count(std::uint32_t head, std::uint32_t tail) noexcept {
    return is_at_or_after(tail, head) ? tail - head : 0;
  }

  WEFT_INLINE void put(std::uint32_t tail, T* g) noexcept {
    slots_[tail & mask_].store(g, std::memory_order_relaxed);
    tail_.store(tail + 1, std::memory_order_release);
  }

  bool make_room(std::uint32_t tail) noexcept {
    lock_.lock();
    const std::uint32_t head = head_.load(std::memory_order_relaxed);
    const std::uint32_t capacity = mask_ + 1;
    bool room = tail - head < capacity;
    if (room) {
      limit_ = head + capacity;
    } else if (capacity < max_capacity) {
      if (slot* larger = Memory::template acquire<slot>(capacity * 2)) {
        for (std::uint32_t i = head; i != tail; ++i) {
          larger[i & (capacity * 2 - 1)].store(slots_[i & mask_].load(std::memory_order_relaxed),
                                               std::memory_order_relaxed);
        }
        use(larger, capacity * 2);
        room = true;
      }
    }
    lock_.unlock();
    return room;
  }

  // Under the lock.
  void use(slot* slots, std::uint32_t capacity) noexcept {
    if (slots_ != initial_.data()) Memory::release(slots_, mask_ + 1);
    slots_ = slots;
    mask_ = capacity - 1;
    limit_ = head_.load(std::memory_order_relaxed) + capacity;
  }

  // --- thieves write
  alignas(cache_line) typename Sync::template atomic<std::uint32_t> head_{0};
  typename Sync::lock_type lock_;
  alignas(cache_line) std::array<slot, Initial> initial_{};
  // --- the owner writes
  alignas(cache_line) typename Sync::template atomic<std::uint32_t> tail_{0};
  typename Sync::template atomic<std::uint32_t> times_empty_{0};
  std::uint32_t limit_ = Initial;
  std::uint32_t mask_ = Initial - 1;
  slot* slots_ = initial_.data();
};

/// Zeroed pages from the kernel, for arrays of atomics.
struct mapped_memory {
  template <class Slot>
  [[nodiscard]] static Slot* acquire(std::size_t n) noexcept {
    return static_cast<Slot*>(os::map_anonymous(n * sizeof(Slot), MAP_NORESERVE));
  }
  template <class Slot>
  static void release(Slot* slots, std::size_t n) noexcept {
    ::munmap(slots, n * sizeof(Slot));
  }
};

using fresh_deque = basic_fresh_deque<native_sync, fiber_core, 1024, mapped_memory>;

}  // namespace weft::inline v0::detail
