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
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include <weft/detail/fiber_core.hpp>
#include "sched/poller.hpp"

namespace weft::inline v0::detail {

class run_queue {
 public:
  static constexpr std::uint32_t capacity = 256;

  /// Owner only. False when full.
  [[nodiscard]] bool push(fiber_core* g) noexcept {
    const std::uint32_t head = head_.load(std::memory_order_acquire);
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head >= capacity) [[unlikely]]
      return false;
    slot(tail).store(g, std::memory_order_relaxed);
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  /// Owner only. Oldest first; null when empty. `alone`: there are no thieves, ever.
  [[nodiscard]] fiber_core* pop(bool alone = false) noexcept {
    std::uint32_t head = head_.load(std::memory_order_acquire);
    for (;;) {
      if (head == tail_.load(std::memory_order_relaxed)) return nullptr;
      fiber_core* g = slot(head).load(std::memory_order_relaxed);
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
  [[nodiscard]] WEFT_INLINE fiber_core* rotate(fiber_core* g, bool alone) noexcept {
    std::uint32_t head = head_.load(std::memory_order_acquire);
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (head == tail) return nullptr;
    fiber_core* oldest = slot(head).load(std::memory_order_relaxed);
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

  /// Owner only: takes the older half out, for the inject queue, when push() failed.
  [[nodiscard]] fiber_list pop_half() noexcept {
    fiber_list out;
    std::uint32_t head = head_.load(std::memory_order_acquire);
    for (;;) {
      const std::uint32_t n = (tail_.load(std::memory_order_relaxed) - head) / 2;
      if (n == 0) return out;
      std::array<fiber_core*, capacity / 2> batch;
      for (std::uint32_t i = 0; i < n; ++i) {
        batch[i] = slot(head + i).load(std::memory_order_relaxed);
      }
      if (head_.compare_exchange_strong(head, head + n, std::memory_order_acq_rel,
                                        std::memory_order_acquire)) {
        for (std::uint32_t i = 0; i < n; ++i) out.push_back(batch[i]);
        return out;
      }
    }
  }

  /// A thief, which owns `into` (empty): moves half of this queue there and returns one fiber of
  /// it to run at once; null when there was nothing.
  [[nodiscard]] fiber_core* steal_into(run_queue& into) noexcept {
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
        fiber_core* g = into.slot(to + n - 1).load(std::memory_order_relaxed);
        if (n > 1) into.tail_.store(to + n - 1, std::memory_order_release);
        return g;
      }
    }
  }

  /// From any thread; a hint.
  [[nodiscard]] std::uint32_t size() const noexcept {
    const std::uint32_t head = head_.load(std::memory_order_acquire);
    const std::uint32_t tail = tail_.load(std::memory_order_acquire);
    return tail - head <= capacity ? tail - head : 0;
  }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }

 private:
  [[nodiscard]] std::atomic<fiber_core*>& slot(std::uint32_t i) noexcept {
    return slots_[i % capacity];
  }

  alignas(cache_line) std::atomic<std::uint32_t> head_{0};
  alignas(cache_line) std::atomic<std::uint32_t> tail_{0};
  std::array<std::atomic<fiber_core*>, capacity> slots_{};
};

}  // namespace weft::inline v0::detail
