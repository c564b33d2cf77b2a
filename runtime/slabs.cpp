// SPDX-License-Identifier: Apache-2.0
#include "runtime/slabs.hpp"

#include <atomic>
#include <cstring>
#include <utility>

#include <weft/detail/spin_lock.hpp>
#include "runtime/chunks.hpp"
#include "runtime/os.hpp"

namespace weft::inline v0::detail {
namespace {

constexpr std::size_t slabs_a_chunk = chunk_bytes / slab_bytes;
constexpr std::size_t max_slabs = 1U << 18;  // 64 GiB

struct slab {
  char* base;
  void* filed;  // linked
  std::uint32_t filed_count;
  slab_id next_partial;
  slab_id next_empty;
  bool is_partial;          // in its set's list of those
  std::atomic<bool> empty;  // release / acquire: walkers skip it
};

struct slab_table {
  spin_lock lock;         // taken under a pool's lock, takes no other
  slab* slabs = nullptr;  // max_slabs of them, in zeroed pages
  std::uint32_t count = 0;
  char* next = nullptr;  // of the newest chunk
  char* end = nullptr;
};
slab_table table;

slab& slab_at(slab_id id) noexcept { return table.slabs[id - 1]; }

slab_id slab_of(const void* object) noexcept {
  const chunk_owner chunk = find_chunk(object);
  return static_cast<slab_id>(chunk.index * slabs_a_chunk + offset_in_chunk(object) / slab_bytes +
                              1);
}

bool map_chunk_locked() noexcept {
  if (table.slabs == nullptr) {
    table.slabs = static_cast<slab*>(os::map_anonymous(max_slabs * sizeof(slab), MAP_NORESERVE));
    if (table.slabs == nullptr) return false;
  }
  const auto index = static_cast<std::uint32_t>(table.count / slabs_a_chunk);
  table.next = chunk_map({chunk_use::slabs, index}, "weft: fibers");
  table.end = table.next == nullptr ? nullptr : table.next + chunk_bytes;
  return table.next != nullptr;
}

// Slabs are cut off chunk by chunk, so that a number says where the slab is and the other way
// round.
slab_id new_slab() noexcept {
  slab_id id = 0;
  table.lock.lock();
  if (table.count < max_slabs && (table.next != table.end || map_chunk_locked())) {
    id = ++table.count;
    slab_at(id).base = table.next;
    table.next += slab_bytes;
  }
  table.lock.unlock();
  return id;
}

void*& link_of(void* object, std::size_t link) noexcept {
  return *reinterpret_cast<void**>(static_cast<char*>(object) + link);
}

}  // namespace

bool slab_set::supply(slab_supply* out) noexcept {
  while (partial_ != 0) {
    slab& s = slab_at(partial_);
    partial_ = std::exchange(s.next_partial, 0);
    s.is_partial = false;
    s.filed_count = 0;
    out->list = std::exchange(s.filed, nullptr);
    if (out->list != nullptr) return true;
  }
  const slab_id id = empty_ != 0 ? empty_ : new_slab();
  if (id == 0) return false;
  slab& s = slab_at(id);
  out->never_used = empty_ == 0;
  if (empty_ != 0) empty_ = std::exchange(s.next_empty, 0);
  s.empty.store(false, std::memory_order_release);
  out->begin = s.base;
  out->end = s.base + objects_a_slab() * size_;
  return true;
}

slab_id slab_set::file(void* object) noexcept {
  const slab_id id = slab_of(object);
  slab& s = slab_at(id);
  link_of(object, link_) = s.filed;
  s.filed = object;
  if (++s.filed_count == objects_a_slab()) {
    s.filed = nullptr;
    s.filed_count = 0;
    return id;
  }
  if (!s.is_partial) {
    s.is_partial = true;
    s.next_partial = std::exchange(partial_, id);
  }
  return 0;
}

void slab_set::add_empty(slab_id id) noexcept {
  slab& s = slab_at(id);
  s.next_empty = std::exchange(empty_, id);
  s.empty.store(true, std::memory_order_release);
}

void slab_give_back(slab_id id) noexcept {
  char* base = slab_at(id).base;
  if (::madvise(base, slab_bytes, MADV_DONTNEED) == 0) return;
  // Locked in memory (mlockall): then the pages stay, but zeroed they must be.
  std::memset(base, 0, slab_bytes);
}

bool is_empty_slab(const void* base) noexcept {
  return slab_at(slab_of(base)).empty.load(std::memory_order_acquire);
}

}  // namespace weft::inline v0::detail
