// SPDX-License-Identifier: Apache-2.0
// The queue for fibers that have no P to go to: readied by plain threads or by an M that lost its
// P, spilled from a full ring, and (one a P) sent to a particular P in force-migrate mode.
// Intrusive FIFO under a lock (rank 3); `size` may be read without it as a hint.
#pragma once

#include <atomic>
#include <cstdint>

#include <weft/detail/spin_lock.hpp>
#include "sched/poller.hpp"

namespace weft::inline v0::detail {

class inject_queue {
 public:
  void push(fiber_core* g) noexcept {
    lock_.lock();
    list_.push_back(g);
    size_.store(list_.size, std::memory_order_release);
    lock_.unlock();
  }

  void push(fiber_list batch) noexcept {
    if (batch.empty()) return;
    lock_.lock();
    while (fiber_core* g = batch.pop_front()) list_.push_back(g);
    size_.store(list_.size, std::memory_order_release);
    lock_.unlock();
  }

  /// Takes up to `limit` fibers, oldest first.
  [[nodiscard]] fiber_list pop(std::uint32_t limit) noexcept {
    fiber_list out;
    if (empty()) return out;
    lock_.lock();
    while (out.size < limit) {
      fiber_core* g = list_.pop_front();
      if (g == nullptr) break;
      out.push_back(g);
    }
    size_.store(list_.size, std::memory_order_release);
    lock_.unlock();
    return out;
  }

  [[nodiscard]] std::uint32_t size() const noexcept {
    return size_.load(std::memory_order_acquire);
  }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }

 private:
  spin_lock lock_;
  std::atomic<std::uint32_t> size_{0};
  fiber_list list_;
};

}  // namespace weft::inline v0::detail
