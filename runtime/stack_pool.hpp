// SPDX-License-Identifier: Apache-2.0
// Fiber stacks: carved out of 64 MiB arenas, each with a guard at its low end, reused last-in
// first-out. Process-wide, shared by all runtimes; any thread.
//
//   [guard | usable ............................ hi)      class_size bytes in all
//
// A stack comes from a P's cache (stack_cache, owner only, no lock), from the depot (one lock), or
// freshly carved. Only the fresh ones cost: 0.7 us for the guard, 1.5 us for the first page fault.
// Guards: MADV_GUARD_INSTALL (Linux 6.13: no VMA of their own, a million are fine), else mprotect
// for the first `mprotect_budget` stacks (two VMAs each against vm.max_map_count), else none, with
// a canary word at the low end checked when the stack comes back. Which one is active is in stats.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

inline constexpr int stack_classes = 4;

/// What users ask for.
inline constexpr std::array<std::uint32_t, stack_classes> stack_class_asked = {
    16U << 10, 64U << 10, 256U << 10, 1024U << 10};

/// What a stack of a class takes of the address space, its guard included; divides an arena.
inline constexpr std::array<std::uint32_t, stack_classes> stack_class_size =
#if defined(__aarch64__)
    {128U << 10, 128U << 10, 512U << 10, 2048U << 10};
#else
    stack_class_asked;
#endif

/// Below each stack of a class. On aarch64 64 KiB, on top of what was asked for: g++ takes that for
/// granted there (with -fstack-clash-protection it probes frames from 64 KiB on, and glibc's
/// threads have such guards), and it is whole pages on every kernel (of 4, 16 or 64 KiB).
constexpr std::uint32_t guard_size([[maybe_unused]] int stack_class) noexcept {
#if defined(__aarch64__)
  return 64U << 10;
#else
  return stack_class == 0 ? 4U << 10 : 16U << 10;
#endif
}

/// The smallest class that holds `size` bytes; the largest one for anything bigger.
[[nodiscard]] int stack_class_for(std::size_t size) noexcept;

enum class guard_kind : std::uint8_t { madvise, mprotect, canary };
[[nodiscard]] const char* to_string(guard_kind k) noexcept;

struct stack_memory {
  char* lo = nullptr;  // lowest usable byte (above the guard)
  std::uint32_t size = 0;
  [[nodiscard]] explicit operator bool() const noexcept { return lo != nullptr; }
};

/// From depot or fresh; null when the kernel has no more address space or mappings.
[[nodiscard]] stack_memory stack_acquire(int stack_class) noexcept;
void stack_release(int stack_class, char* lo) noexcept;

/// A look at each stack that comes back: canaries, or ASan's shadow.
extern bool stacks_are_checked __attribute__((visibility("hidden")));

/// Per-P cache in front of the depot. Owner only.
class stack_cache {
 public:
  [[nodiscard]] stack_memory acquire(int stack_class) noexcept {
    bin& b = bins_[static_cast<std::size_t>(stack_class)];
    if (b.count > 0) [[likely]]
      return {b.stacks[--b.count], usable_size(stack_class)};
    return stack_acquire(stack_class);
  }
  void release(int stack_class, char* lo) noexcept;

  /// A stack that is here already, of usable_size(); null if there is none.
  [[nodiscard]] WEFT_INLINE char* take(int stack_class) noexcept {
    bin& b = bins_[static_cast<std::size_t>(stack_class)];
    return b.count > 0 ? b.stacks[--b.count] : nullptr;
  }
  /// Gives one back if nothing is to be done about it; else false, and release() does it.
  [[nodiscard]] WEFT_INLINE bool try_put(int stack_class, char* lo) noexcept {
    bin& b = bins_[static_cast<std::size_t>(stack_class)];
    if (stacks_are_checked || b.count == capacity) [[unlikely]]
      return false;
    b.stacks[b.count++] = lo;
    return true;
  }
  /// Gives everything back to the depot.
  void flush() noexcept;

  [[nodiscard]] static std::uint32_t usable_size(int stack_class) noexcept {
    return stack_class_size[static_cast<std::size_t>(stack_class)] - guard_size(stack_class);
  }

 private:
  static constexpr std::uint32_t capacity = 64;
  struct bin {
    std::uint32_t count = 0;
    std::array<char*, capacity> stacks{};
  };
  std::array<bin, stack_classes> bins_{};
};

struct stack_stats {
  std::uint64_t mapped_bytes = 0;  // address space of all arenas
  std::uint64_t stacks = 0;        // carved, of all classes
  std::uint64_t in_depot = 0;      // idle in the depot (not in P caches)
  std::uint64_t unguarded = 0;     // carved with a canary only
  guard_kind guard = guard_kind::madvise;
};
[[nodiscard]] stack_stats stack_pool_stats() noexcept;

/// Returns the pages of idle depot stacks beyond a small reserve to the kernel.
void stack_pool_trim() noexcept;

/// For the SIGSEGV handler: is `address` in the guard of a stack of ours? Arithmetic only.
[[nodiscard]] bool is_stack_guard(const void* address, stack_memory* which) noexcept;

}  // namespace weft::inline v0::detail
