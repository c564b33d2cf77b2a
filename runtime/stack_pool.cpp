// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack_pool.hpp"

#include <sys/prctl.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include <weft/detail/fatal.hpp>
#include <weft/detail/spin_lock.hpp>
#include "runtime/debug.hpp"
#include "runtime/os.hpp"

#if WEFT_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace weft::inline v0::detail {
namespace {

constexpr std::size_t arena_bytes = 64U << 20;
constexpr std::uint64_t canary_word = 0x5745465443414e41;  // "WEFTCANA"
constexpr std::uint64_t mprotect_budget = 30'000;          // of 32,745 that max_map_count allows
constexpr std::size_t warm_reserve = 256;                  // depot stacks whose pages stay

struct arena {
  char* base;
  int stack_class;
};

// A growing array of stack addresses over mmap: the depot must not use malloc (memory of a burst
// goes back, and no allocator lock is taken under ours).
class address_stack {
 public:
  [[nodiscard]] bool push(char* p) noexcept {
    if (count_ == capacity_ && !grow()) return false;
    items_[count_++] = p;
    return true;
  }
  [[nodiscard]] char* pop() noexcept { return count_ == 0 ? nullptr : items_[--count_]; }
  [[nodiscard]] std::size_t size() const noexcept { return count_; }

 private:
  bool grow() noexcept {
    const std::size_t capacity = capacity_ == 0 ? 4096 : capacity_ * 2;
    auto* items = static_cast<char**>(os::map_anonymous(capacity * sizeof(char*)));
    if (items == nullptr) return false;
    if (count_ != 0) std::memcpy(items, items_, count_ * sizeof(char*));
    if (items_ != nullptr) ::munmap(items_, capacity_ * sizeof(char*));
    items_ = items;
    capacity_ = capacity;
    return true;
  }

  char** items_ = nullptr;
  std::size_t count_ = 0;
  std::size_t capacity_ = 0;
};

struct depot {
  spin_lock lock;
  std::array<address_stack, stack_classes> warm;  // pages may be present
  std::array<address_stack, stack_classes> cold;  // pages given back
  std::array<char*, stack_classes> carve_next{};
  std::array<char*, stack_classes> carve_end{};
  std::uint64_t carved = 0;
  std::uint64_t unguarded = 0;
  guard_kind guard = guard_kind::madvise;
  bool guard_chosen = false;
  bool guard_proven = false;
};

depot pool;
bool canary_everywhere = false;  // WEFT_DEBUG=guard=canary; set once, before the first stack

}  // namespace

bool stacks_are_checked = WEFT_ASAN != 0;

namespace {

// Arenas are appended under the lock and never removed while published; the signal handler reads
// them without it (count: release / acquire).
constexpr std::size_t max_arenas = 1U << 16;
arena* arenas = nullptr;
std::atomic<std::uint32_t> arena_count{0};

guard_kind first_guard_choice() noexcept {
  const char* forced = debug_option("guard");
  if (forced != nullptr && std::strcmp(forced, "mprotect") == 0) return guard_kind::mprotect;
  if (forced != nullptr && std::strcmp(forced, "canary") == 0) return guard_kind::canary;
  return guard_kind::madvise;
}

bool map_arena(int stack_class) noexcept {
  if (arenas == nullptr) {
    arenas = static_cast<arena*>(os::map_anonymous(max_arenas * sizeof(arena), MAP_NORESERVE));
    if (arenas == nullptr) return false;
  }
  const std::uint32_t n = arena_count.load(std::memory_order_relaxed);
  if (n == max_arenas) return false;
  auto* base = static_cast<char*>(os::map_anonymous(arena_bytes, MAP_NORESERVE));
  if (base == nullptr) return false;
  ::madvise(base, arena_bytes, MADV_NOHUGEPAGE);  // one touched page must not become 2 MiB
#ifdef PR_SET_VMA
  ::prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, base, arena_bytes, "weft: stacks");
#endif
  const auto c = static_cast<std::size_t>(stack_class);
  arenas[n] = {base, stack_class};
  arena_count.store(n + 1, std::memory_order_release);
  pool.carve_next[c] = base;
  pool.carve_end[c] = base + arena_bytes;
  return true;
}

