// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack_pool.hpp"

#include <fcntl.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>
#include <span>
#include <utility>

#include <weft/detail/fiber_core.hpp>
#include <weft/detail/spin_lock.hpp>
#include <weft/detail/timer_node.hpp>
#include "runtime/chunks.hpp"
#include "runtime/debug.hpp"
#include "runtime/low_water.hpp"
#include "runtime/os.hpp"
#include "runtime/signals.hpp"
#include "runtime/stack_ring.hpp"

#if WEFT_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace weft::inline v0::detail {
namespace {

constexpr std::uint64_t canary_word = 0x5745465443414e41;  // "WEFTCANA"
constexpr std::size_t canary_words = 8;                    // one cache line
// What is kept of a class at the end of a runtime: a few MiB.
constexpr std::array<std::size_t, stack_classes> reserved_stacks = {256, 256, 16, 4};
constexpr std::size_t max_arenas = 1U << 15;  // 2 TiB
constexpr std::size_t cold_words = chunk_bytes / stack_class_size[0] / 64;

// Stacks are numbered as if all arenas lay side by side, cut into the smallest class.
constexpr std::uint32_t numbers_an_arena = chunk_bytes / stack_class_size[0];
static_assert(std::uint64_t{max_arenas} * numbers_an_arena <= UINT32_MAX);

// A number plus one; 0: none.
using arena_id = std::uint32_t;

// A chunk cut into stacks of one class. Under the depot's lock, but stack_class and canary: they
// are written before the chunk is published, and stay while there are stacks in it.
struct arena {
  char* base;
  int stack_class;
  bool canary;
  std::uint32_t carved;
  std::uint32_t by_mprotect;  // of them guarded that way
  std::uint32_t cold_count;
  arena_id newer;                              // in the list of its class's arenas with cold stacks
  arena_id older;                              // there, or in the list of numbers that are free
  std::array<std::uint64_t, cold_words> cold;  // bit i: stack i
};

struct stack_class_depot {
  stack_ring warm;   // room for all that were ever carved
  low_water wanted;  // counts the warm ones
  arena_id newest_cold = 0;
  std::uint64_t cold = 0;
  arena_id carving = 0;  // the arena that fresh ones come from
  std::uint32_t carve_next = 0;
  std::uint64_t carved = 0;
};

struct depot {
  spin_lock lock;
  std::array<stack_class_depot, stack_classes> classes;
  arena* arenas = nullptr;  // max_arenas of them, in zeroed pages
  arena_id last = 0;        // the highest number in use so far
  arena_id free_number = 0;
  std::uint64_t mapped = 0;  // arenas
  std::uint64_t out = 0;     // stacks not in the depot
  std::uint64_t most_out = 0;
  std::uint64_t by_mprotect = 0;
  std::uint64_t mprotect_budget = 0;
  std::uint64_t unguarded = 0;
  guard_kind guard = guard_kind::madvise;
  guard_kind first_guard = guard_kind::madvise;
  bool guard_chosen = false;
};

depot pool;
std::atomic<bool> some_canaries{false};
std::atomic<bool> guard_news{true};  // for stack_guard_report

stack_class_depot& depot_of(int stack_class) noexcept {
  return pool.classes[static_cast<std::size_t>(stack_class)];
}
arena& arena_at(arena_id id) noexcept { return pool.arenas[id - 1]; }

std::uint32_t class_size(int stack_class) noexcept {
  return stack_class_size[static_cast<std::size_t>(stack_class)];
}

arena_id arena_of(const void* address) noexcept {
  const chunk_owner chunk = find_chunk(address);
  return chunk.use == chunk_use::stacks ? chunk.index + 1 : 0;
}

char* stack_in(const arena& a, std::size_t i) noexcept {
  return a.base + i * class_size(a.stack_class) + guard_size(a.stack_class);
}

// --- guards

// False: EINVAL of a kernel before 6.13, or of memory locked by mlockall. A yes alone is no guard:
// qemu-user says it to every advice it does not know. So this one is read in, which must fail
// (EFAULT).
bool probe_guard_install() noexcept {
  const std::size_t size = os::page_size();
  void* page = os::map_anonymous(size);
  if (page == nullptr) return false;
  const bool works = ::madvise(page, size, MADV_GUARD_INSTALL) == 0 &&
                     ::madvise(page, size, MADV_POPULATE_READ) != 0;
  ::munmap(page, size);
  return works;
}

guard_kind best_guard() noexcept {
  const char* wanted = debug_option("guard");
  if (wanted != nullptr && std::strcmp(wanted, "mprotect") == 0) return guard_kind::mprotect;
  if (wanted != nullptr && std::strcmp(wanted, "canary") == 0) return guard_kind::canary;
  return probe_guard_install() ? guard_kind::madvise : guard_kind::mprotect;
}

// Each guard makes two mappings of one; a twelfth stays for the rest of the process.
std::uint64_t affordable_mprotect_guards() noexcept {
  long limit = 65'530;  // the kernel's default
  const int fd = ::open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    char text[32];
    const ssize_t n = ::read(fd, text, sizeof(text) - 1);
    ::close(fd);
    if (n > 0) {
      text[n] = '\0';
      limit = std::max(0L, std::strtol(text, nullptr, 10));
    }
  }
  return static_cast<std::uint64_t>(limit) / 2 / 12 * 11;
}

