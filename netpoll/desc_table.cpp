// SPDX-License-Identifier: Apache-2.0
#include "netpoll/desc_table.hpp"

#include <sys/mman.h>

#include <new>

#include "runtime/os.hpp"

namespace weft::inline v0::detail {

constinit desc_table descriptors;

poll_desc* desc_table::take() noexcept {
  lock_.lock();
  poll_desc* d = pop_reusable();
  if (d == nullptr && grow()) d = pop_reusable();
  if (d != nullptr) live_.fetch_add(1, std::memory_order_relaxed);
  lock_.unlock();
  return d;
}

void desc_table::give(poll_desc* d) noexcept {
  lock_.lock();
  push(d);
  live_.fetch_sub(1, std::memory_order_relaxed);
  lock_.unlock();
}

// The oldest free record that no request on its way to a worker lies in. Those still queued are
// recent, so a few looks are enough; more than that and new records are cheaper.
poll_desc* desc_table::pop_reusable() noexcept {
  for (int looked = 0; looked < 8 && free_head_ != nullptr; ++looked) {
    poll_desc* d = free_head_;
    free_head_ = d->next_free;
    if (free_head_ == nullptr) free_tail_ = nullptr;
    d->next_free = nullptr;
    bool queued = false;
    for (const fd_side& s : d->side) {
      // acquire: pairs with the worker's release after it has carried the request out
      queued = queued || s.arm_request.queued.load(std::memory_order_acquire) ||
               s.disarm_request.queued.load(std::memory_order_acquire);
    }
    if (!queued) return d;
    push(d);
  }
  return nullptr;
}

void desc_table::push(poll_desc* d) noexcept {
  d->next_free = nullptr;
  (free_tail_ != nullptr ? free_tail_->next_free : free_head_) = d;
  free_tail_ = d;
}

bool desc_table::grow() noexcept {
  const std::uint32_t first = size_.load(std::memory_order_relaxed);
  if (first / slab_size >= max_slabs) return false;
  void* memory = os::map_anonymous(slab_size * sizeof(poll_desc));
  if (memory == nullptr) return false;
  auto* slab = static_cast<poll_desc*>(memory);
  for (std::uint32_t i = 0; i < slab_size; ++i) {
    poll_desc* d = ::new (static_cast<void*>(slab + i)) poll_desc;
    d->slot = first + i;
  }
  slabs_[first / slab_size].store(slab, std::memory_order_release);  // pairs with at()
  size_.store(first + slab_size, std::memory_order_release);
  // In slot order, so that small numbers come first; what is queued behind requests stays behind.
  for (std::uint32_t i = slab_size; i-- > 0;) {
    slab[i].next_free = free_head_;
    if (free_tail_ == nullptr) free_tail_ = slab + i;
    free_head_ = slab + i;
  }
  return true;
}

}  // namespace weft::inline v0::detail
