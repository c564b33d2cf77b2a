// SPDX-License-Identifier: Apache-2.0
// Slabs: 256 KiB each, cut out of chunks, full of objects of one size. Their addresses are never
// given back, so an object's memory is readable for ever; their pages are, once all objects of a
// slab have been filed: they read as zeroes then.
//
// A pool keeps its free objects in lists of its own, which know nothing of slabs. The ones that
// nobody has wanted for a while it files: each goes to the list of its slab, and from there back
// into use, or, with all others of its slab, out of memory. A slab_set is guarded by its pool's
// lock; records of slabs belong to the set that the slab belongs to.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weft::inline v0::detail {

inline constexpr std::size_t slab_bytes = 256U << 10;

/// A slab's number plus one; 0: none.
using slab_id = std::uint32_t;

/// What slab_set::supply gives: objects linked in a list, or zeroed ones side by side.
struct slab_supply {
  void* list = nullptr;
  char* begin = nullptr;
  char* end = nullptr;
  bool never_used = false;  // of begin .. end
};

class slab_set {
 public:
  /// Objects of `size` bytes; a free one has the address of the next free one at `link`.
  constexpr slab_set(std::size_t size, std::size_t link) noexcept : size_(size), link_(link) {}

  /// Filed ones first, then a slab whose pages had gone, then a new slab. False: no memory.
  [[nodiscard]] bool supply(slab_supply* out) noexcept;

  /// Takes a free object. If it was the last of its slab, the slab: the caller then calls
  /// slab_give_back outside of the lock, and add_empty.
  [[nodiscard]] slab_id file(void* object) noexcept;
  void add_empty(slab_id slab) noexcept;

  [[nodiscard]] std::size_t objects_a_slab() const noexcept { return slab_bytes / size_; }

 private:
  std::size_t size_;
  std::size_t link_;
  slab_id partial_ = 0;  // slabs with filed objects (or, by now, without)
  slab_id empty_ = 0;    // slabs without pages
};

/// The pages of a slab all of whose objects are filed.
void slab_give_back(slab_id slab) noexcept;

/// Any thread: the slab at this address is without pages, so all of its objects are free ones.
[[nodiscard]] bool is_empty_slab(const void* base) noexcept;

}  // namespace weft::inline v0::detail