void begin_canaries() noexcept {
  pool.guard = guard_kind::canary;
  some_canaries.store(true, std::memory_order_relaxed);
  stacks_are_checked.store(true, std::memory_order_relaxed);
}

void choose_guard_locked() noexcept {
  pool.guard_chosen = true;
  pool.guard = pool.first_guard = best_guard();
  pool.mprotect_budget = affordable_mprotect_guards();
  const std::int64_t forced = debug_option_int("guards", -1);
  if (forced >= 0) pool.mprotect_budget = static_cast<std::uint64_t>(forced);
  if (pool.guard == guard_kind::canary) begin_canaries();
}

// False: the kind has changed for good, and so may have the arena that is carved.
bool place_guard_locked(arena& a, char* base) noexcept {
  const std::uint32_t size = guard_size(a.stack_class);
  if (pool.guard == guard_kind::canary) return true;
  if (pool.guard == guard_kind::madvise) {
    if (::madvise(base, size, MADV_GUARD_INSTALL) == 0) return true;
    pool.guard = guard_kind::mprotect;  // memory was locked meanwhile
  } else {
    if (pool.by_mprotect < pool.mprotect_budget && ::mprotect(base, size, PROT_NONE) == 0) {
      ++pool.by_mprotect;
      ++a.by_mprotect;
      return true;
    }
    // Canaries are for whole arenas: what is left of these is not used.
    for (stack_class_depot& d : pool.classes) d.carving = 0;
    begin_canaries();
  }
  guard_news.store(true, std::memory_order_relaxed);
  return false;
}

void write_canary(char* lo) noexcept {
  for (std::size_t i = 0; i < canary_words; ++i) {
    std::memcpy(lo + i * sizeof(canary_word), &canary_word, sizeof(canary_word));
  }
}

WEFT_NO_SANITIZE bool canary_is_intact(const char* lo) noexcept {
  const auto* words = reinterpret_cast<const volatile std::uint64_t*>(lo);
  for (std::size_t i = 0; i < canary_words; ++i) {
    if (words[i] != canary_word) return false;
  }
  return true;
}

// --- arenas

arena_id free_number_locked() noexcept {
  if (pool.arenas == nullptr) {
    pool.arenas = static_cast<arena*>(os::map_anonymous(max_arenas * sizeof(arena), MAP_NORESERVE));
    if (pool.arenas == nullptr) return 0;
  }
  if (const arena_id id = pool.free_number) {
    pool.free_number = arena_at(id).older;
    return id;
  }
  return pool.last < max_arenas ? ++pool.last : 0;
}

void put_free_number_locked(arena_id id) noexcept {
  arena_at(id).base = nullptr;
  arena_at(id).older = std::exchange(pool.free_number, id);
}