// False: EINVAL of a kernel before 6.13, or of memory locked by mlockall. A yes alone is no guard:
// qemu-user says it to every advice it does not know. So the first guard is read in, which must
// fail (EFAULT).
bool install_guard(char* base, std::uint32_t size) noexcept {
  if (::madvise(base, size, MADV_GUARD_INSTALL) != 0) return false;
  if (!pool.guard_proven) pool.guard_proven = ::madvise(base, size, MADV_POPULATE_READ) != 0;
  return pool.guard_proven;
}

// Places the guard of a fresh stack; steps down to the next kind for good when the kernel refuses.
void place_guard(char* base, int stack_class) noexcept {
  if (!pool.guard_chosen) {
    pool.guard_chosen = true;
    pool.guard = first_guard_choice();
    canary_everywhere = pool.guard == guard_kind::canary;
    stacks_are_checked |= canary_everywhere;
  }
  const std::uint32_t size = guard_size(stack_class);
  if (pool.guard == guard_kind::madvise) {
    if (install_guard(base, size)) return;
    pool.guard = guard_kind::mprotect;
    if (debug_option("stacks") != nullptr)
      log_line("weft: stacks: no MADV_GUARD_INSTALL, mprotect");
  }
  if (pool.guard == guard_kind::mprotect) {
    if (pool.carved < mprotect_budget && ::mprotect(base, size, PROT_NONE) == 0) return;
    pool.guard = guard_kind::canary;
    log_line(
        "weft: stacks: guard pages used up (vm.max_map_count); further stacks carry a canary only");
  }
  std::memcpy(base + size, &canary_word, sizeof(canary_word));
  ++pool.unguarded;
}

void check_canary(const char* lo) noexcept {
  // Only when canaries were chosen from the start does every stack carry one.
  if (!canary_everywhere) [[likely]]
    return;
  std::uint64_t word = 0;
  std::memcpy(&word, lo, sizeof(word));
  if (word != canary_word) fatal("stack overflow found by canary (no guard pages)");
}

char* carve_locked(int stack_class) noexcept {
  const auto c = static_cast<std::size_t>(stack_class);
  if (pool.carve_next[c] == pool.carve_end[c] && !map_arena(stack_class)) return nullptr;
  char* base = pool.carve_next[c];
  pool.carve_next[c] += stack_class_size[c];
  place_guard(base, stack_class);
  ++pool.carved;
  return base + guard_size(stack_class);
}

void unpoison(char* lo, std::uint32_t size) noexcept {
#if WEFT_ASAN
  // Frames that ended by a switch, not by a return, leave their redzones behind.
  __asan_unpoison_memory_region(lo, size);
#else
  static_cast<void>(lo);
  static_cast<void>(size);
#endif
}

}  // namespace

int stack_class_for(std::size_t size) noexcept {
  int c = 0;
  while (c < stack_classes - 1 && stack_class_asked[static_cast<std::size_t>(c)] < size) ++c;
  return c;
}

const char* to_string(guard_kind k) noexcept {
  switch (k) {
    case guard_kind::madvise:
      return "MADV_GUARD_INSTALL";
    case guard_kind::mprotect:
      return "mprotect";
    case guard_kind::canary:
      return "canary";
  }
  return "?";
}

stack_memory stack_acquire(int stack_class) noexcept {
  const auto c = static_cast<std::size_t>(stack_class);
  pool.lock.lock();
  char* lo = pool.warm[c].pop();
  if (lo == nullptr) lo = pool.cold[c].pop();
  if (lo == nullptr) lo = carve_locked(stack_class);
  pool.lock.unlock();
  return {lo, lo == nullptr ? 0 : stack_cache::usable_size(stack_class)};
}

