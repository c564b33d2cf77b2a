// SPDX-License-Identifier: Apache-2.0
// What code under the explorer uses in place of std::atomic, plain variables, eventfd and barriers.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#include "tests/model/explorer.hpp"

namespace weft_model {

template <class T>
std::uint64_t to_word(T value) noexcept {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  std::uint64_t word = 0;
  std::memcpy(&word, &value, sizeof(T));
  return word;
}

template <class T>
T from_word(std::uint64_t word) noexcept {
  T value;
  std::memcpy(&value, &word, sizeof(T));
  return value;
}

template <class T>
class atomic {
  using where = std::source_location;
  static constexpr std::memory_order seq_cst = std::memory_order_seq_cst;

 public:
  atomic(T value = T{}) : location_(new_location(to_word(value))) {}  // NOLINT: as std::atomic
  ~atomic() { drop_location(location_); }
  atomic(const atomic&) = delete;
  atomic& operator=(const atomic&) = delete;

  [[nodiscard]] T load(std::memory_order order = seq_cst,
                       const where& w = where::current()) const noexcept {
    return from_word<T>(weft_model::load(location_, order, w));
  }
  void store(T value, std::memory_order order = seq_cst,
             const where& w = where::current()) noexcept {
    weft_model::store(location_, to_word(value), order, w);
  }
  T exchange(T value, std::memory_order order = seq_cst,
             const where& w = where::current()) noexcept {
    return change([&](T) { return value; }, order, w);
  }
  T fetch_add(T n, std::memory_order order = seq_cst, const where& w = where::current()) noexcept {
    return change([&](T old) { return static_cast<T>(old + n); }, order, w);
  }
  T fetch_sub(T n, std::memory_order order = seq_cst, const where& w = where::current()) noexcept {
    return change([&](T old) { return static_cast<T>(old - n); }, order, w);
  }
  T fetch_or(T n, std::memory_order order = seq_cst, const where& w = where::current()) noexcept {
    return change([&](T old) { return static_cast<T>(old | n); }, order, w);
  }
  T fetch_and(T n, std::memory_order order = seq_cst, const where& w = where::current()) noexcept {
    return change([&](T old) { return static_cast<T>(old & n); }, order, w);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order success = seq_cst,
                               const where& w = where::current()) noexcept {
    return compare_exchange_strong(expected, desired, success, failure_order(success), w);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order success,
                               std::memory_order failure,
                               const where& w = where::current()) noexcept {
    const std::uint64_t want = to_word(expected);
    const std::uint64_t seen = update(
        location_, &want, [&](std::uint64_t) { return to_word(desired); }, success, failure, w);
    expected = from_word<T>(seen);
    return seen == want;
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order success,
                             std::memory_order failure,
                             const where& w = where::current()) noexcept {
    return compare_exchange_strong(expected, desired, success, failure, w);
  }

  [[nodiscard]] std::size_t location() const noexcept { return location_; }

 private:
  static std::memory_order failure_order(std::memory_order success) noexcept {
    if (success == std::memory_order_acq_rel) return std::memory_order_acquire;
    return success == std::memory_order_release ? std::memory_order_relaxed : success;
  }

  template <class F>
  T change(const F& f, std::memory_order order, const where& w) noexcept {
    return from_word<T>(update(
        location_, nullptr, [&](std::uint64_t old) { return to_word(f(from_word<T>(old))); }, order,
        order, w));
  }

  std::size_t location_;
};

/// A variable that is not atomic.
template <class T>
class plain {
 public:
  plain(T value = T{})  // NOLINT: as a T
      : location_(new_location(to_word(value))), readers_(new_location(0)) {}
  ~plain() {
    drop_location(location_);
    drop_location(readers_);
  }
  plain(const plain&) = delete;
  plain& operator=(const plain&) = delete;

  [[nodiscard]] T get() const { return from_word<T>(plain_read(location_, readers_)); }
  void set(T value) { plain_write(location_, readers_, to_word(value)); }

 private:
  std::size_t location_;
  std::size_t readers_;
};

/// eventfd(2) with one sleeper or more: wake() is kept until somebody has seen it.
class event {
 public:
  void wake() {
    count_.store(1);
    futex_wake(count_.location());
  }
  void wait() {
    while (count_.exchange(0) == 0) futex_wait(count_.location(), 0);
  }

 private:
  atomic<std::uint32_t> count_{0};
};

class spin_lock {
 public:
  void lock() {
    while (!try_lock()) relax();
  }
  [[nodiscard]] bool try_lock() { return word_.exchange(1, std::memory_order_acquire) == 0; }
  void unlock() { word_.store(0, std::memory_order_release); }

 private:
  atomic<std::uint32_t> word_{0};
};

/// In place of weft's native_sync.
struct model_sync {
  template <class T>
  using atomic = weft_model::atomic<T>;
  using lock_type = spin_lock;
  static void light_barrier() noexcept {}  // the other side pays: membarrier
  static void heavy_barrier() noexcept { weft_model::heavy_barrier(); }
  static void relax() noexcept { weft_model::relax(); }
};

}  // namespace weft_model
