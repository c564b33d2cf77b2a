// SPDX-License-Identifier: Apache-2.0
// Numbers of idle stacks in the order in which they came back: taken from the newest end to be
// used, from the oldest to be given up. An array beside the stacks, not a list through them: a list
// would fetch a cold line (and an address translation) of each stack just to find the next one,
// behind the lock of the depot. Guarded by that lock.
//
// Law: reserve() before there are more stacks than there is room for; push() never fails.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

#include "runtime/os.hpp"

namespace weft::inline v0::detail {

class stack_ring {
 public:
  /// Room for `n` numbers. False: the kernel has no memory, and all is as it was.
  [[nodiscard]] bool reserve(std::size_t n) noexcept {
    if (n <= room_) [[likely]]
      return true;
    std::size_t room = room_ == 0 ? least_room : room_;
    while (room < n) room *= 2;
    auto* slots = static_cast<std::uint32_t*>(os::map_anonymous(room * sizeof(std::uint32_t)));
    if (slots == nullptr) return false;
    for (std::uint64_t i = oldest_; i != end_; ++i) slots[i & (room - 1)] = slots_[i & (room_ - 1)];
    if (slots_ != nullptr) ::munmap(slots_, room_ * sizeof(std::uint32_t));
    slots_ = slots;
    room_ = room;
    return true;
  }

  [[nodiscard]] std::size_t size() const noexcept { return end_ - oldest_; }

  void push(std::uint32_t number) noexcept { slots_[end_++ & (room_ - 1)] = number; }

  /// The one that came last. There must be one.
  [[nodiscard]] std::uint32_t pop_newest() noexcept { return slots_[--end_ & (room_ - 1)]; }

  /// The one that came first. There must be one.
  [[nodiscard]] std::uint32_t pop_oldest() noexcept { return slots_[oldest_++ & (room_ - 1)]; }

 private:
  static constexpr std::size_t least_room = 4096;  // 16 KiB

  std::uint32_t* slots_ = nullptr;
  std::size_t room_ = 0;  // a power of two
  std::uint64_t oldest_ = 0;
  std::uint64_t end_ = 0;
};

}  // namespace weft::inline v0::detail