bool map_arena_locked(int stack_class) noexcept {
  const arena_id id = free_number_locked();
  if (id == 0) return false;
  arena& a = arena_at(id);
  a.stack_class = stack_class;
  a.canary = pool.guard == guard_kind::canary;
  a.carved = a.by_mprotect = a.cold_count = 0;
  a.cold.fill(0);
  a.base = chunk_map({chunk_use::stacks, id - 1}, "weft: stacks");
  if (a.base == nullptr) {
    put_free_number_locked(id);
    return false;
  }
  ++pool.mapped;
  depot_of(stack_class).carving = id;
  depot_of(stack_class).carve_next = 0;
  return true;
}

char* carve_locked(int stack_class) noexcept {
  stack_class_depot& d = depot_of(stack_class);
  for (;;) {
    if ((d.carving == 0 || d.carve_next == chunk_bytes) && !map_arena_locked(stack_class)) {
      return nullptr;
    }
    if (!d.warm.reserve(d.carved + 1)) return nullptr;
    arena& a = arena_at(d.carving);
    char* base = a.base + d.carve_next;
    if (!place_guard_locked(a, base)) continue;
    d.carve_next += class_size(stack_class);
    ++a.carved;
    ++d.carved;
    if (a.canary) ++pool.unguarded;
    return base + guard_size(stack_class);
  }
}

// --- warm stacks

std::uint32_t number_of(const char* lo) noexcept {
  const arena_id id = arena_of(lo);
  const std::size_t i = offset_in_chunk(lo) / class_size(arena_at(id).stack_class);
  return (id - 1) * numbers_an_arena + static_cast<std::uint32_t>(i);
}
char* stack_numbered(std::uint32_t number) noexcept {
  return stack_in(arena_at(number / numbers_an_arena + 1), number % numbers_an_arena);
}

void push_warm_locked(int stack_class, const char* lo) noexcept {
  stack_class_depot& d = depot_of(stack_class);
  d.warm.push(number_of(lo));
  d.wanted.add();
}

std::size_t pop_warm_locked(int stack_class, char** to, std::size_t most) noexcept {
  stack_class_depot& d = depot_of(stack_class);
  const std::size_t n = std::min(most, d.warm.size());
  for (std::size_t i = 0; i < n; ++i) {
    d.wanted.take();
    to[n - 1 - i] = stack_numbered(d.warm.pop_newest());
  }
  return n;
}

// Null: all have been wanted lately.
char* pop_oldest_locked(int stack_class) noexcept {
  stack_class_depot& d = depot_of(stack_class);
  return d.wanted.give_up() ? stack_numbered(d.warm.pop_oldest()) : nullptr;
}

// --- cold stacks: bits of their arenas

void link_cold_locked(stack_class_depot& d, arena_id id) noexcept {
  arena& a = arena_at(id);
  a.newer = 0;
  a.older = d.newest_cold;
  if (a.older != 0) arena_at(a.older).newer = id;
  d.newest_cold = id;
}

void unlink_cold_locked(stack_class_depot& d, arena_id id) noexcept {
  const arena& a = arena_at(id);
  (a.newer != 0 ? arena_at(a.newer).older : d.newest_cold) = a.older;
  if (a.older != 0) arena_at(a.older).newer = a.newer;
}

void push_cold_locked(char* lo) noexcept {
  const arena_id id = arena_of(lo);
  arena& a = arena_at(id);
  const std::size_t i = offset_in_chunk(lo) / class_size(a.stack_class);
  a.cold[i / 64] |= std::uint64_t{1} << (i % 64);
  stack_class_depot& d = depot_of(a.stack_class);
  ++d.cold;
  if (a.cold_count++ == 0) link_cold_locked(d, id);
}

