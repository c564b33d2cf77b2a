// SPDX-License-Identifier: Apache-2.0
// The copies of an atomic_value. Why nobody sees an old value after a new one: a copy is used only
// if its version is at least the one that the reader saw in `version_` when it began, and who comes
// after a store (or after a load that saw its value) sees at least the store's version.
//
// Why an idle copy does not keep an old value alive: a store counts `version_` up first and empties
// each copy, under its lock, afterwards. A reader puts a pointer into a copy, under its lock, only
// if `version_` is still the pointer's. Does it get the lock before the store: the store empties
// the copy. Does it get the lock after: it sees the store's version and puts nothing there.
//
// Values are destroyed with no lock held: their destructors are the user's and may wait.
#include <weft/atomic_value.hpp>

namespace weft::inline v0::detail {
namespace {

std::atomic<std::uint32_t> threads{0};
thread_local std::uint32_t thread_number = 0;  // 0: not given yet

/// Which copy the calling thread uses. Never inlined: no caller keeps the thread_local's address.
WEFT_NOINLINE std::uint32_t number_of_caller() noexcept {
  if (thread_number == 0) thread_number = threads.fetch_add(1, std::memory_order_relaxed) + 1;
  return thread_number;
}

/// Keeps the value alive for as long as somebody holds a pointer that counts by itself.
struct keeper {
  value_core::pointer value;
  void operator()(const void* /*the same*/) noexcept { value.reset(); }
};

}  // namespace

value_core::pointer value_core::load() const noexcept {
  copy& c = copies_[number_of_caller() % copies];
  // relaxed: the pointer comes from under a lock; for the order see the file's top.
  const std::uint64_t wanted = version_.load(std::memory_order_relaxed);
  c.lock.lock();
  if (c.version < wanted) [[unlikely]] {
    c.lock.unlock();
    return refill(c);
  }
  pointer p = c.value;
  c.lock.unlock();
  return p;
}

value_core::pointer value_core::refill(copy& c) const noexcept {
  lock_.lock();
  pointer p = current_;
  const std::uint64_t version = version_.load(std::memory_order_relaxed);
  lock_.unlock();
  if (p != nullptr) {
    try {
      const void* value = p.get();
      p = pointer(value, keeper{p});
    } catch (...) {
      return p;  // no memory for a count of its own: shares the master's, and the copy stays empty
    }
  }
  pointer old = p;
  c.lock.lock();
  if (c.version < version && version_.load(std::memory_order_relaxed) == version) {
    c.value.swap(old);
    c.version = version;
  }
  c.lock.unlock();
  return p;
}

value_core::pointer value_core::exchange(pointer next) noexcept {
  lock_.lock();
  current_.swap(next);
  const std::uint64_t version = version_.load(std::memory_order_relaxed) + 1;
  version_.store(version, std::memory_order_relaxed);
  lock_.unlock();
  empty_copies(version);
  return next;
}

bool value_core::compare_exchange(pointer& expected, pointer next) noexcept {
  lock_.lock();
  if (current_.get() != expected.get()) {
    pointer there = current_;
    lock_.unlock();
    expected.swap(there);
    return false;
  }
  current_.swap(next);
  const std::uint64_t version = version_.load(std::memory_order_relaxed) + 1;
  version_.store(version, std::memory_order_relaxed);
  lock_.unlock();
  empty_copies(version);
  return true;
}

void value_core::empty_copies(std::uint64_t version) const noexcept {
  for (copy& c : copies_) {
    pointer old;
    c.lock.lock();
    if (c.version < version) {
      c.value.swap(old);
      c.version = 0;
    }
    c.lock.unlock();
  }
}

}  // namespace weft::inline v0::detail
