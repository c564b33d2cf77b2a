// SPDX-License-Identifier: Apache-2.0
// The timers of a heap that are not due soon, unsorted, by the time they are due: hashed
// hierarchical wheels (Varghese and Lauck, "Hashed and hierarchical timing wheels", 1987) of
// arrays. A tick is 262 us; a wheel has 64 buckets, the first of one tick each, the next of 64, and
// so on. A bucket that time has reached is opened: what is due within this tick goes to the heap,
// the rest to buckets of lower wheels. So adding and taking out are a few steps however many there
// are, and none of them touches another timer: the nodes lie on the stacks of a million sleeping
// fibers, each line of them a miss in the cache and in the table of translations.
//
// Guarded by the heap's lock. Law: whatever is here is due after the tick that was opened last; its
// wheel is that of the highest digit in which its tick differs from that one.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <weft/detail/timer_node.hpp>

namespace weft::inline v0::detail {

class timer_buckets {
 public:
  timer_buckets() = default;
  timer_buckets(const timer_buckets&) = delete;
  timer_buckets& operator=(const timer_buckets&) = delete;
  ~timer_buckets() { drop_all(); }

  /// node->pos of those that are here has this bit.
  static constexpr std::uint32_t here = 1U << 31;

  /// Takes a timer in, if it is for this place. False: it is due too soon, or there is no memory.
  [[nodiscard]] bool put(timer_node* t, std::int64_t when) noexcept;

  /// Takes out one that is here.
  void remove(const timer_node* t) noexcept;

  /// Gives `sink(node, when)` everything that is due within the tick of `now` or before, and
  /// perhaps more.
  template <class Sink>
  void open(std::int64_t now, Sink sink) noexcept {
    const std::uint64_t end = tick_of(now);
    while (live_ != 0) {
      const std::size_t first = earliest_bucket();
      if (start_of(first) > end) break;
      // As far into it as time has come: what is due by then goes to the heap at once.
      opened_ = std::min(end, last_of(first));
      for (std::uint32_t c = detach(first); c != none;) {
        const chunk old = chunks_[c];  // a copy: enter() may use the chunk
        c = recycle(c);
        prefetch_nodes(old);
        for (std::uint32_t i = 0; i < old.used; ++i) {
          const entry& e = old.entries[i];
          if (e.node != nullptr && !enter(e.node, e.when)) sink(e.node, e.when);
        }
      }
    }
    opened_ = std::max(opened_, end);  // (keeps the law: no bucket begins before)
    give_back();
  }

  /// Calls visit(node, when) for each.
  template <class Visit>
  void each(Visit visit) const {
    for (std::size_t b = 0; live_ != 0 && b < buckets; ++b) {
      for (std::uint32_t c = buckets_[b].newest; c != none; c = chunks_[c].next) {
        for (std::uint32_t i = 0; i < chunks_[c].used; ++i) {
          const entry& e = chunks_[c].entries[i];
          if (e.node != nullptr) visit(e.node, e.when);
        }
      }
    }
  }

  /// Not later than the first of them; `never` when there is none.
  [[nodiscard]] std::int64_t earliest() const noexcept {
    return live_ == 0 ? never : buckets_[earliest_bucket()].earliest;
  }

  [[nodiscard]] std::size_t size() const noexcept { return live_; }

  /// Forgets all, and gives the memory back.
  void drop_all() noexcept;

  /// For tests: the law at the top, and the books.
  [[nodiscard]] bool check_invariants() const noexcept;

 private:
  static constexpr unsigned tick_bits = 18;  // of nanoseconds
  static constexpr unsigned digit_bits = 6;
  static constexpr std::size_t digits = 8;  // 8 * 6 + 18 bits are more than there are
  static constexpr std::size_t wheel = 1U << digit_bits;
  static constexpr std::size_t buckets = digits * wheel;
  static constexpr std::uint32_t none = UINT32_MAX;

  struct entry {
    std::int64_t when;  // of a hole: the next hole's number
    timer_node* node;   // null: a hole
  };
  struct bucket {
    std::int64_t earliest = never;  // of those that were put in
    std::uint32_t newest = none;    // its chunks; only this one has room
    std::uint32_t hole = none;
    std::uint32_t live = 0;
  };
  static constexpr std::uint32_t chunk_entries = 15;
  struct chunk {
    std::uint32_t next;
    std::uint32_t bucket;
    std::uint32_t used;
    std::uint32_t unused;
    std::array<entry, chunk_entries> entries;
  };
  // An entry's number: of its chunk times 16, and its place there.
  static_assert(sizeof(chunk) == 256 && chunk_entries < 16);

  static std::uint64_t tick_of(std::int64_t when) noexcept {
    return static_cast<std::uint64_t>(std::max(when, std::int64_t{0})) >> tick_bits;
  }
  // A tick that is not over yet (later than opened_).
  [[nodiscard]] std::size_t bucket_of(std::uint64_t tick) const noexcept {
    const auto digit = static_cast<unsigned>(std::bit_width(tick ^ opened_) - 1) / digit_bits;
    return digit * wheel + ((tick >> (digit * digit_bits)) & (wheel - 1));
  }
  // (Lower wheels come first: their ticks share more digits with the one that was opened.)
  [[nodiscard]] std::size_t earliest_bucket() const noexcept {
    std::size_t d = 0;
    while (occupied_[d] == 0) ++d;
    return d * wheel + static_cast<std::size_t>(std::countr_zero(occupied_[d]));
  }
  [[nodiscard]] std::uint64_t start_of(std::size_t b) const noexcept {
    const std::size_t shift = b / wheel * digit_bits;
    return (opened_ >> shift >> digit_bits << digit_bits | b % wheel) << shift;
  }
  // Its last tick.
  [[nodiscard]] std::uint64_t last_of(std::size_t b) const noexcept {
    return start_of(b) | ((std::uint64_t{1} << (b / wheel * digit_bits)) - 1);
  }
  // Each of them lies on a stack of its own: all these misses at once.
  static void prefetch_nodes(const chunk& c) noexcept {
    for (std::uint32_t i = 0; i < c.used; ++i) {
      const auto node = reinterpret_cast<std::uintptr_t>(c.entries[i].node);  // null: a hole
      __builtin_prefetch(reinterpret_cast<const void*>(node + offsetof(timer_node, pos)), 1);
    }
  }
  entry& entry_at(std::uint32_t number) noexcept {
    return chunks_[number / 16].entries[number % 16];
  }

  [[nodiscard]] bool begin() noexcept;
  [[nodiscard]] bool enter(timer_node* t, std::int64_t when) noexcept;
  [[nodiscard]] bool more_chunks() noexcept;
  [[nodiscard]] std::uint32_t take_chunk() noexcept;
  [[nodiscard]] std::uint32_t take_entry(std::size_t b) noexcept;
  [[nodiscard]] std::uint32_t recycle(std::uint32_t c) noexcept;
  [[nodiscard]] std::uint32_t detach(std::size_t b) noexcept;
  void give_back() noexcept;

  std::array<std::uint64_t, digits> occupied_{};  // bit b % 64: bucket b is not empty
  bucket* buckets_ = nullptr;                     // mapped when the first timer comes
  std::uint64_t opened_ = 0;
  std::size_t live_ = 0;
  chunk* chunks_ = nullptr;  // mapped, grows by doubling
  std::uint32_t room_ = 0;
  std::uint32_t carved_ = 0;
  std::uint32_t free_ = none;  // linked by `next`
};

}  // namespace weft::inline v0::detail
