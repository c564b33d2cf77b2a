// SPDX-License-Identifier: Apache-2.0
// The type-stable table of poll_desc records: slabs reached by slot number without a lock, and a
// free list under one (rank 4). First in, first out, so that a slot is reused late.
#pragma once

#include <atomic>
#include <cstdint>

#include <weft/detail/spin_lock.hpp>

#include "netpoll/poll_desc.hpp"

namespace weft::inline v0::detail {

class desc_table {
 public:
  /// The record of a slot, or null if there never was one.
  [[nodiscard]] poll_desc* at(std::uint32_t slot) const noexcept {
    if (slot / slab_size >= max_slabs) return nullptr;
    poll_desc* slab = slabs_[slot / slab_size].load(std::memory_order_acquire);
    return slab == nullptr ? nullptr : slab + slot % slab_size;
  }

  /// A free record, or null: no memory.
  [[nodiscard]] poll_desc* take() noexcept;
  void give(poll_desc* d) noexcept;

  /// Records ever made; their slots are 0 .. size() - 1.
  [[nodiscard]] std::uint32_t size() const noexcept {
    return size_.load(std::memory_order_acquire);
  }
  [[nodiscard]] std::uint32_t live() const noexcept {
    return live_.load(std::memory_order_relaxed);
  }

 private:
  static constexpr std::uint32_t slab_size = 64;
  static constexpr std::uint32_t max_slabs = 1U << 16;  // four million descriptors

  [[nodiscard]] bool grow() noexcept;
  [[nodiscard]] poll_desc* pop_reusable() noexcept;
  void push(poll_desc* d) noexcept;

  spin_lock lock_;
  poll_desc* free_head_ = nullptr;  // under lock_, as the next
  poll_desc* free_tail_ = nullptr;
  std::atomic<std::uint32_t> size_{0};
  std::atomic<std::uint32_t> live_{0};
  std::atomic<poll_desc*> slabs_[max_slabs] = {};
};

/// The one table of the process (descriptors belong to the process, not to a runtime).
extern constinit desc_table descriptors;

}  // namespace weft::inline v0::detail
