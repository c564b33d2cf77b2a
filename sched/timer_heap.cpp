// SPDX-License-Identifier: Apache-2.0
#include "sched/timer_heap.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/os.hpp"

namespace weft::inline v0::detail {
namespace {

constexpr std::size_t arity = 4;  // shallower than binary: a million timers are ten levels
constexpr std::size_t first_capacity = 4096 / 16 - 3;

// From here on what is not due soon goes to buckets: a heap of four levels is all in the cache.
constexpr std::size_t small_heap = 340;

// The children of an entry share a line: entry 1 begins one, so entry 0 is the last of the line
// before it.
constexpr std::size_t entries_before = arity - 1;

}  // namespace

bool timer_heap::insert(timer_node* t, std::int64_t when, bool* ok) noexcept {
  lock_.lock();
  if (!reserve(1)) {
    lock_.unlock();
    *ok = false;
    return false;
  }
  t->when = when;
  const bool earliest = when < next_when();
  add(t, when);
  publish();
  lock_.unlock();
  *ok = true;
  return earliest;
}

bool timer_heap::remove(timer_node* t) noexcept {
  lock_.lock();
  const bool mine = t->heap.load(std::memory_order_relaxed) == this;
  if (mine) {
    if ((t->pos & timer_buckets::here) != 0) {
      later_.remove(t);
      t->heap.store(nullptr, std::memory_order_release);  // last, as in remove_at
    } else {
      remove_at(t->pos);
    }
    publish();
  }
  lock_.unlock();
  return mine;
}

std::size_t timer_heap::run(std::int64_t now) noexcept {
  if (next_when() > now) return 0;
  std::size_t fired = 0;
  lock_.lock();
  if (later_.size() != 0) {
    later_.open(now, [this](timer_node* t, std::int64_t when) { append(t, when); });
    publish();
  }
  while (count_ > 0 && entries_[0].when <= now) {
    timer_node* t = entries_[0].node;
    if (t->period > 0) {
      // Drift-free: the next multiple of the period after now; missed ticks are dropped.
      const std::int64_t missed = (now - t->when) / t->period;
      t->when += (missed + 1) * t->period;
      entries_[0].when = t->when;
      sift_down(0);
    } else {
      take_out(0);
    }
    publish();
    t->fire(t, now);
    // A one-shot node names this heap until its fire is over: whoever stops it meanwhile (a fiber
    // that it woke, about to end the frame it lies in) waits for our lock. If it was armed again in
    // another heap, that one's name stays.
    if (t->period == 0) {
      timer_heap* self = this;
      t->heap.compare_exchange_strong(self, nullptr, std::memory_order_acq_rel);
    }
    ++fired;
  }
  lock_.unlock();
  return fired;
}

bool timer_heap::move_to(timer_heap& other) noexcept {
  lock_.lock();
  other.lock_.lock();
  const bool fits = other.reserve(count_ + later_.size());
  if (fits) {
    each([&other](timer_node* t, std::int64_t when) { other.add(t, when); });
    other.publish();
    drop_all();
  }
  other.lock_.unlock();
  lock_.unlock();
  return fits;
}

void timer_heap::clear(self_held_timer** given_up) noexcept {
  lock_.lock();
  each([given_up](timer_node* t, std::int64_t) {
    // As long as it names this heap, whoever stops it comes for our lock and does not free it.
    auto* held = t->holds_itself ? static_cast<self_held_timer*>(t) : nullptr;
    if (held != nullptr && held->give_up(held)) {
      held->next_given_up = std::exchange(*given_up, held);
    }
    t->heap.store(nullptr, std::memory_order_release);
  });
  drop_all();
  lock_.unlock();
}

// The nodes are somewhere else, or disarmed.
void timer_heap::drop_all() noexcept {
  count_ = 0;
  later_.drop_all();
  free_entries();
  capacity_ = 0;
  publish();
}

template <class Visit>
void timer_heap::each(Visit visit) const {
  for (std::size_t i = 0; i < count_; ++i) visit(entries_[i].node, entries_[i].when);
  later_.each(visit);
}

// There is room.
void timer_heap::add(timer_node* t, std::int64_t when) noexcept {
  if (count_ >= small_heap && later_.put(t, when)) {
    t->heap.store(this, std::memory_order_release);
  } else {
    append(t, when);
  }
}

// There is room.
void timer_heap::append(timer_node* t, std::int64_t when) noexcept {
  entries_[count_] = {when, t};
  t->pos = static_cast<std::uint32_t>(count_);
  t->heap.store(this, std::memory_order_release);
  ++count_;
  sift_up(count_ - 1);
}

void timer_heap::publish() noexcept {
  const std::int64_t first = count_ == 0 ? never : entries_[0].when;
  next_when_.store(std::min(first, later_.earliest()), std::memory_order_release);
  size_.store(count_ + later_.size(), std::memory_order_relaxed);
}

bool timer_heap::reserve(std::size_t more) noexcept {
  const std::size_t wanted = count_ + later_.size() + more;
  if (wanted <= capacity_) return true;
  std::size_t capacity = capacity_ == 0 ? first_capacity : capacity_ * 2;
  while (capacity < wanted) capacity *= 2;
  auto* memory =
      static_cast<entry*>(os::map_anonymous((capacity + entries_before) * sizeof(entry)));
  if (memory == nullptr) return false;
  entry* entries = memory + entries_before;
  if (count_ != 0) std::memcpy(static_cast<void*>(entries), entries_, count_ * sizeof(entry));
  free_entries();
  entries_ = entries;
  capacity_ = capacity;
  return true;
}

void timer_heap::free_entries() noexcept {
  if (entries_ == nullptr) return;
  ::munmap(entries_ - entries_before, (capacity_ + entries_before) * sizeof(entry));
  entries_ = nullptr;
}

void timer_heap::place(std::size_t i, entry e) noexcept {
  entries_[i] = e;
  e.node->pos = static_cast<std::uint32_t>(i);
}

void timer_heap::sift_up(std::size_t i) noexcept {
  const entry e = entries_[i];
  while (i > 0) {
    const std::size_t parent = (i - 1) / arity;
    if (entries_[parent].when <= e.when) break;
    place(i, entries_[parent]);
    i = parent;
  }
  place(i, e);
}

void timer_heap::sift_down(std::size_t i) noexcept {
  const entry e = entries_[i];
  for (;;) {
    const std::size_t first = i * arity + 1;
    if (first >= count_) break;
    std::size_t least = first;
    const std::size_t last = first + arity < count_ ? first + arity : count_;
    for (std::size_t child = first + 1; child < last; ++child) {
      if (entries_[child].when < entries_[least].when) least = child;
    }
    if (entries_[least].when >= e.when) break;
    place(i, entries_[least]);
    i = least;
  }
  place(i, e);
}

void timer_heap::remove_at(std::size_t i) noexcept {
  timer_node* t = entries_[i].node;
  take_out(i);
  // Last: whoever reads null may reuse the node.
  t->heap.store(nullptr, std::memory_order_release);
}

void timer_heap::take_out(std::size_t i) noexcept {
  const entry moved = entries_[--count_];
  if (i != count_) {
    entries_[i] = moved;
    moved.node->pos = static_cast<std::uint32_t>(i);
    sift_down(i);
    if (moved.node->pos == i) sift_up(i);
  }
}

bool timer_heap::check_invariants() noexcept {
  lock_.lock();
  const std::int64_t first = count_ == 0 ? never : entries_[0].when;
  bool good = size_.load() == count_ + later_.size() && later_.check_invariants() &&
              next_when_.load() == std::min(first, later_.earliest());
  for (std::size_t i = 0; good && i < count_; ++i) {
    good = entries_[i].node->pos == i && entries_[i].when == entries_[i].node->when &&
           (i == 0 || entries_[(i - 1) / arity].when <= entries_[i].when);
  }
  each([&](const timer_node* t, std::int64_t) { good = good && t->heap.load() == this; });
  lock_.unlock();
  return good;
}

}  // namespace weft::inline v0::detail
