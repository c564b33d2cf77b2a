// SPDX-License-Identifier: Apache-2.0
#include "runtime/fiber_pool.hpp"

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <new>
#include <utility>

#include <weft/detail/spin_lock.hpp>
#include "runtime/os.hpp"

namespace weft::inline v0::detail {
namespace {

constexpr std::size_t slab_bytes = 256U << 10;
constexpr std::size_t fibers_a_slab = slab_bytes / sizeof(fiber_core);
constexpr std::size_t max_slabs = 1U << 17;  // 134 million fibers

struct global_list {
  spin_lock lock;
  fiber_core* head = nullptr;    // single ones, linked by free_next
  fiber_core* chains = nullptr;  // first ones of full chains, linked by sched_next
  fiber_core* carve_next = nullptr;
  fiber_core* carve_end = nullptr;
};
global_list list;

// Slabs are filled one after the other; `carved` counts constructed Gs over all of them. Written
// under list.lock, read without it by walkers (release / acquire).
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

bool map_slab_locked() noexcept {
  if (slabs == nullptr) {
    slabs = static_cast<fiber_core**>(
        os::map_anonymous(max_slabs * sizeof(fiber_core*), MAP_NORESERVE));
    if (slabs == nullptr) return false;
  }
  const std::uint32_t n = slab_count;
  if (n == max_slabs) return false;
  void* memory = os::map_anonymous(slab_bytes, MAP_NORESERVE);
  if (memory == nullptr) return false;
  slabs[n] = static_cast<fiber_core*>(memory);
  slab_count = n + 1;
  list.carve_next = slabs[n];
  list.carve_end = slabs[n] + fibers_a_slab;
  return true;
}

fiber_core* next_chain(const fiber_core* chain) noexcept { return chain->sched_next; }

fiber_core* take_locked() noexcept {
  if (list.head == nullptr && list.chains != nullptr) {
    list.head = list.chains;
    list.chains = next_chain(list.chains);
  }
  if (fiber_core* g = list.head) {
    list.head = g->free_next;
    return g;
  }
  if (list.carve_next == list.carve_end && !map_slab_locked()) return nullptr;
  fiber_core* g = ::new (static_cast<void*>(list.carve_next++)) fiber_core;
  carved.store(carved.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  return g;
}

// Closure blocks: powers of two from 128 to 4096 bytes.
constexpr std::size_t block_classes = 6;
struct free_block {
  free_block* next;
};
struct block_list {
  spin_lock lock;
  free_block* head = nullptr;
  char* carve_next = nullptr;
  char* carve_end = nullptr;
};
std::array<block_list, block_classes> blocks;

std::size_t block_class(std::size_t size) noexcept {
  const std::size_t rounded = std::bit_ceil(size < 128 ? std::size_t{128} : size);
  return static_cast<std::size_t>(std::countr_zero(rounded)) - 7;
}

bool is_pooled(std::size_t size, std::size_t align) noexcept { return size <= 4096 && align <= 64; }

}  // namespace

bool fiber_cache::refill() noexcept {
  if (spare_ != nullptr) {
    head_ = std::exchange(spare_, nullptr);
    count_ = chain_length;
    return true;
  }
  list.lock.lock();
  if (fiber_core* chain = list.chains) {
    list.chains = next_chain(chain);
    head_ = chain;
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
  full->sched_next = list.chains;
  list.chains = full;
  list.lock.unlock();
}

void fiber_cache::flush() noexcept {
  for (fiber_core* chain : {std::exchange(head_, nullptr), std::exchange(spare_, nullptr)}) {
    while (fiber_core* g = chain) {
      chain = g->free_next;
      fiber_release_global(g);
    }
  }
  count_ = 0;
}

fiber_core* fiber_acquire_global() noexcept {
  list.lock.lock();
  fiber_core* g = take_locked();
  list.lock.unlock();
  return g;
}

void fiber_release_global(fiber_core* g) noexcept {
  list.lock.lock();
  g->free_next = list.head;
  list.head = g;
  list.lock.unlock();
}

void fiber_visit(void (*visit)(fiber_core*, void*), void* context) {
  const std::size_t n = carved.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < n; ++i) visit(slabs[i / fibers_a_slab] + i % fibers_a_slab, context);
}

void* closure_acquire(std::size_t size, std::size_t align) {
  if (!is_pooled(size, align)) return ::operator new(size, std::align_val_t{align});
  const std::size_t c = block_class(size);
  const std::size_t block_size = std::size_t{128} << c;
  block_list& b = blocks[c];
  void* p = nullptr;
  b.lock.lock();
  if (b.head != nullptr) {
    p = b.head;
    b.head = b.head->next;
  } else {
    if (b.carve_next == b.carve_end) {
      b.carve_next = static_cast<char*>(os::map_anonymous(slab_bytes));
      b.carve_end = b.carve_next == nullptr ? nullptr : b.carve_next + slab_bytes;
    }
    if (b.carve_next != nullptr) {
      p = b.carve_next;
      b.carve_next += block_size;
    }
  }
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
  b.lock.unlock();
}

}  // namespace weft::inline v0::detail
