// SPDX-License-Identifier: Apache-2.0
// Gs and closure blocks: slabs over mmap, type-stable for the life of the process, shared by all
// runtimes. A G is taken from a P's cache (owner only), which trades batches with one global list.
// Because slabs are never given back, a walker may look at any G at any time and read its state.
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

 private:
  static constexpr std::uint32_t chain_length = 64;
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

/// Memory for closures over inline_closure_size, up to 4 KiB from size-classed free lists, beyond
/// that from operator new. Throws std::bad_alloc.
[[nodiscard]] void* closure_acquire(std::size_t size, std::size_t align);
void closure_release(void* p, std::size_t size, std::size_t align) noexcept;

}  // namespace weft::inline v0::detail
