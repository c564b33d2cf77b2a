// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack_watch.hpp"

#include <array>
#include <atomic>
#include <bit>
#include <cstring>

#include <weft/detail/fiber_core.hpp>
#include "runtime/debug.hpp"
#include "runtime/os.hpp"
#include "runtime/stack_pool.hpp"

namespace weft::inline v0::detail {
namespace {

// As the ledger's table: a slot's key is claimed once by CAS, counters are relaxed.
struct account {
  std::atomic<std::uintptr_t> key{0};
  std::atomic<std::uint64_t> fibers{0};
  std::atomic<std::uint32_t> most{0};
};
constexpr std::size_t table_size = 4096;
static_assert(std::has_single_bit(table_size));
std::array<account, table_size> table;
std::array<account, stack_classes> overflow;  // sites that no longer fit

// Sites are at least 8-byte aligned static objects: the low bits carry the class + 1.
std::uintptr_t key_of(const void* site, int stack_class) noexcept {
  return (reinterpret_cast<std::uintptr_t>(site) & ~std::uintptr_t{7}) |
         (static_cast<std::uintptr_t>(stack_class) + 1);
}
static_assert(stack_classes <= 7);

account& find(const void* site, int stack_class) noexcept {
  const std::uintptr_t key = key_of(site, stack_class);
  std::size_t i = (key * 0x9E3779B97F4A7C15) >> 52;
  for (std::size_t probes = 0; probes < 64; ++probes, ++i) {
    account& a = table[i % table_size];
    std::uintptr_t seen = a.key.load(std::memory_order_acquire);
    if (seen == 0 && a.key.compare_exchange_strong(seen, key, std::memory_order_acq_rel)) return a;
    if (seen == key) return a;
  }
  return overflow[static_cast<std::size_t>(stack_class)];
}

void record(const void* site, int stack_class, std::uint32_t bytes) noexcept {
  account& a = find(site, stack_class);
  a.fibers.fetch_add(1, std::memory_order_relaxed);
  std::uint32_t most = a.most.load(std::memory_order_relaxed);
  while (most < bytes && !a.most.compare_exchange_weak(most, bytes, std::memory_order_relaxed)) {
  }
}

// Where measuring begins: a canary's page is in memory anyway.
const char* lowest_measured(const char* lo) noexcept {
  return has_canary(lo) ? lo + os::page_size() : lo;
}

#if WEFT_ASAN || WEFT_TSAN
constexpr std::uintptr_t own_frames = stack_page;  // of the system call's interceptors
#else
constexpr std::uintptr_t own_frames = 512;
#endif

// The pages below the caller's frame, or all. Not inlined: its frame is the lowest that lives.
WEFT_NOINLINE void give_pages_back(int stack_class, char* lo, bool in_use) noexcept {
  char* from = lo + (lowest_measured(lo) - lo);
  std::size_t size = stack_cache::usable_size(stack_class) - static_cast<std::size_t>(from - lo);
  if (in_use) {
    const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) - own_frames;
    const auto end = here / os::page_size() * os::page_size();
    const auto begin = reinterpret_cast<std::uintptr_t>(from);
    size = end > begin ? end - begin : 0;
  }
  if (size != 0) ::madvise(from, size, MADV_DONTNEED);
}

}  // namespace

bool stacks_are_watched = false;
bool stack_use_is_measured = false;

void stack_watch_init() noexcept {
  stack_use_is_measured = debug_option_int("stacks", 0) != 0;
  const char* guard = debug_option("guard");
  stacks_are_watched =
      stack_use_is_measured || (guard != nullptr && std::strcmp(guard, "canary") == 0);
}

std::uint32_t bytes_in_memory(int stack_class, const char* lo) noexcept {
  std::array<unsigned char, stack_class_size.back() / stack_page> pages{};
  const char* from = lowest_measured(lo);
  const auto size = stack_cache::usable_size(stack_class) - static_cast<std::uint32_t>(from - lo);
  if (::mincore(const_cast<char*>(from), size, pages.data()) != 0) return 0;
  if (size == 0) return stack_cache::usable_size(stack_class);  // one page, the canary's
  const auto page_size = static_cast<std::uint32_t>(os::page_size());
  std::uint32_t page = 0;
  while (page < size / page_size && (pages[page] & 1U) == 0) ++page;
  return size - page * page_size;
}

void look_at_stack(const void* site, int stack_class, char* lo, bool in_use) noexcept {
  check_canary(stack_class, lo);
  if (!stack_use_is_measured) return;
  record(site, stack_class, bytes_in_memory(stack_class, lo));
  give_pages_back(stack_class, lo, in_use);
}

void stack_use_visit(void (*visit)(const stack_use&, void*), void* context) {
  const auto show = [&](const void* site, int stack_class, const account& a) {
    visit({site, stack_class, a.fibers.load(std::memory_order_relaxed),
           a.most.load(std::memory_order_relaxed)},
          context);
  };
  for (const account& a : table) {
    const std::uintptr_t key = a.key.load(std::memory_order_acquire);
    if (key == 0) continue;
    show(reinterpret_cast<const void*>(key & ~std::uintptr_t{7}), static_cast<int>(key & 7) - 1, a);
  }
  for (int c = 0; c < stack_classes; ++c) {
    const account& a = overflow[static_cast<std::size_t>(c)];
    if (a.fibers.load(std::memory_order_relaxed) != 0) show(nullptr, c, a);
  }
}

}  // namespace weft::inline v0::detail