char* pop_cold_locked(int stack_class) noexcept {
  stack_class_depot& d = depot_of(stack_class);
  const arena_id id = d.newest_cold;
  if (id == 0) return nullptr;
  arena& a = arena_at(id);
  std::size_t w = 0;
  while (a.cold[w] == 0) ++w;
  const auto i = w * 64 + static_cast<std::size_t>(std::countr_zero(a.cold[w]));
  a.cold[w] &= a.cold[w] - 1;
  --d.cold;
  if (--a.cold_count == 0) unlink_cold_locked(d, id);
  return stack_in(a, i);
}

// The arena that lo lies in, out of all lists, if nothing but cold stacks is in it.
arena_id take_empty_locked(const char* lo) noexcept {
  const arena_id id = arena_of(lo);
  if (id == 0) return 0;
  arena& a = arena_at(id);
  stack_class_depot& d = depot_of(a.stack_class);
  if (a.cold_count != a.carved || id == d.carving) return 0;
  unlink_cold_locked(d, id);
  d.cold -= a.cold_count;
  d.carved -= a.carved;
  pool.by_mprotect -= a.by_mprotect;
  if (a.canary) pool.unguarded -= a.carved;
  --pool.mapped;
  return id;
}

// --- trimming

constexpr std::size_t most_at_once = 64;
// If all of it is in memory, to give that up takes some 100 us.
constexpr std::size_t most_bytes_at_once = 4U << 20;

// Neighbours go in one call. (Guards between them stay: MADV_DONTNEED takes pages only.)
void drop_pages(std::span<char*> stacks, int stack_class) noexcept {
  std::ranges::sort(stacks);
  const std::size_t stride = class_size(stack_class);
  for (std::size_t i = 0; i < stacks.size();) {
    std::size_t run = 1;
    while (i + run < stacks.size() && stacks[i + run] == stacks[i] + run * stride) ++run;
    const std::size_t size = (run - 1) * stride + stack_cache::usable_size(stack_class);
    ::madvise(stacks[i], size, MADV_DONTNEED);
    i += run;
  }
}

// The oldest unwanted stacks of a class lose their pages. True: there may be more.
bool trim_some(int stack_class) noexcept {
  const std::size_t most =
      std::min<std::size_t>(most_at_once, most_bytes_at_once / class_size(stack_class));
  std::array<char*, most_at_once> batch{};
  std::size_t n = 0;
  pool.lock.lock();
  while (n < most && (batch[n] = pop_oldest_locked(stack_class)) != nullptr) ++n;
  pool.lock.unlock();
  if (n == 0) return false;
  drop_pages(std::span(batch).first(n), stack_class);
  std::array<arena_id, most_at_once> empty{};
  std::size_t n_empty = 0;
  pool.lock.lock();
  for (std::size_t i = 0; i < n; ++i) {
    push_cold_locked(batch[i]);
    if (const arena_id id = take_empty_locked(batch[i])) empty[n_empty++] = id;
  }
  pool.lock.unlock();
  if (n_empty == 0) return n == most;
  for (std::size_t i = 0; i < n_empty; ++i) chunk_unmap(arena_at(empty[i]).base);
  pool.lock.lock();
  for (std::size_t i = 0; i < n_empty; ++i) put_free_number_locked(empty[i]);
  pool.lock.unlock();
  return n == most;
}

bool trim_slice() noexcept {
  bool more = false;
  for (int c = 0; c < stack_classes; ++c) more |= trim_some(c);
  return more;
}

// --- what is in memory

constexpr std::size_t most_pages_at_once = 1024;

// qemu-user refuses to look at a range with a protected page in it: what is around that page is
// found by halves.
std::size_t resident_pages(char* from, std::size_t count) noexcept {
  const std::size_t page = os::page_size();
  std::array<unsigned char, most_pages_at_once> there;
  if (::mincore(from, count * page, there.data()) == 0) {
    return static_cast<std::size_t>(
        std::count_if(there.begin(), there.begin() + static_cast<std::ptrdiff_t>(count),
                      [](unsigned char p) { return (p & 1U) != 0; }));
  }
  if (count == 1) return 0;
  const std::size_t half = count / 2;
  return resident_pages(from, half) + resident_pages(from + half * page, count - half);
}

