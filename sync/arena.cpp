// SPDX-License-Identifier: Apache-2.0
// Chunks have one of five sizes, 4 KiB to 64 KiB, their header included, and come from one core of
// pool<T> a size: caches of the Ps, shared by all arenas, that shrink again when nobody uses them.
// The cores are never destroyed: an arena of static duration may outlive everything else.
#include <weft/arena.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <functional>

#include <weft/detail/pool_core.hpp>

#if WEFT_ASAN
extern "C" {
void __asan_poison_memory_region(void const volatile* p, std::size_t size);
void __asan_unpoison_memory_region(void const volatile* p, std::size_t size);
}
#endif

namespace weft::inline v0 {
namespace {

constexpr std::size_t smallest_chunk = std::size_t{4} << 10;
constexpr std::size_t chunk_sizes = 5;
constexpr std::size_t largest_chunk = smallest_chunk << (chunk_sizes - 1);
constexpr std::size_t chunk_align = detail::cache_line;
// As pool_options: long enough to be found again by the next request, short enough for a peak to
// be given back.
constexpr std::int64_t idle_timeout_ns = 10'000'000'000;

void poison([[maybe_unused]] const void* p, [[maybe_unused]] std::size_t size) noexcept {
#if WEFT_ASAN
  __asan_poison_memory_region(p, size);
#endif
}
void unpoison([[maybe_unused]] const void* p, [[maybe_unused]] std::size_t size) noexcept {
#if WEFT_ASAN
  __asan_unpoison_memory_region(p, size);
#endif
}

std::size_t chunk_size_for(std::size_t wanted) noexcept {
  return std::bit_ceil(std::clamp(wanted, smallest_chunk, largest_chunk));
}

class chunk_depot : detail::pool_core {
 public:
  chunk_depot() : pool_core(&table, idle_timeout_ns, false) {}

  [[nodiscard]] void* obtain(std::size_t size) {
    if (detail::pool_node* n = take(this)) return n;
    void* memory = ::operator new(size, std::align_val_t{chunk_align});
    auto* n = ::new (memory) detail::pool_node;
    adopt(n, this);
    return n;
  }
  void put_back(void* chunk) noexcept { give(static_cast<detail::pool_node*>(chunk)); }

 private:
  static void destroy(detail::pool_node* n) noexcept {
    ::operator delete(static_cast<void*>(n), std::align_val_t{chunk_align});
  }
  static void dispose(pool_core* /*core*/) noexcept {}  // it lives for ever
  static constexpr operations table{&destroy, &dispose};
};

chunk_depot& depot_of(std::size_t chunk_size) {
  static auto* depots = new std::array<chunk_depot, chunk_sizes>;
  return (*depots)[static_cast<std::size_t>(std::countr_zero(chunk_size / smallest_chunk))];
}

}  // namespace

// The depot's node stays in front while the chunk is in use.
struct arena::chunk {
  alignas(detail::pool_node) std::byte node[sizeof(detail::pool_node)];
  chunk* next;
  std::size_t size;

  [[nodiscard]] std::byte* begin() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
  [[nodiscard]] std::byte* end() noexcept { return reinterpret_cast<std::byte*>(this) + size; }
};

// Ends where the memory it stands for begins.
struct arena::large {
  large* next;
  void* base;
  std::size_t size;  // of the whole block
  std::size_t align;
  std::size_t bytes;

