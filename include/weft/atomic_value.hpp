// SPDX-License-Identifier: Apache-2.0
// A value that many read and few replace as a whole: configuration, routing tables, feature flags.
// As Go's atomic.Value, typed.
//
// load() gives a snapshot, a std::shared_ptr<const T>: it may be kept for as long as one likes,
// over blocking calls, on other threads, and longer than the atomic_value itself, and a plain
// reference-counted pointer is what other code can take without knowing of weft. A guard that must
// be short-lived (hazard pointers, epochs) would be a few nanoseconds cheaper, and wrong in a fiber
// that waits while it holds one. A snapshot never changes and holds up nobody: the old value is
// destroyed when its last snapshot goes, by whoever drops that.
//
// Readers do not contend, neither with each other nor with a writer: there are several copies of
// the pointer, each with a reference count of its own, in cache lines of their own. A thread uses
// one of them, so the figures that readers write to are (nearly) its own. What is shared, the
// version, is only read. A store puts the new value into the master copy, counts the version up and
// empties the copies; the next reader of each fills it again. All of it is one total order: a load
// that begins after a store has returned, or that comes after a load which saw the value, sees it
// or a later one.
//
// Cost: a load and the drop of its snapshot are three locked instructions on lines that the thread
// has; no heap, but for one block the first time after a store. A store is a heap block for the
// value and a walk over the copies. An atomic_value is about a kilobyte: it is for few, hot values.
// From fibers and plain threads; needs no runtime.
#pragma once

#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include <weft/detail/config.hpp>
#include <weft/detail/spin_lock.hpp>
#include <weft/error.hpp>

namespace weft::inline v0 {
namespace detail {

/// The untyped part of atomic_value. Lock order: none of its locks is held while another is taken.
class value_core {
 public:
  using pointer = std::shared_ptr<const void>;

  value_core() noexcept = default;
  explicit value_core(pointer first) noexcept : current_(std::move(first)) {}
  value_core(const value_core&) = delete;
  value_core& operator=(const value_core&) = delete;

  [[nodiscard]] WEFT_EXPORT pointer load() const noexcept;
  /// Returns what was there before.
  [[nodiscard]] WEFT_EXPORT pointer exchange(pointer next) noexcept;
  /// False: another object than `expected` is there, and expected is that now.
  [[nodiscard]] WEFT_EXPORT bool compare_exchange(pointer& expected, pointer next) noexcept;

 private:
  /// The current pointer once more, with a reference count of its own. Guarded by `lock`.
  struct alignas(cache_line) copy {
    spin_lock lock;
    std::uint64_t version = 0;  // that of `value`; 0: empty
    pointer value;
  };
  // Enough that the threads of a large machine rarely meet, few enough that a store can walk them.
  static constexpr std::size_t copies = 16;

  [[nodiscard]] pointer refill(copy& c) const noexcept;
  void empty_copies(std::uint64_t version) const noexcept;

  alignas(cache_line) std::atomic<std::uint64_t> version_{1};  // written with lock_ held
  alignas(cache_line) mutable spin_lock lock_;                 // guards current_
  pointer current_;
  mutable std::array<copy, copies> copies_;
};

}  // namespace detail

template <class T>
class atomic_value {
  static_assert(std::is_object_v<T> && !std::is_const_v<T> && !std::is_volatile_v<T>,
                "weft::atomic_value<T>: T is the type of an object, without const");

 public:
  using value_type = T;
  /// What load() gives. Null while nothing has been stored.
  using snapshot = std::shared_ptr<const T>;

  /// Empty: load() returns null until the first store.
  atomic_value() noexcept = default;
  explicit atomic_value(T first) : core_(std::make_shared<const T>(std::move(first))) {}
  explicit atomic_value(snapshot first) noexcept : core_(std::move(first)) {}
  atomic_value(const atomic_value&) = delete;
  atomic_value& operator=(const atomic_value&) = delete;

  /// The value as it is now.
  [[nodiscard]] snapshot load() const noexcept { return typed(core_.load()); }

  /// Replaces the value. What the caller did before is seen by whoever loads it.
  void store(T next) { store(snapshot(std::make_shared<const T>(std::move(next)))); }
  /// The same with a value that is shared already; null empties.
  void store(snapshot next) noexcept { static_cast<void>(core_.exchange(std::move(next))); }

  /// Replaces the value and returns the one that was there.
  [[nodiscard]] snapshot exchange(T next) {
    return exchange(snapshot(std::make_shared<const T>(std::move(next))));
  }
  [[nodiscard]] snapshot exchange(snapshot next) noexcept {
    return typed(core_.exchange(std::move(next)));
  }

  /// Replaces the value if it still is the very object `expected` (a snapshot that keeps it alive:
  /// no other object can have taken its address). False: it is not, nothing was done, and
  /// `expected` is what is there.
  [[nodiscard]] bool compare_exchange(snapshot& expected, snapshot next) noexcept {
    detail::value_core::pointer there = std::move(expected);
    const bool replaced = core_.compare_exchange(there, std::move(next));
    expected = typed(std::move(there));
    return replaced;
  }
  [[nodiscard]] bool compare_exchange(snapshot& expected, T next) {
    return compare_exchange(expected, snapshot(std::make_shared<const T>(std::move(next))));
  }

  /// Replaces the value by fn(value), without losing what others store meanwhile: fn may be called
  /// several times. What it throws leaves the value as it is. Throws logic_error while empty.
  template <class F>
    requires std::is_invocable_r_v<T, F&, const T&>
  void update(F&& fn) {
    auto* call = detail::launder_ptr(&fn);
    snapshot now = load();
    do {
      if (now == nullptr) throw logic_error("weft::atomic_value: update of an empty one");
    } while (!compare_exchange(now, T(std::invoke(*call, *now))));
  }

 private:
  [[nodiscard]] static snapshot typed(detail::value_core::pointer p) noexcept {
    return std::static_pointer_cast<const T>(std::move(p));
  }

  detail::value_core core_;
};

}  // namespace weft::inline v0
