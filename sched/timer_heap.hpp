// SPDX-License-Identifier: Apache-2.0
// The timers of one P: a 4-ary heap of (when, node) under a lock (rank 1), and once that has some
// hundred entries, buckets for those that are not due soon (timer_buckets.hpp), so that it stays
// small and with it the number of timers that one touches on its way through it. Type-stable: a P,
// and with it its heap, is recycled and never freed, so that a node's `heap` pointer may always be
// locked and looked at.
//
// A node is in at most one heap; node->heap says which and changes only under that heap's lock.
// `next_when` is the earliest deadline, or that of a timer that has been taken out and was;
// readable by anybody without the lock as a hint: sleeping workers, sysmon and thieves decide by
// it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <weft/detail/spin_lock.hpp>
#include <weft/detail/timer_node.hpp>
#include "sched/timer_buckets.hpp"

namespace weft::inline v0::detail {

class timer_heap {
 public:
  timer_heap() = default;
  timer_heap(const timer_heap&) = delete;
  timer_heap& operator=(const timer_heap&) = delete;

  /// Arms a disarmed node. Returns true if next_when() is earlier now: who sleeps until then is to
  /// be woken. False in `ok`: no memory.
  [[nodiscard]] bool insert(timer_node* t, std::int64_t when, bool* ok) noexcept;

  /// Disarms t if it is in this heap.
  [[nodiscard]] bool remove(timer_node* t) noexcept;

  /// Fires everything due at `now`, under the lock. From the owner or a thief in a runtime section.
  /// Returns how many fired.
  std::size_t run(std::int64_t now) noexcept;

  /// Everything in here goes to `other`, armed as it is. False: no memory, and nothing has moved.
  /// Locks both, this one first: only ever towards the same heap, which itself is never emptied so.
  [[nodiscard]] bool move_to(timer_heap& other) noexcept;

  /// Disarms everything without firing (the runtime has stopped). Those that the caller is to let
  /// go are added to a list.
  void clear(self_held_timer** given_up) noexcept;

  [[nodiscard]] std::int64_t next_when() const noexcept {
    return next_when_.load(std::memory_order_acquire);
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

  /// Heap property, positions and back pointers; for tests.
  [[nodiscard]] bool check_invariants() noexcept;

 private:
  struct entry {
    std::int64_t when;
    timer_node* node;
  };

  void place(std::size_t i, entry e) noexcept;
  void sift_up(std::size_t i) noexcept;
  void sift_down(std::size_t i) noexcept;
  void remove_at(std::size_t i) noexcept;
  void take_out(std::size_t i) noexcept;
  void publish() noexcept;
  void drop_all() noexcept;
  void append(timer_node* t, std::int64_t when) noexcept;
  void add(timer_node* t, std::int64_t when) noexcept;
  [[nodiscard]] bool reserve(std::size_t more) noexcept;
  void free_entries() noexcept;
  template <class Visit>
  void each(Visit visit) const;

  spin_lock lock_;
  std::atomic<std::int64_t> next_when_{never};
  std::atomic<std::size_t> size_{0};
  entry* entries_ = nullptr;  // over mmap, grows by doubling; entry 1 begins a line
  std::size_t count_ = 0;
  std::size_t capacity_ = 0;  // room for all timers, those in buckets included
  timer_buckets later_;
};

}  // namespace weft::inline v0::detail
