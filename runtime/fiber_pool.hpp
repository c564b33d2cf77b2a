// SPDX-License-Identifier: Apache-2.0
// Gs and closure blocks: slabs, type-stable for the life of the process, shared by all runtimes. A
// G is taken from a P's cache (owner only), which trades batches with one global list. What nobody
// has wanted there for a while goes back to its slab, and the pages of whole slabs to the kernel.
// Because addresses of slabs are never given back, and zeroes are a dead G, a walker may look at
// any G at any time and read its state.
#pragma once

#include <cstddef>
#include <cstdint>

#include <weft/detail/fiber_core.hpp>

namespace weft::inline v0::detail {

/// Per-P cache of dead Gs. Owner only. Two chains (Bonwick's magazines, "Magazines and vmem",
/// 2001): the one in use and a full spare one, so that whole chains go to the global list and come
/// back without a walk.
class fiber_cache {
 public:
  /// Null when the kernel gives no more memory.
  [[nodiscard]] fiber_core* acquire() noexcept {
    if (head_ == nullptr && !refill()) [[unlikely]]
      return nullptr;
    return take();
  }
  /// The same without a look elsewhere: null when the chain in use is at its end.
  [[nodiscard]] WEFT_INLINE fiber_core* take() noexcept {
    fiber_core* g = head_;
    if (g == nullptr) return nullptr;
    head_ = g->free_next;
    --count_;
    // The line that the next one is started with. (There may be none: a prefetch never faults.)
    const auto next = reinterpret_cast<std::uintptr_t>(head_);
    __builtin_prefetch(reinterpret_cast<const void*>(next + offsetof(fiber_core, m)), 1);
    return g;
  }
  /// Whether put() may be used.
  [[nodiscard]] WEFT_INLINE bool has_room() const noexcept { return count_ + 1 < chain_length; }
  WEFT_INLINE void put(fiber_core* g) noexcept {
    g->free_next = head_;
    head_ = g;
    ++count_;
  }
  void release(fiber_core* g) noexcept {
    g->free_next = head_;
    head_ = g;
    if (++count_ == chain_length) [[unlikely]]
      spill();
  }
  /// Gives everything back to the global list.
  void flush() noexcept;
  [[nodiscard]] bool empty() const noexcept { return head_ == nullptr && spare_ == nullptr; }

  static constexpr std::uint32_t chain_length = 64;

 private:
  bool refill() noexcept;
  void spill() noexcept;

  fiber_core* head_ = nullptr;
  fiber_core* spare_ = nullptr;  // chain_length of them, or null
  std::uint32_t count_ = 0;      // from head_ on
};

/// For threads without a P.
[[nodiscard]] fiber_core* fiber_acquire_global() noexcept;
void fiber_release_global(fiber_core* g) noexcept;

/// Visits every G that was ever carved, dead ones included; they may change under the visitor.
void fiber_visit(void (*visit)(fiber_core*, void*), void* context);

/// The same for those of one slab, numbered from 0. False: there is no such slab yet.
bool fiber_visit_slab(std::size_t slab, void (*visit)(fiber_core*, void*), void* context);

/// Gives memory of the global list and of the free blocks back: what has not been wanted since the
/// period before the last. `period_over` begins the next one. A slice of some 100 us of work; true:
/// there is more to do. Any thread.
[[nodiscard]] bool fiber_pool_trim(bool period_over) noexcept;

/// The same for all at once, but for a small reserve: at the end of a runtime.
void fiber_pool_shrink() noexcept;

/// Whether fiber_pool_trim will have something to do when more time has gone by.
[[nodiscard]] bool fiber_pool_can_shrink() noexcept;

/// Memory for closures over inline_closure_size, up to 4 KiB from size-classed free lists, beyond
/// that from operator new. Throws std::bad_alloc.
[[nodiscard]] void* closure_acquire(std::size_t size, std::size_t align);
void closure_release(void* p, std::size_t size, std::size_t align) noexcept;

}  // namespace weft::inline v0::detail