void stack_release(int stack_class, char* lo) noexcept {
  check_canary(lo);
  unpoison(lo, stack_cache::usable_size(stack_class));
  pool.lock.lock();
  const bool kept = pool.warm[static_cast<std::size_t>(stack_class)].push(lo);
  pool.lock.unlock();
  if (!kept) {
    // No memory even for the list: the stack stays mapped and unused; its pages go back.
    ::madvise(lo, stack_cache::usable_size(stack_class), MADV_DONTNEED);
  }
}

void stack_cache::release(int stack_class, char* lo) noexcept {
  check_canary(lo);
  unpoison(lo, usable_size(stack_class));
  bin& b = bins_[static_cast<std::size_t>(stack_class)];
  if (b.count == capacity) {
    // Spill the older half; the newest are the hottest, and the very newest may still be in use by
    // the fiber that is just leaving it.
    for (std::uint32_t i = 0; i < capacity / 2; ++i) stack_release(stack_class, b.stacks[i]);
    std::memmove(b.stacks.data(), b.stacks.data() + capacity / 2, capacity / 2 * sizeof(char*));
    b.count = capacity / 2;
  }
  b.stacks[b.count++] = lo;
}

void stack_cache::flush() noexcept {
  for (int c = 0; c < stack_classes; ++c) {
    bin& b = bins_[static_cast<std::size_t>(c)];
    while (b.count > 0) stack_release(c, b.stacks[--b.count]);
  }
}

stack_stats stack_pool_stats() noexcept {
  stack_stats s;
  pool.lock.lock();
  s.mapped_bytes = arena_bytes * arena_count.load(std::memory_order_relaxed);
  s.stacks = pool.carved;
  s.unguarded = pool.unguarded;
  s.guard = pool.guard;
  for (std::size_t c = 0; c < stack_classes; ++c) {
    s.in_depot += pool.warm[c].size() + pool.cold[c].size();
  }
  pool.lock.unlock();
  return s;
}

void stack_pool_trim() noexcept {
  // In batches, so that the lock is held for microseconds and a burst that comes back meanwhile
  // finds its stacks.
  for (int c = 0; c < stack_classes; ++c) {
    const auto i = static_cast<std::size_t>(c);
    for (;;) {
      std::array<char*, 64> batch{};
      std::size_t n = 0;
      pool.lock.lock();
      if (pool.warm[i].size() > warm_reserve) {
        n = std::min(batch.size(), pool.warm[i].size() - warm_reserve);
        for (std::size_t k = 0; k < n; ++k) batch[k] = pool.warm[i].pop();
      }
      pool.lock.unlock();
      if (n == 0) break;
      for (std::size_t k = 0; k < n; ++k) {
        ::madvise(batch[k], stack_cache::usable_size(c), MADV_DONTNEED);
        if (canary_everywhere) std::memcpy(batch[k], &canary_word, sizeof(canary_word));
      }
      pool.lock.lock();
      for (std::size_t k = 0; k < n; ++k) {
        if (!pool.cold[i].push(batch[k])) break;
      }
      pool.lock.unlock();
    }
  }
}

bool is_stack_guard(const void* address, stack_memory* which) noexcept {
  const auto* p = static_cast<const char*>(address);
  const std::uint32_t n = arena_count.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < n; ++i) {
    const arena& a = arenas[i];
    if (p < a.base || p >= a.base + arena_bytes) continue;
    const std::size_t stride = stack_class_size[static_cast<std::size_t>(a.stack_class)];
    const auto offset = static_cast<std::size_t>(p - a.base);
    char* base = a.base + offset / stride * stride;
    const std::uint32_t guard = guard_size(a.stack_class);
    *which = {base + guard, stack_cache::usable_size(a.stack_class)};
    return offset % stride < guard;
  }
  return false;
}

}  // namespace weft::inline v0::detail
