// SPDX-License-Identifier: Apache-2.0
#include "runtime/fiber_pool.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <new>
#include <utility>

#include <weft/detail/spin_lock.hpp>
#include "runtime/low_water.hpp"
#include "runtime/os.hpp"
#include "runtime/slabs.hpp"

namespace weft::inline v0::detail {
namespace {

constexpr std::size_t fibers_a_slab = slab_bytes / sizeof(fiber_core);
constexpr std::size_t max_fiber_slabs = 1U << 17;  // 134 million fibers
constexpr std::size_t chain_length = fiber_cache::chain_length;

// What is kept at the end of a runtime: a million short fibers need 8 chains on 2 Ps.
constexpr std::size_t reserved_chains = 32;
constexpr std::size_t reserved_blocks = 256;

struct global_list {
  spin_lock lock;
  fiber_core* head = nullptr;  // single ones, fewer than a chain, linked by free_next
  std::size_t head_count = 0;
  bool head_wanted = false;      // during this period
  fiber_core* chains = nullptr;  // first ones of full chains, linked by sched_next
  low_water spare_chains;        // counts them
  slab_set slabs{sizeof(fiber_core), offsetof(fiber_core, free_next)};
  char* carve_next = nullptr;
  char* carve_end = nullptr;
  bool carve_never_used = false;
};
global_list list;

// Slabs are entered as they are first used; `carved` counts the Gs in them that have ever been in
// use. Written under list.lock, read without it by walkers (release / acquire).
std::uint32_t slab_count = 0;
}  // namespace
extern "C" {
// Plain names and a table of offsets, so that scripts/weft-gdb.py finds the fibers of a process or
// a core file without debug information of the library.
WEFT_EXPORT fiber_core** weft_debug_slabs = nullptr;
WEFT_EXPORT std::atomic<std::size_t> weft_debug_carved{0};
WEFT_EXPORT extern const std::size_t weft_debug_layout[8];
const std::size_t weft_debug_layout[8] = {
    1,  // version of this table
    sizeof(fiber_core),
    fibers_a_slab,
    offsetof(fiber_core, frame),
    offsetof(fiber_core, id),
    offsetof(fiber_core, state),
    offsetof(fiber_core, reason),
    offsetof(fiber_core, stack_lo),
};
}

namespace {
fiber_core**& slabs = weft_debug_slabs;
std::atomic<std::size_t>& carved = weft_debug_carved;

bool enter_slab_locked(char* base) noexcept {
  if (slabs == nullptr) {
    slabs = static_cast<fiber_core**>(
        os::map_anonymous(max_fiber_slabs * sizeof(fiber_core*), MAP_NORESERVE));
    if (slabs == nullptr) return false;
  }
  if (slab_count == max_fiber_slabs) return false;
  slabs[slab_count++] = reinterpret_cast<fiber_core*>(base);
  return true;
}

// The rest of a slab comes before the next one, so there are no gaps below `carved`.
fiber_core* carve_locked() noexcept {
  auto* g = reinterpret_cast<fiber_core*>(list.carve_next);
  list.carve_next += sizeof(fiber_core);
  // (Walkers look at those of a slab that was in use before: they are dead ones, being zeroes.)
  if (!list.carve_never_used) return g;
  ::new (static_cast<void*>(g)) fiber_core;
  carved.store(carved.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  return g;
}

fiber_core* pop_chain_locked() noexcept {
  fiber_core* chain = list.chains;
  list.chains = chain->sched_next;
  return chain;
}

void push_chain_locked(fiber_core* chain) noexcept {
  chain->sched_next = list.chains;
  list.chains = chain;
  list.spare_chains.add();
}

fiber_core* pop_head_locked() noexcept {
  fiber_core* g = list.head;
  list.head_wanted = true;
  list.head = g->free_next;
  --list.head_count;
  return g;
}

// Filed ones come as a list of any length.
void push_head_locked(fiber_core* g) noexcept {
  g->free_next = list.head;
  list.head = g;
  if (++list.head_count < chain_length) return;
  push_chain_locked(std::exchange(list.head, nullptr));
  list.head_count = 0;
}

bool supply_locked() noexcept {
  slab_supply got;
  if (!list.slabs.supply(&got)) return false;
  for (auto* g = static_cast<fiber_core*>(got.list); g != nullptr;) {
    push_head_locked(std::exchange(g, g->free_next));
  }
  if (got.list != nullptr) return true;
  if (got.never_used && !enter_slab_locked(got.begin)) return false;
  list.carve_next = got.begin;
  list.carve_end = got.end;
  list.carve_never_used = got.never_used;
  return true;
}

fiber_core* take_locked() noexcept {
  for (;;) {
    if (list.head != nullptr) return pop_head_locked();
    if (list.chains != nullptr) {
      list.spare_chains.take();
      list.head = pop_chain_locked();
      list.head_count = chain_length;
      continue;
    }
    if (list.carve_next != list.carve_end) return carve_locked();
    if (!supply_locked()) return nullptr;
  }
}

// Objects of a list of free ones go to their slabs; slabs that are whole lose their pages.
template <class Object, class Next>
void file_all(spin_lock& lock, slab_set& set, Object* objects, Next next) noexcept {
  std::array<slab_id, chain_length> whole{};
  std::size_t n = 0;
  lock.lock();
  while (objects != nullptr) {
    Object* object = std::exchange(objects, next(objects));
    if (const slab_id id = set.file(object)) whole[n++] = id;
  }
  lock.unlock();
  if (n == 0) return;
  for (std::size_t i = 0; i < n; ++i) slab_give_back(whole[i]);
  lock.lock();
  for (std::size_t i = 0; i < n; ++i) set.add_empty(whole[i]);
  lock.unlock();
}

// Single ones keep slabs, too.
void trim_head() noexcept {
  list.lock.lock();
  fiber_core* unwanted = nullptr;
  if (!std::exchange(list.head_wanted, false)) {
    unwanted = std::exchange(list.head, nullptr);
    list.head_count = 0;
  }
  list.lock.unlock();
  file_all(list.lock, list.slabs, unwanted, [](fiber_core* g) { return g->free_next; });
}

// True: one chain went, and there may be more.
bool trim_chain() noexcept {
  list.lock.lock();
  fiber_core* chain = list.spare_chains.give_up() ? pop_chain_locked() : nullptr;
  list.lock.unlock();
  if (chain == nullptr) return false;
  file_all(list.lock, list.slabs, chain, [](fiber_core* g) { return g->free_next; });
  return true;
}

// Closure blocks: powers of two from 128 to 4096 bytes.
constexpr std::size_t block_classes = 6;
struct free_block {
  free_block* next;
};
struct block_list {
  constexpr explicit block_list(std::size_t size) noexcept : slabs(size, 0) {}
  spin_lock lock;
  free_block* head = nullptr;
  low_water spare;  // counts them
  slab_set slabs;   // the link is at the start of a free block
  char* carve_next = nullptr;
  char* carve_end = nullptr;
};
std::array<block_list, block_classes> blocks = {block_list(128),  block_list(256),
                                                block_list(512),  block_list(1024),
                                                block_list(2048), block_list(4096)};

std::size_t block_class(std::size_t size) noexcept {
  const std::size_t rounded = std::bit_ceil(size < 128 ? std::size_t{128} : size);
  return static_cast<std::size_t>(std::countr_zero(rounded)) - 7;
}

bool is_pooled(std::size_t size, std::size_t align) noexcept { return size <= 4096 && align <= 64; }

bool supply_locked(block_list& b) noexcept {
  slab_supply got;
  if (!b.slabs.supply(&got)) return false;
  b.head = static_cast<free_block*>(got.list);
  for (const free_block* p = b.head; p != nullptr; p = p->next) b.spare.add();
  if (got.list != nullptr) return true;
  b.carve_next = got.begin;
  b.carve_end = got.end;
  return true;
}

void* take_locked(block_list& b, std::size_t size) noexcept {
  if (b.head == nullptr && b.carve_next == b.carve_end && !supply_locked(b)) return nullptr;
  if (b.head == nullptr) return std::exchange(b.carve_next, b.carve_next + size);
  b.spare.take();
  return std::exchange(b.head, b.head->next);
}

// True: some went, and there may be more.
bool trim_blocks(block_list& b) noexcept {
  free_block* batch = nullptr;
  b.lock.lock();
  for (std::size_t i = 0; i < chain_length && b.spare.give_up(); ++i) {
    free_block* block = std::exchange(b.head, b.head->next);
    block->next = batch;
    batch = block;
  }
  b.lock.unlock();
  if (batch == nullptr) return false;
  file_all(b.lock, b.slabs, batch, [](const free_block* block) { return block->next; });
  return true;
}

bool trim_slice() noexcept {
  bool more = false;
  for (int i = 0; i < 8; ++i) {  // of 64 objects each, two cache misses an object
    more = trim_chain();
    for (block_list& b : blocks) more |= trim_blocks(b);
    if (!more) break;
  }
  return more;
}

template <class Change>
void for_each_low_water(Change change) noexcept {
  list.lock.lock();
  change(list.spare_chains, reserved_chains);
  list.lock.unlock();
  for (block_list& b : blocks) {
    b.lock.lock();
    change(b.spare, reserved_blocks);
    b.lock.unlock();
  }
}

}  // namespace

bool fiber_cache::refill() noexcept {
  if (spare_ != nullptr) {
    head_ = std::exchange(spare_, nullptr);
    count_ = chain_length;
    return true;
  }
  list.lock.lock();
  if (list.chains != nullptr) {
    list.spare_chains.take();
    head_ = pop_chain_locked();
    count_ = chain_length;
  } else {
    for (; count_ < chain_length; ++count_) {
      fiber_core* g = take_locked();
      if (g == nullptr) break;
      g->free_next = head_;
      head_ = g;
    }
  }
  list.lock.unlock();
  return head_ != nullptr;
}

// The chain in use is full: it becomes the spare one, and that one goes to everybody.
void fiber_cache::spill() noexcept {
  fiber_core* full = std::exchange(spare_, head_);
  head_ = nullptr;
  count_ = 0;
  if (full == nullptr) return;
  list.lock.lock();
  push_chain_locked(full);
  list.lock.unlock();
}

void fiber_cache::flush() noexcept {
  fiber_core* single = std::exchange(head_, nullptr);
  fiber_core* full = std::exchange(spare_, nullptr);
  count_ = 0;
  list.lock.lock();
  if (full != nullptr) push_chain_locked(full);
  while (single != nullptr) push_head_locked(std::exchange(single, single->free_next));
  list.lock.unlock();
}

fiber_core* fiber_acquire_global() noexcept {
  list.lock.lock();
  fiber_core* g = take_locked();
  list.lock.unlock();
  return g;
}

void fiber_release_global(fiber_core* g) noexcept {
  list.lock.lock();
  push_head_locked(g);
  list.lock.unlock();
}

bool fiber_visit_slab(std::size_t slab, void (*visit)(fiber_core*, void*), void* context) {
  const std::size_t n = carved.load(std::memory_order_acquire);
  const std::size_t first = slab * fibers_a_slab;
  if (first >= n) return false;
  if (is_empty_slab(slabs[slab])) return true;
  const std::size_t end = std::min(n - first, fibers_a_slab);
  for (std::size_t i = 0; i < end; ++i) visit(slabs[slab] + i, context);
  return true;
}

void fiber_visit(void (*visit)(fiber_core*, void*), void* context) {
  for (std::size_t slab = 0; fiber_visit_slab(slab, visit, context); ++slab) {
  }
}

bool fiber_pool_trim(bool period_over) noexcept {
  if (period_over) {
    for_each_low_water([](low_water& w, std::size_t) { w.end_period(); });
    trim_head();
  }
  return trim_slice();
}

void fiber_pool_shrink() noexcept {
  for_each_low_water([](low_water& w, std::size_t reserve) { w.keep_only(reserve); });
  while (trim_slice()) {
  }
}

bool fiber_pool_can_shrink() noexcept {
  list.lock.lock();
  bool any = list.head != nullptr;
  list.lock.unlock();
  for_each_low_water([&any](const low_water& w, std::size_t) { any |= w.have() != 0; });
  return any;
}

void* closure_acquire(std::size_t size, std::size_t align) {
  if (!is_pooled(size, align)) return ::operator new(size, std::align_val_t{align});
  const std::size_t c = block_class(size);
  block_list& b = blocks[c];
  b.lock.lock();
  void* p = take_locked(b, std::size_t{128} << c);
  b.lock.unlock();
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

void closure_release(void* p, std::size_t size, std::size_t align) noexcept {
  if (!is_pooled(size, align)) {
    ::operator delete(p, std::align_val_t{align});
    return;
  }
  block_list& b = blocks[block_class(size)];
  auto* block = static_cast<free_block*>(p);
  b.lock.lock();
  block->next = b.head;
  b.head = block;
  b.spare.add();
  b.lock.unlock();
}

}  // namespace weft::inline v0::detail
