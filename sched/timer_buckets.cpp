// SPDX-License-Identifier: Apache-2.0
#include "sched/timer_buckets.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "runtime/os.hpp"

namespace weft::inline v0::detail {
namespace {

constexpr std::uint32_t first_room = 64;             // chunks: 16 KiB
constexpr std::uint32_t most_room = 1U << 26;        // a billion timers
constexpr std::uint32_t kept_when_empty = 16 * 256;  // chunks: 1 MiB

// Null: no memory, and all is as it was.
void* grow(void* memory, std::size_t from, std::size_t to) noexcept {
#if WEFT_TSAN
  // It does not follow mremap: what it knows of an address would stay there for the next user.
  void* larger = os::map_anonymous(to);
  if (larger == nullptr) return nullptr;
  std::memcpy(larger, memory, from);
  ::munmap(memory, from);
  return larger;
#else
  void* larger = ::mremap(memory, from, to, MREMAP_MAYMOVE);
  return larger == MAP_FAILED ? nullptr : larger;
#endif
}

}  // namespace

bool timer_buckets::begin() noexcept {
  if (buckets_ == nullptr) {
    void* memory = os::map_anonymous(buckets * sizeof(bucket));
    if (memory == nullptr) return false;
    buckets_ = static_cast<bucket*>(memory);
    for (std::size_t b = 0; b < buckets; ++b) ::new (buckets_ + b) bucket;
  }
  // With nothing here any tick will do; the best is now's.
  opened_ = std::max(opened_, tick_of(now_ns()));
  return true;
}

bool timer_buckets::put(timer_node* t, std::int64_t when) noexcept {
  return (live_ != 0 || begin()) && enter(t, when);
}

bool timer_buckets::enter(timer_node* t, std::int64_t when) noexcept {
  const std::uint64_t tick = tick_of(when);
  if (tick <= opened_) return false;
  const std::size_t b = bucket_of(tick);
  const std::uint32_t number = take_entry(b);
  if (number == none) return false;
  entry_at(number) = {when, t};
  t->pos = number | here;
  bucket& in = buckets_[b];
  in.earliest = std::min(in.earliest, when);
  ++in.live;
  ++live_;
  occupied_[b / wheel] |= std::uint64_t{1} << (b % wheel);
  return true;
}

std::uint32_t timer_buckets::take_entry(std::size_t b) noexcept {
  bucket& in = buckets_[b];
  if (in.hole != none) {
    return std::exchange(in.hole, static_cast<std::uint32_t>(entry_at(in.hole).when));
  }
  if (in.newest == none || chunks_[in.newest].used == chunk_entries) {
    const std::uint32_t c = take_chunk();
    if (c == none) return none;
    chunks_[c].next = std::exchange(in.newest, c);
    chunks_[c].bucket = static_cast<std::uint32_t>(b);
    chunks_[c].used = 0;
  }
  return in.newest * 16 + chunks_[in.newest].used++;
}

void timer_buckets::remove(const timer_node* t) noexcept {
  const std::uint32_t number = t->pos & ~here;
  const std::size_t b = chunks_[number / 16].bucket;
  bucket& in = buckets_[b];
  entry_at(number) = {static_cast<std::int64_t>(std::exchange(in.hole, number)), nullptr};
  --live_;
  if (--in.live != 0) return;
  for (std::uint32_t c = detach(b); c != none;) c = recycle(c);
  give_back();
}

// Empties a bucket: its chunks are the caller's, and are no longer counted.
std::uint32_t timer_buckets::detach(std::size_t b) noexcept {
  live_ -= buckets_[b].live;
  occupied_[b / wheel] &= ~(std::uint64_t{1} << (b % wheel));
  return std::exchange(buckets_[b], bucket{}).newest;
}

// Gives a chunk back. The one that came after it.
std::uint32_t timer_buckets::recycle(std::uint32_t c) noexcept {
  return std::exchange(chunks_[c].next, std::exchange(free_, c));
}

std::uint32_t timer_buckets::take_chunk() noexcept {
  if (free_ != none) return std::exchange(free_, chunks_[free_].next);
  if (carved_ == room_ && !more_chunks()) return none;
  return carved_++;
}

bool timer_buckets::more_chunks() noexcept {
  if (room_ == most_room) return false;
  const std::uint32_t room = room_ == 0 ? first_room : room_ * 2;
  void* memory = chunks_ == nullptr ? os::map_anonymous(room * sizeof(chunk))
                                    : grow(chunks_, room_ * sizeof(chunk), room * sizeof(chunk));
  if (memory == nullptr) return false;
  chunks_ = static_cast<chunk*>(memory);
  room_ = room;
  return true;
}

// What a burst has used goes back; what comes and goes all the time stays.
void timer_buckets::give_back() noexcept {
  if (live_ != 0 || carved_ <= kept_when_empty) return;
  const int saved_errno = errno;  // (it does not have to work: memory may be locked)
  ::madvise(chunks_, room_ * sizeof(chunk), MADV_DONTNEED);
  errno = saved_errno;
  carved_ = 0;
  free_ = none;
}

void timer_buckets::drop_all() noexcept {
  if (buckets_ != nullptr) ::munmap(buckets_, buckets * sizeof(bucket));
  if (chunks_ != nullptr) ::munmap(chunks_, room_ * sizeof(chunk));
  buckets_ = nullptr;
  chunks_ = nullptr;
  occupied_.fill(0);
  live_ = 0;
  room_ = carved_ = 0;
  free_ = none;
}

bool timer_buckets::check_invariants() const noexcept {
  std::size_t live = 0;
  for (std::size_t b = 0; buckets_ != nullptr && b < buckets; ++b) {
    const bool marked = (occupied_[b / wheel] >> (b % wheel) & 1) != 0;
    if (marked != (buckets_[b].live != 0)) return false;
    live += buckets_[b].live;
  }
  if (live != live_) return false;
  bool good = true;
  std::size_t seen = 0;
  each([&](const timer_node* t, std::int64_t when) {
    ++seen;
    const std::uint32_t number = t->pos & ~here;
    good = good && (t->pos & here) != 0 && t->when == when && tick_of(when) > opened_ &&
           chunks_[number / 16].entries[number % 16].node == t &&
           chunks_[number / 16].bucket == bucket_of(tick_of(when)) &&
           buckets_[bucket_of(tick_of(when))].earliest <= when;
  });
  return good && seen == live_;
}

}  // namespace weft::inline v0::detail
