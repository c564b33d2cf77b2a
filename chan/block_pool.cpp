// SPDX-License-Identifier: Apache-2.0
#include "chan/block_pool.hpp"

#include <new>

#include <weft/detail/spin_lock.hpp>
#include "runtime/os.hpp"

namespace weft::inline v0::detail {
namespace {

constexpr std::size_t classes = 8;
constexpr std::size_t largest = classes * cache_line;
constexpr std::size_t slab_size = 64 << 10;
// A thread keeps up to two batches of a class: one to serve from, one to hand over.
constexpr unsigned batch = 32;

struct free_block {
  free_block* next;        // within a batch or a cache
  free_block* next_batch;  // heads of batches in the global list
};

struct shared_list {
  spin_lock lock;  // rank 4
  free_block* batches = nullptr;
};
constinit shared_list shared[classes];

struct block_list {
  free_block* head = nullptr;
  unsigned count = 0;

  void push(free_block* b) noexcept {
    b->next = head;
    head = b;
    ++count;
  }
  free_block* pop() noexcept {
    free_block* b = head;
    head = b->next;
    --count;
    return b;
  }
};

void give(std::size_t cls, block_list& list) noexcept {
  if (list.head == nullptr) return;
  shared_list& s = shared[cls];
  s.lock.lock();
  list.head->next_batch = s.batches;
  s.batches = list.head;
  s.lock.unlock();
  list = {};
}

/// Refills an empty list from the global one, else from a new slab.
bool refill(std::size_t cls, block_list& list) noexcept {
  shared_list& s = shared[cls];
  s.lock.lock();
  free_block* got = s.batches;
  if (got != nullptr) s.batches = got->next_batch;
  s.lock.unlock();
  if (got != nullptr) {
    list.head = got;
    for (; got != nullptr; got = got->next) ++list.count;
    return true;
  }
  auto* slab = static_cast<std::byte*>(os::map_anonymous(slab_size));
  if (slab == nullptr) return false;
  const std::size_t size = (cls + 1) * cache_line;
  for (std::size_t at = 0; at + size <= slab_size; at += size) {
    list.push(reinterpret_cast<free_block*>(slab + at));
    if (list.count == batch && at + 2 * size <= slab_size) give(cls, list);
  }
  return true;
}

struct thread_cache {
  block_list live[classes];
  block_list spare[classes];
  bool gone = false;

  ~thread_cache() {
    for (std::size_t c = 0; c < classes; ++c) {
      give(c, live[c]);
      give(c, spare[c]);
    }
    gone = true;  // a later thread_local destructor that frees goes to the global list
  }
};
constinit thread_local thread_cache cache;

WEFT_NOINLINE void* pooled_alloc(std::size_t cls) {
  thread_cache& t = cache;
  block_list& l = t.live[cls];
  if (l.head == nullptr) {
    if (t.spare[cls].head != nullptr) {
      std::swap(l, t.spare[cls]);
    } else if (!refill(cls, l)) {
      throw std::bad_alloc();
    }
  }
  void* p = l.pop();
  if (t.gone) give(cls, l);
  return p;
}

WEFT_NOINLINE void pooled_free(std::size_t cls, void* p) noexcept {
  thread_cache& t = cache;
  block_list& l = t.live[cls];
  l.push(static_cast<free_block*>(p));
  if (l.count < batch && !t.gone) return;
  if (t.gone) {
    give(cls, l);
  } else {
    give(cls, t.spare[cls]);
    std::swap(l, t.spare[cls]);
  }
}

bool pooled(std::size_t size, std::size_t align) noexcept {
  return !WEFT_ASAN && size <= largest && align <= cache_line;
}

}  // namespace

void* block_alloc(std::size_t size, std::size_t align) {
  if (pooled(size, align)) return pooled_alloc((size - 1) / cache_line);
  return ::operator new(size, std::align_val_t{align > cache_line ? align : cache_line});
}

void block_free(void* p, std::size_t size, std::size_t align) noexcept {
  if (pooled(size, align)) {
    pooled_free((size - 1) / cache_line, p);
  } else {
    ::operator delete(p, std::align_val_t{align > cache_line ? align : cache_line});
  }
}

}  // namespace weft::inline v0::detail
