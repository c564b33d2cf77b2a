// SPDX-License-Identifier: Apache-2.0
// Fiber stacks: carved out of 64 MiB arenas (chunks.hpp), each with a guard at its low end, reused
// last-in first-out. Process-wide, shared by all runtimes; any thread.
//
//   [guard | usable .................................................... | hi)    class_size in all
//
// A stack comes from a P's cache (stack_cache, owner only, no lock), from the depot (one lock, some
// at a time), or freshly carved. Only the fresh ones cost: 0.7 us for the guard, 1.5 us for the
// first page fault. No idle stack is touched before it is used.
// In the depot a stack is warm (its pages may be there) or cold (they have gone). Warm ones that
// nobody has wanted for a period become cold, the oldest first, and an arena all of whose stacks
// are cold is unmapped, unless stacks are still carved out of it.
// Guards: MADV_GUARD_INSTALL (Linux 6.13: no VMA of their own, a million are fine), else mprotect
// (two VMAs each) for as many as vm.max_map_count leaves room for, else none, with a canary at the
// low end looked at when a fiber ends or its stack comes back. WEFT_DEBUG=guard=... begins with one
// of the later ones. An arena has canaries in all of its stacks or in none.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <weft/detail/config.hpp>
#include <weft/detail/relaxed.hpp>

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

/// The same for several: at most `most` (not 0) that have been used lately, else one. 0: none.
[[nodiscard]] std::size_t stack_acquire_some(int stack_class, char** to, std::size_t most) noexcept;
/// Several that have been looked at already (stack_cache::release does).
void stack_release_some(int stack_class, char* const* from, std::size_t n) noexcept;

/// A look at each stack that comes back: canaries, or ASan's shadow.
extern std::atomic<bool> stacks_are_checked __attribute__((visibility("hidden")));

/// Per-P cache in front of the depot. Owner only, but for size().
class stack_cache {
 public:
  [[nodiscard]] stack_memory acquire(int stack_class) noexcept {
    if (char* lo = take(stack_class)) [[likely]]
      return {lo, usable_size(stack_class)};
    return refill(stack_class);
  }
  void release(int stack_class, char* lo) noexcept;

  /// A stack that is here already, of usable_size(); null if there is none.
  [[nodiscard]] WEFT_INLINE char* take(int stack_class) noexcept {
    bin& b = bins_[static_cast<std::size_t>(stack_class)];
    const std::uint32_t n = b.count;
    if (n == 0) return nullptr;
    b.count = n - 1;
    if (n > 1) prefetch_top(stack_class, b.stacks[n - 2]);
    return b.stacks[n - 1];
  }
  /// Gives one back if nothing is to be done about it; else false, and release() does it.
  [[nodiscard]] WEFT_INLINE bool try_put(int stack_class, char* lo) noexcept {
    bin& b = bins_[static_cast<std::size_t>(stack_class)];
    const std::uint32_t n = b.count;
    if (stacks_are_checked.load(std::memory_order_relaxed) || n == b.limit) [[unlikely]]
      return false;
    b.stacks[n] = lo;
    b.count = n + 1;
    return true;
  }
  /// Gives everything back to the depot.
  void flush() noexcept;

  /// How many are here. From any thread; a hint.
  [[nodiscard]] std::uint32_t size(int stack_class) const noexcept {
    return bins_[static_cast<std::size_t>(stack_class)].count;
  }
  [[nodiscard]] bool empty() const noexcept;

  [[nodiscard]] static std::uint32_t usable_size(int stack_class) noexcept {
    return stack_class_size[static_cast<std::size_t>(stack_class)] - guard_size(stack_class);
  }

 private:
  [[nodiscard]] stack_memory refill(int stack_class) noexcept;

  /// The lines that a fiber uses first: those of the stack that comes next are on their way while
  /// this one's fiber starts.
  static WEFT_INLINE void prefetch_top(int stack_class, const char* lo) noexcept {
    const char* hi = lo + usable_size(stack_class);
    for (std::ptrdiff_t i = 2; i < 2 + prefetched_lines; ++i) __builtin_prefetch(hi - i * 64, 1);
  }
  static constexpr int prefetched_lines = 8;

  static constexpr std::uint32_t capacity = 64;
  struct bin {
    std::uint32_t limit = capacity;
    relaxed<std::uint32_t> count = 0;
    std::array<char*, capacity> stacks{};
  };
  // At most some 4 MiB a class: big stacks may be in memory as a whole.
  std::array<bin, stack_classes> bins_{bin{}, bin{}, bin{.limit = 16}, bin{.limit = 4}};
};

struct stack_stats {
  struct of_class {
    std::uint64_t carved = 0;
    std::uint64_t in_depot = 0;  // idle there (not in P caches)
  };
  std::array<of_class, stack_classes> classes;
  std::uint64_t mapped_bytes = 0;    // address space of all arenas
  std::uint64_t resident_bytes = 0;  // of it in memory
  std::uint64_t stacks = 0;          // carved, of all classes
  std::uint64_t in_depot = 0;
  std::uint64_t most_out = 0;   // the most that were not in the depot at a time
  std::uint64_t unguarded = 0;  // carved with a canary only
  guard_kind guard = guard_kind::madvise;
};
/// The look at what is resident takes 30 us an arena.
[[nodiscard]] stack_stats stack_pool_stats() noexcept;

/// Gives memory of stacks back: what has not been wanted since the period before the last;
/// `period_over` begins the next one. A slice of some 60 us of work; true: there is more to do.
[[nodiscard]] bool stack_pool_trim(bool period_over) noexcept;

/// The same for all at once, but for a small reserve: at the end of a runtime.
void stack_pool_shrink() noexcept;

/// Whether stack_pool_trim will have something to do when more time has gone by.
[[nodiscard]] bool stack_pool_can_shrink() noexcept;

/// Chooses the guard, if nobody has, and says in the log which one is active: on request
/// (WEFT_DEBUG=guard or stacks), or when some stacks have none. Once for each change; not in a
/// runtime section.
void stack_guard_report() noexcept;

/// How long something has to be idle until its memory goes back: a second, WEFT_DEBUG=trim=20ms
/// says otherwise; `never` for trim=0.
[[nodiscard]] std::int64_t trim_period_ns() noexcept;

/// For the SIGSEGV handler: is `address` in the guard of a stack of ours? Arithmetic only.
[[nodiscard]] bool is_stack_guard(const void* address, stack_memory* which) noexcept;

/// Whether this stack has a canary only, at its lowest bytes.
[[nodiscard]] bool has_canary(const char* lo) noexcept;

/// Ends the process with an overflow report of the running fiber if the canary is gone.
void check_canary(int stack_class, const char* lo) noexcept;

}  // namespace weft::inline v0::detail