std::uint64_t resident_bytes(const char* base, std::size_t size) noexcept {
  const std::size_t page = os::page_size();
  const std::size_t pages = size / page;
  std::uint64_t n = 0;
  for (std::size_t at = 0; at < pages; at += most_pages_at_once) {
    n += resident_pages(const_cast<char*>(base) + at * page,
                        std::min(most_pages_at_once, pages - at));
  }
  return n * page;
}

// It cannot be counted as it changes: pages come by faults in the code of users, and where they go
// (trimming, what parked fibers have below) nobody knows whether they were there. One at a time, so
// that the lock is not held over the look.
std::uint64_t resident_bytes_of_arenas() noexcept {
  std::uint64_t sum = 0;
  for (arena_id id = 1;; ++id) {
    pool.lock.lock();
    const bool end = id > pool.last;
    const char* base = end ? nullptr : arena_at(id).base;
    const std::size_t used =
        end ? 0 : std::size_t{arena_at(id).carved} * class_size(arena_at(id).stack_class);
    pool.lock.unlock();
    if (end) return sum;
    if (base != nullptr) sum += resident_bytes(base, used);
  }
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

std::atomic<bool> stacks_are_checked{WEFT_ASAN != 0};

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

namespace {

char* take_cold_or_fresh_locked(int stack_class) noexcept {
  char* lo = pop_cold_locked(stack_class);
  return lo != nullptr ? lo : carve_locked(stack_class);
}

}  // namespace

std::size_t stack_acquire_some(int stack_class, char** to, std::size_t most) noexcept {
  pool.lock.lock();
  if (!pool.guard_chosen) choose_guard_locked();
  std::size_t n = pop_warm_locked(stack_class, to, most);
  const bool untouched = n == 0;
  if (untouched && (to[0] = take_cold_or_fresh_locked(stack_class)) != nullptr) n = 1;
  pool.out += n;
  pool.most_out = std::max(pool.most_out, pool.out);
  pool.lock.unlock();
  if (untouched && n != 0 && has_canary(to[0])) write_canary(to[0]);
  return n;
}

void stack_release_some(int stack_class, char* const* from, std::size_t n) noexcept {
  if (n == 0) return;
  pool.lock.lock();
  for (std::size_t i = 0; i < n; ++i) push_warm_locked(stack_class, from[i]);
  pool.out -= n;
  pool.lock.unlock();
}

stack_memory stack_acquire(int stack_class) noexcept {
  char* lo = nullptr;
  if (stack_acquire_some(stack_class, &lo, 1) == 0) return {};
  return {lo, stack_cache::usable_size(stack_class)};
}

void stack_release(int stack_class, char* lo) noexcept {
  check_canary(stack_class, lo);
  unpoison(lo, stack_cache::usable_size(stack_class));
  stack_release_some(stack_class, &lo, 1);
}

stack_memory stack_cache::refill(int stack_class) noexcept {
  bin& b = bins_[static_cast<std::size_t>(stack_class)];
  b.count = static_cast<std::uint32_t>(
      stack_acquire_some(stack_class, b.stacks.data(), std::max(b.limit / 4, 1U)));
  char* lo = take(stack_class);
  return lo != nullptr ? stack_memory{lo, usable_size(stack_class)} : stack_memory{};
}

void stack_cache::release(int stack_class, char* lo) noexcept {
  check_canary(stack_class, lo);
  unpoison(lo, usable_size(stack_class));
  bin& b = bins_[static_cast<std::size_t>(stack_class)];
  std::uint32_t n = b.count;
  if (n == b.limit) {
    // Spill the older half; the newest are the hottest, and the very newest may still be in use by
    // the fiber that is just leaving it.
    const std::uint32_t half = b.limit / 2;
    stack_release_some(stack_class, b.stacks.data(), half);
    std::memmove(b.stacks.data(), b.stacks.data() + half, (n - half) * sizeof(char*));
    n -= half;
  }
  b.stacks[n] = lo;
  b.count = n + 1;
}

void stack_cache::flush() noexcept {
  for (int c = 0; c < stack_classes; ++c) {
    bin& b = bins_[static_cast<std::size_t>(c)];
    stack_release_some(c, b.stacks.data(), b.count);
    b.count = 0;
  }
}

bool stack_cache::empty() const noexcept {
  return std::all_of(bins_.begin(), bins_.end(), [](const bin& b) { return b.count == 0; });
}

stack_stats stack_pool_stats() noexcept {
  stack_stats s;
  pool.lock.lock();
  s.mapped_bytes = chunk_bytes * pool.mapped;
  s.most_out = pool.most_out;
  s.unguarded = pool.unguarded;
  s.guard = pool.guard;
  for (std::size_t c = 0; c < stack_classes; ++c) {
    const stack_class_depot& d = pool.classes[c];
    s.classes[c] = {d.carved, d.warm.size() + d.cold};
    s.stacks += s.classes[c].carved;
    s.in_depot += s.classes[c].in_depot;
  }
  pool.lock.unlock();
  s.resident_bytes = resident_bytes_of_arenas();
  return s;
}

bool stack_pool_trim(bool period_over) noexcept {
  if (period_over) {
    pool.lock.lock();
    for (stack_class_depot& d : pool.classes) d.wanted.end_period();
    pool.lock.unlock();
  }
  return trim_slice();
}

void stack_pool_shrink() noexcept {
  pool.lock.lock();
  for (std::size_t c = 0; c < stack_classes; ++c) {
    pool.classes[c].wanted.keep_only(reserved_stacks[c]);
  }
  pool.lock.unlock();
  while (trim_slice()) {
  }
}

bool stack_pool_can_shrink() noexcept {
  bool any = false;
  pool.lock.lock();
  for (const stack_class_depot& d : pool.classes) any |= d.warm.size() != 0;
  pool.lock.unlock();
  return any;
}

void stack_guard_report() noexcept {
  if (!guard_news.load(std::memory_order_relaxed)) return;
  if (!guard_news.exchange(false)) return;
  pool.lock.lock();
  if (!pool.guard_chosen) choose_guard_locked();
  const guard_kind kind = pool.guard;
  const bool fell_back = kind == guard_kind::canary && pool.first_guard != kind;
  const auto mprotected = static_cast<unsigned long long>(pool.by_mprotect);
  pool.lock.unlock();
  if (debug_option("guard") != nullptr || debug_option_int("stacks", 0) != 0) {
    log_format("weft: stacks: guard by %s", to_string(kind));
  }
  if (fell_back) {
    log_format(
        "weft: stacks: guard pages used up after %llu (vm.max_map_count); further stacks carry a "
        "canary only",
        mprotected);
  }
}

std::int64_t trim_period_ns() noexcept {
  static const std::int64_t period = [] {
    const char* text = debug_option("trim");
    const std::int64_t ns = text == nullptr ? -1 : parse_duration_ns(text);
    if (ns < 0) return std::int64_t{1'000'000'000};
    return ns == 0 || ns > never / 2 ? never : ns;  // (it is added to the clock's)
  }();
  return period;
}

bool is_stack_guard(const void* address, stack_memory* which) noexcept {
  const arena_id id = arena_of(address);
  if (id == 0) return false;
  const int stack_class = arena_at(id).stack_class;
  const std::size_t within = offset_in_chunk(address) % class_size(stack_class);
  const char* base = static_cast<const char*>(address) - within;
  *which = {const_cast<char*>(base) + guard_size(stack_class),
            stack_cache::usable_size(stack_class)};
  return within < guard_size(stack_class);
}

bool has_canary(const char* lo) noexcept {
  if (!some_canaries.load(std::memory_order_relaxed)) [[likely]]
    return false;
  return arena_at(arena_of(lo)).canary;
}

void check_canary(int stack_class, const char* lo) noexcept {
  if (!has_canary(lo) || canary_is_intact(lo)) [[likely]]
    return;
  end_by_overflow({const_cast<char*>(lo), stack_cache::usable_size(stack_class)});
}

}  // namespace weft::inline v0::detail
