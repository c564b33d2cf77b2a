// SPDX-License-Identifier: Apache-2.0
// The fibers of a P that have not run yet: a work-stealing deque (Chase and Lev, "Dynamic circular
// work-stealing deque", 2005; orders after Lê et al., "Correct and efficient work-stealing for weak
// memory models", 2013, with seq_cst accesses in place of fences). The owner takes the newest, so a
// tree of fibers is walked depth first and few of them hold stacks at a time; thieves take the
// oldest, which stands for the largest part of the tree.
//
// Invariants: head <= tail (mod 2^32) but for the moment of a pop, tail - head <= capacity. Only
// the owner writes tail and slots; head moves by CAS, by thieves, and by the owner for the last
// fiber or for its own oldest. A slot in [head, tail) holds a fiber that is nowhere else. The race
// that matters is for the last fiber: the owner first lowers tail, then reads head; a thief first
// reads head, then tail. All four accesses are in one total order, so at least one of the two sees
// the other, and then the CAS of head decides. Orders otherwise as in run_queue.hpp. Locked
// instructions: push 0, pop 1 (2 for the last one), steal 1 a fiber.
// tests/model/fresh_deque_model_test.cpp tries every interleaving of small programs on this code.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

#include <weft/detail/fiber_core.hpp>
#include "runtime/sync_policy.hpp"

namespace weft::inline v0::detail {

template <class Sync, class T, std::uint32_t Capacity>
class basic_fresh_deque {
 public:
  static constexpr std::uint32_t capacity = Capacity;

  /// Owner only. False when full.
  [[nodiscard]] bool push(T* g) noexcept {
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_.load(std::memory_order_acquire) >= capacity) [[unlikely]]
      return false;
    slot(tail).store(g, std::memory_order_relaxed);
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  /// Owner only. Newest first; null when empty. `alone`: there are no thieves, ever.
  [[nodiscard]] T* pop(bool alone = false) noexcept {
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (head_.load(std::memory_order_relaxed) == tail) return nullptr;  // only the owner adds
    const std::uint32_t last = tail - 1;
    if (alone) {
      tail_.store(last, std::memory_order_relaxed);
      return slot(last).load(std::memory_order_relaxed);
    }
    tail_.store(last, std::memory_order_seq_cst);
    std::uint32_t head = head_.load(std::memory_order_seq_cst);
    const auto others = static_cast<std::int32_t>(last - head);
    if (others > 0) return slot(last).load(std::memory_order_relaxed);
    T* g = nullptr;
    if (others == 0) {
      g = slot(last).load(std::memory_order_relaxed);
      if (!head_.compare_exchange_strong(head, head + 1, std::memory_order_seq_cst)) g = nullptr;
    }
    tail_.store(tail, std::memory_order_relaxed);
    return g;
  }

  /// Anybody, the owner too. Oldest first; null when empty.
  [[nodiscard]] T* steal() noexcept {
    std::uint32_t head = head_.load(std::memory_order_seq_cst);
    for (;;) {
      const std::uint32_t tail = tail_.load(std::memory_order_seq_cst);
      if (static_cast<std::int32_t>(tail - head) <= 0) return nullptr;
      T* g = slot(head).load(std::memory_order_relaxed);
      if (head_.compare_exchange_strong(head, head + 1, std::memory_order_seq_cst)) return g;
    }
  }

  /// Owner only; false may be out of date.
  [[nodiscard]] bool empty_here() const noexcept {
    return head_.load(std::memory_order_relaxed) == tail_.load(std::memory_order_relaxed);
  }

  /// From any thread; a hint.
  [[nodiscard]] std::uint32_t size() const noexcept {
    const std::uint32_t head = head_.load(std::memory_order_acquire);
    const auto n = static_cast<std::int32_t>(tail_.load(std::memory_order_acquire) - head);
    if (n <= 0) return 0;  // below zero while the owner takes one
    return std::min(static_cast<std::uint32_t>(n), capacity);
  }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }

 private:
  [[nodiscard]] typename Sync::template atomic<T*>& slot(std::uint32_t i) noexcept {
    return slots_[i % capacity];
  }

  alignas(cache_line) typename Sync::template atomic<std::uint32_t> head_{0};
  alignas(cache_line) typename Sync::template atomic<std::uint32_t> tail_{0};
  std::array<typename Sync::template atomic<T*>, capacity> slots_{};
};

using fresh_deque = basic_fresh_deque<native_sync, fiber_core, 1024>;

}  // namespace weft::inline v0::detail
