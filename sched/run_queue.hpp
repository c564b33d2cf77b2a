// SPDX-License-Identifier: Apache-2.0
// The local run queue of a P: a ring of 256 fibers, one owner, many thieves (Go's runq, proc.go;
// tokio's queue.rs).
//
// Invariants: head <= tail (mod 2^32), tail - head <= 256. Only the owner writes tail and slots;
// head moves by CAS, by owner and thieves alike. A slot in [head, tail) holds a fiber that is
// nowhere else.
// Orders: the owner's release store of tail publishes the slot, paired with the thief's acquire
// load of tail. A thief's release CAS of head, paired with the owner's acquire load of head, says
// that the thief has finished reading the slots it took, so the owner may overwrite them.
// Locked instructions: push 0, pop and rotate 1 (the head CAS; 0 with one P), steal 1 for the whole
// batch.
// tests/model/run_queue_model_test.cpp tries every interleaving of small programs on this very
// code.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include <weft/detail/fiber_core.hpp>
#include "runtime/sync_policy.hpp"

namespace weft::inline v0::detail {

template <class Sync, class T, std::uint32_t Capacity>
class basic_run_queue {
 public:
  static constexpr std::uint32_t capacity = Capacity;

  /// Owner only. False when full.
  [[nodiscard]] bool push(T* g) noexcept {
    const std::uint32_t head = head_.load(std::memory_order_acquire);
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head >= capacity) [[unlikely]]
      return false;
    slot(tail).store(g, std::memory_order_relaxed);
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  /// Owner only. Oldest first; null when empty. `alone`: there are no thieves, ever.
  [[nodiscard]] T* pop(bool alone = false) noexcept {
    std::uint32_t head = head_.load(std::memory_order_acquire);
    for (;;) {
      if (head == tail_.load(std::memory_order_relaxed)) return nullptr;
      T* g = slot(head).load(std::memory_order_relaxed);
      if (alone) {
        head_.store(head + 1, std::memory_order_relaxed);
        return g;
      }
      if (head_.compare_exchange_weak(head, head + 1, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
        return g;
      }
    }
  }

  /// Owner only: takes the oldest and puts g behind the others. Null when there is none, or a thief
  /// was faster; g is not queued then.
  [[nodiscard]] WEFT_INLINE T* rotate(T* g, bool alone) noexcept {
    std::uint32_t head = head_.load(std::memory_order_acquire);
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (head == tail) return nullptr;
    T* oldest = slot(head).load(std::memory_order_relaxed);
    if (alone) {
      head_.store(head + 1, std::memory_order_relaxed);
    } else if (!head_.compare_exchange_strong(head, head + 1, std::memory_order_acq_rel,
                                              std::memory_order_relaxed)) {
      return nullptr;
    }
    slot(tail).store(g, std::memory_order_relaxed);
    tail_.store(tail + 1, std::memory_order_release);
    return oldest;
  }

  /// Owner only: takes the older half out, for the inject queue, when push() failed. How many.
  [[nodiscard]] std::uint32_t pop_half(std::array<T*, capacity / 2>& batch) noexcept {
    std::uint32_t head = head_.load(std::memory_order_acquire);
    for (;;) {
      const std::uint32_t n = (tail_.load(std::memory_order_relaxed) - head) / 2;
      for (std::uint32_t i = 0; i < n; ++i) {
        batch[i] = slot(head + i).load(std::memory_order_relaxed);
      }
      if (n == 0 || head_.compare_exchange_strong(head, head + n, std::memory_order_acq_rel,
                                                  std::memory_order_acquire)) {
        return n;
      }
    }
  }

  /// A thief, which owns `into` (empty): moves half of this queue there and returns one fiber of
  /// it to run at once; null when there was nothing.
  [[nodiscard]] T* steal_into(basic_run_queue& into) noexcept {
    std::uint32_t head = head_.load(std::memory_order_acquire);
    for (;;) {
      const std::uint32_t tail = tail_.load(std::memory_order_acquire);
      std::uint32_t n = tail - head;
      n -= n / 2;
      if (n == 0) return nullptr;
      if (n > capacity / 2) {  // head and tail were read at different times: read again
        head = head_.load(std::memory_order_acquire);
        continue;
      }
      const std::uint32_t to = into.tail_.load(std::memory_order_relaxed);
      for (std::uint32_t i = 0; i < n; ++i) {
        into.slot(to + i).store(slot(head + i).load(std::memory_order_relaxed),
                                std::memory_order_relaxed);
      }
      if (head_.compare_exchange_strong(head, head + n, std::memory_order_acq_rel,
                                        std::memory_order_acquire)) {
        // The last one is returned; the others become visible here.
        T* g = into.slot(to + n - 1).load(std::memory_order_relaxed);
        if (n > 1) into.tail_.store(to + n - 1, std::memory_order_release);
        return g;
      }
    }
  }

  /// Owner only; false may be out of date.
  [[nodiscard]] bool empty_here() const noexcept {
    return head_.load(std::memory_order_relaxed) == tail_.load(std::memory_order_relaxed);
  }

  /// From any thread; a hint.
  [[nodiscard]] std::uint32_t size() const noexcept {
    const std::uint32_t head = head_.load(std::memory_order_acquire);
    const std::uint32_t tail = tail_.load(std::memory_order_acquire);
    return tail - head <= capacity ? tail - head : capacity;  // read at different times
  }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }

  /// From any thread; hints. Fibers ever put in, and taken out, mod 2^32: what was there when
  /// `pushed` was n has gone when `taken` has come to n.
  [[nodiscard]] std::uint32_t pushed() const noexcept {
    return tail_.load(std::memory_order_acquire);
  }
  [[nodiscard]] std::uint32_t taken() const noexcept {
    return head_.load(std::memory_order_acquire);
  }

 private:
  [[nodiscard]] typename Sync::template atomic<T*>& slot(std::uint32_t i) noexcept {
    return slots_[i % capacity];
  }

  alignas(cache_line) typename Sync::template atomic<std::uint32_t> head_{0};
  alignas(cache_line) typename Sync::template atomic<std::uint32_t> tail_{0};
  std::array<typename Sync::template atomic<T*>, capacity> slots_{};
};

using run_queue = basic_run_queue<native_sync, fiber_core, 256>;

}  // namespace weft::inline v0::detail