  [[nodiscard]] void* memory() noexcept { return this + 1; }
};

arena::arena(const arena_options& o) noexcept : arena(std::span<std::byte>(), o) {}

arena::arena(std::span<std::byte> first, const arena_options& o) noexcept
    : options_(o), first_(first) {
  options_.max_chunk = chunk_size_for(o.max_chunk);
  options_.first_chunk = std::min(chunk_size_for(o.first_chunk), options_.max_chunk);
  next_size_ = options_.first_chunk;
  poison(first_.data(), first_.size());
  begin_round();
}

arena::~arena() {
  release();
  unpoison(first_.data(), first_.size());
}

// --- rounds

void arena::begin_round() noexcept {
  current_ = nullptr;
  begin_ = at_ = first_.data();
  end_ = begin_ + first_.size();
  used_before_ = 0;
  stats_.used = 0;
  stats_.allocations = 0;
}

void arena::reset() noexcept {
  leave_region();
  stats_.peak_used = std::max(stats_.peak_used, used_before_);
  free_large_blocks();
  std::size_t kept = 0;
  last_ = nullptr;
  chunk** link = &chunks_;
  while (chunk* c = *link) {
    if (kept + c->size <= options_.keep) {
      kept += c->size;
      poison(c->begin(), static_cast<std::size_t>(c->end() - c->begin()));
      last_ = c;
      link = &c->next;
    } else {
      *link = c->next;
      free_chunk(c);
    }
  }
  poison(first_.data(), first_.size());
  ++stats_.resets;
  begin_round();
}

void arena::release() noexcept {
  leave_region();
  stats_.peak_used = std::max(stats_.peak_used, used_before_);
  free_large_blocks();
  while (chunk* c = chunks_) {
    chunks_ = c->next;
    free_chunk(c);
  }
  last_ = nullptr;
  next_size_ = options_.first_chunk;
  poison(first_.data(), first_.size());
  ++stats_.resets;
  begin_round();
}

void arena::leave_region() noexcept { used_before_ += static_cast<std::size_t>(at_ - begin_); }

// --- allocation

void* arena::bump(std::size_t bytes, std::size_t align) noexcept {
  const auto room = static_cast<std::size_t>(end_ - at_);
  const auto padding =
      static_cast<std::size_t>(-reinterpret_cast<std::uintptr_t>(at_)) & (align - 1);
  if (padding > room || bytes > room - padding) return nullptr;
  std::byte* p = at_ + padding;
  at_ = p + bytes;
  unpoison(p, bytes);
  return p;
}

void* arena::do_allocate(std::size_t bytes, std::size_t align) {
  if (bytes == 0) bytes = 1;  // a place of its own
  ++stats_.allocations;
  if (void* p = bump(bytes, align)) [[likely]]
    return p;
  if (is_large(bytes, align)) return allocate_large(bytes, align);
  next_chunk(bytes + align);  // (both are small)
  return bump(bytes, align);
}

/// Goes on in a chunk with room for `at_least` bytes: the next one that was kept, else a new one.
void arena::next_chunk(std::size_t at_least) {
  chunk* c = current_ == nullptr ? chunks_ : current_->next;
  while (c != nullptr && static_cast<std::size_t>(c->end() - c->begin()) < at_least) c = c->next;
  if (c == nullptr) {
    const std::size_t size = std::max(next_size_, chunk_size_for(at_least + sizeof(chunk)));
    c = new_chunk(size);
    (last_ == nullptr ? chunks_ : last_->next) = c;
    last_ = c;
    next_size_ = std::min(size * 2, options_.max_chunk);
  }
  enter(c);
}

void arena::enter(chunk* c) noexcept {
  leave_region();
  current_ = c;
  begin_ = at_ = c->begin();
  end_ = c->end();
}

bool arena::is_large(std::size_t bytes, std::size_t align) const noexcept {
  return bytes > options_.max_chunk / 4 || align > options_.max_chunk / 4;
}

void arena::do_deallocate(void* p, std::size_t bytes, std::size_t align) {
  auto* first = static_cast<std::byte*>(p);
  if (bytes == 0) bytes = 1;
  // (What is large may have found room in a region all the same.)
  if (is_large(bytes, align) && deallocate_large(p)) return;
  if (std::greater_equal<>()(first, begin_) && first + bytes == at_) at_ = first;
  poison(first, bytes);
}

// --- chunks

void arena::check_limit(std::size_t more) const {
  if (options_.limit == 0) return;
  if (more > options_.limit || stats_.reserved > options_.limit - more) throw std::bad_alloc();
}

arena::chunk* arena::new_chunk(std::size_t size) {
  check_limit(size);
  chunk* c = nullptr;
  if (options_.upstream != nullptr) {
    c = ::new (options_.upstream->allocate(size, chunk_align)) chunk;
  } else {
    c = static_cast<chunk*>(depot_of(size).obtain(size));
  }
  c->next = nullptr;
  c->size = size;
  stats_.reserved += size;
  ++stats_.chunks;
  poison(c->begin(), static_cast<std::size_t>(c->end() - c->begin()));
  return c;
}

void arena::free_chunk(chunk* c) noexcept {
  const std::size_t size = c->size;
  stats_.reserved -= size;
  --stats_.chunks;
  unpoison(c->begin(), static_cast<std::size_t>(c->end() - c->begin()));
  if (options_.upstream != nullptr) {
    options_.upstream->deallocate(c, size, chunk_align);
  } else {
    depot_of(size).put_back(c);
  }
}

// --- large blocks

void* arena::allocate_large(std::size_t bytes, std::size_t align) {
  align = std::max(align, alignof(large));
  // The header, and then the memory at its own alignment.
  constexpr auto most = static_cast<std::size_t>(PTRDIFF_MAX);
  if (align > most / 2) throw std::bad_alloc();
  const std::size_t header = (sizeof(large) + align - 1) & ~(align - 1);
  if (bytes > most - header) throw std::bad_alloc();
  const std::size_t size = header + bytes;
  check_limit(size);
  void* base = options_.upstream != nullptr ? options_.upstream->allocate(size, align)
                                            : ::operator new(size, std::align_val_t{align});
  std::byte* memory = static_cast<std::byte*>(base) + header;
  large_ = ::new (memory - sizeof(large)) large{large_, base, size, align, bytes};
  stats_.reserved += size;
  ++stats_.large_blocks;
  used_before_ += bytes;
  return memory;
}

bool arena::deallocate_large(const void* p) noexcept {
  for (large** link = &large_; large* l = *link; link = &l->next) {
    if (l->memory() != p) continue;
    stats_.peak_used = stats().peak_used;
    used_before_ -= l->bytes;
    *link = l->next;
    free_large(l);
    return true;
  }
  return false;
}

void arena::free_large(large* l) noexcept {
  stats_.reserved -= l->size;
  --stats_.large_blocks;
  if (options_.upstream != nullptr) {
    options_.upstream->deallocate(l->base, l->size, l->align);
  } else {
    ::operator delete(l->base, std::align_val_t{l->align});
  }
}

void arena::free_large_blocks() noexcept {
  while (large* l = large_) {
    large_ = l->next;
    free_large(l);
  }
}

arena_stats arena::stats() const noexcept {
  arena_stats s = stats_;
  s.used = used_before_ + static_cast<std::size_t>(at_ - begin_);
  s.peak_used = std::max(s.peak_used, s.used);
  return s;
}

}  // namespace weft::inline v0
