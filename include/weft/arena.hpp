// SPDX-License-Identifier: Apache-2.0
// Memory for one request: taken by moving a pointer, given back all at once. A
// std::pmr::memory_resource, so std::pmr containers and strings live in it:
//
//   weft::arena memory;
//   std::pmr::vector<std::pmr::string> words(&memory);
//
// deallocate() gives back only what was allocated last (so a growing string reuses its place) and
// blocks of their own, see below; everything else stays until reset() or the end. Nothing is
// destroyed then: what owns something beside memory of this arena must be destroyed by its user
// before.
//
// Chunks double from `first_chunk` to `max_chunk`. They come from, and go back to, caches of the Ps
// that all arenas share; reset() keeps up to `keep` bytes of them, so a request served with an
// arena of a pool<arena> takes nothing from the heap in steady state. What is larger than a quarter
// of `max_chunk` gets a block of its own, unless there happens to be room, and reset() gives that
// back.
//
// One user at a time: an arena belongs to one request or fiber (which may move between threads). A
// bump allocator as in LLVM's BumpPtrAllocator and std::pmr::monotonic_buffer_resource; unlike the
// latter it can be used again without giving its memory up. Under AddressSanitizer memory that is
// not handed out is poisoned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <memory_resource>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include <weft/detail/config.hpp>

namespace weft::inline v0 {

/// How an arena is set up. Sizes in bytes.
struct arena_options {
  /// The first chunk; rounded up to a power of two from 4 KiB to 64 KiB.
  std::size_t first_chunk = std::size_t{4} << 10;
  /// The largest; likewise.
  std::size_t max_chunk = std::size_t{64} << 10;
  /// How much reset() keeps for the next round.
  std::size_t keep = std::size_t{256} << 10;
  /// At most this much memory, chunks and large blocks together: beyond it allocation throws
  /// std::bad_alloc. 0: no limit.
  std::size_t limit = 0;
  /// Where chunks and large blocks come from, instead of the shared caches and operator new. It
  /// must outlive the arena.
  std::pmr::memory_resource* upstream = nullptr;
};

/// Figures of an arena, in bytes unless they say otherwise.
struct arena_stats {
  std::size_t used = 0;           ///< handed out since the last reset, padding included
  std::size_t peak_used = 0;      ///< most of it in any round
  std::size_t reserved = 0;       ///< chunks and large blocks that it holds
  std::size_t chunks = 0;         ///< how many it holds
  std::size_t large_blocks = 0;   ///< allocations with a block of their own
  std::uint64_t allocations = 0;  ///< calls of allocate() since the last reset
  std::uint64_t resets = 0;
};

class WEFT_EXPORT arena final : public std::pmr::memory_resource {
 public:
  /// (Not explicit: an aggregate makes its members from {}.)
  arena() noexcept : arena(arena_options{}) {}
  explicit arena(const arena_options& o) noexcept;
  /// The same; `first` is used before any chunk. It stays the caller's, and must outlive the arena.
  explicit arena(std::span<std::byte> first, const arena_options& o = {}) noexcept;
  arena(const arena&) = delete;
  arena& operator=(const arena&) = delete;
  /// Gives all memory back. Destroys nothing in it.
  ~arena() override;

  /// Forgets all allocations, and keeps chunks for the next. Destroys nothing in them.
  void reset() noexcept;
  /// The same, and gives all chunks back.
  void release() noexcept;

  /// A T in the arena. Its destructor does not run unless the caller sees to it.
  template <class T, class... Args>
  [[nodiscard]] T* make(Args&&... args) {
    return std::construct_at(static_cast<T*>(allocate(sizeof(T), alignof(T))),
                             std::forward<Args>(args)...);
  }
  /// n value-initialised Ts in the arena. Throws std::bad_array_new_length when n is too large for
  /// any memory. Destructors do not run, so T must not need them.
  template <class T>
  [[nodiscard]] std::span<T> make_array(std::size_t n) {
    static_assert(std::is_trivially_destructible_v<T>);
    if (n > SIZE_MAX / sizeof(T)) throw std::bad_array_new_length();
    auto* first = static_cast<T*>(allocate(n * sizeof(T), alignof(T)));
    std::uninitialized_value_construct_n(first, n);
    return {first, n};
  }

  [[nodiscard]] arena_stats stats() const noexcept;

 private:
  struct chunk;  // heads the memory of one
  struct large;  // likewise, of a block of its own

  void* do_allocate(std::size_t bytes, std::size_t align) override;
  void do_deallocate(void* p, std::size_t bytes, std::size_t align) override;
  [[nodiscard]] bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
    return this == &other;
  }

  [[nodiscard]] void* bump(std::size_t bytes, std::size_t align) noexcept;
  [[nodiscard]] void* allocate_large(std::size_t bytes, std::size_t align);
  void next_chunk(std::size_t at_least);
  void enter(chunk* c) noexcept;
  void begin_round() noexcept;
  void leave_region() noexcept;
  void check_limit(std::size_t more) const;
  [[nodiscard]] chunk* new_chunk(std::size_t size);
  void free_chunk(chunk* c) noexcept;
  [[nodiscard]] bool is_large(std::size_t bytes, std::size_t align) const noexcept;
  [[nodiscard]] bool deallocate_large(const void* p) noexcept;
  void free_large(large* l) noexcept;
  void free_large_blocks() noexcept;

  arena_options options_;
  std::span<std::byte> first_;
  // The region that is being handed out: [at_, end_) is free.
  std::byte* begin_ = nullptr;
  std::byte* at_ = nullptr;
  std::byte* end_ = nullptr;
  chunk* chunks_ = nullptr;   // in the order in which they are filled
  chunk* current_ = nullptr;  // null: `first_`
  chunk* last_ = nullptr;
  large* large_ = nullptr;
  std::size_t next_size_ = 0;
  std::size_t used_before_ = 0;  // in regions that are left, and large blocks
  arena_stats stats_;
};

}  // namespace weft::inline v0
