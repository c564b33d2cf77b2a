// SPDX-License-Identifier: Apache-2.0
// A pool of objects to be used again (Go's sync.Pool): what is expensive to make, and serves one
// task at a time, such as buffers, parsers, arenas.
//
// get() and put() cost a few ns on a P's own cache, without a lock or a locked instruction; plain
// threads use a shared list. An object that nobody has used for one to two `idle_timeout` is
// destroyed by whoever uses the pool then: Go's victim cache, with a clock in place of its
// collector. All functions are for fibers and plain threads, of any runtime, at the same time.
//
// Objects that are out are in the accounts (kind "pool object"), by the line that took them.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <source_location>
#include <type_traits>
#include <utility>

#include <weft/clock.hpp>
#include <weft/detail/callable.hpp>
#include <weft/detail/config.hpp>
#include <weft/detail/pool_core.hpp>
#include <weft/detail/spawn.hpp>
#include <weft/error.hpp>

namespace weft::inline v0 {

/// How a pool<T> is set up.
template <class T>
struct pool_options {
  /// Makes an object; may throw, and is called by several at once. Empty: T().
  std::function<T()> make{};
  /// Called with each object that comes back, in the fiber that gives it. If it throws, the object
  /// is destroyed, and the log says so.
  std::function<void(T&)> reset{};
  /// An object that was not used for one to two of these is destroyed. Zero: only trim() does that.
  std::chrono::nanoseconds idle_timeout = std::chrono::seconds(10);
};

/// What a pool has and had.
struct pool_stats {
  std::uint64_t out = 0;   ///< objects with somebody
  std::uint64_t idle = 0;  ///< objects in the pool
  std::uint64_t created = 0;
  std::uint64_t destroyed = 0;
};

namespace detail {

/// One object of a pool<T>. (Idle ones are not poisoned for AddressSanitizer: its leak check does
/// not look for pointers in poisoned memory.)
template <class T>
struct pool_slot {
  pool_node node;
  alignas(T) std::byte storage[sizeof(T)];

  [[nodiscard]] T* object() noexcept { return std::launder(reinterpret_cast<T*>(storage)); }
  [[nodiscard]] static pool_slot* of(pool_node* n) noexcept {
    return reinterpret_cast<pool_slot*>(n);  // its first member
  }
  [[nodiscard]] static pool_slot* of(T* object) noexcept {
    return reinterpret_cast<pool_slot*>(reinterpret_cast<std::byte*>(object) -
                                        offsetof(pool_slot, storage));
  }
};

/// What a pool<T> keeps until its last object is gone.
template <class T>
struct pool_state : pool_core {
  using slot = pool_slot<T>;
  std::function<T()> make;
  std::function<void(T&)> reset;

  explicit pool_state(pool_options<T>&& o)
      : pool_core(&table, o.idle_timeout.count()),
        make(std::move(o.make)),
        reset(std::move(o.reset)) {}

  static void destroy(pool_node* n) noexcept {
    slot* s = slot::of(n);
    std::destroy_at(s->object());
    delete s;
  }
  static void dispose(pool_core* core) noexcept { delete static_cast<pool_state*>(core); }
  static constexpr operations table{&destroy, &dispose};

  template <class Construct>
  [[nodiscard]] pool_node* add(const void* site, Construct construct) {
    auto made = std::make_unique_for_overwrite<slot>();
    construct(static_cast<void*>(made->storage));
    adopt(&made->node, site);
    return &made.release()->node;
  }
  [[nodiscard]] pool_node* add_one(const void* site) {
    return add(site, [this](void* at) {
      if (make) {
        ::new (at) T(make());
      } else if constexpr (std::default_initializable<T>) {
        ::new (at) T();
      } else {
        throw logic_error("weft::pool: no make function, and no default constructor");
      }
    });
  }

  void take_back(pool_node* n) noexcept {
    require_out(n);
    if (reset && !closed()) {
      try {
        reset(*slot::of(n)->object());
      } catch (...) {
        report_reset_failure();
        discard(n);
        return;
      }
    }
    give(n);
  }
};

}  // namespace detail

template <class T>
class pool;

/// An object of a pool; dropping it puts the object back. Move-only. It must not outlive its pool:
/// see ~pool.
template <class T>
class [[nodiscard]] pooled {
 public:
  pooled() noexcept = default;
  pooled(pooled&& o) noexcept
      : state_(std::exchange(o.state_, nullptr)), object_(std::exchange(o.object_, nullptr)) {}
  pooled& operator=(pooled&& o) noexcept {
    if (this != &o) {
      put();
      state_ = std::exchange(o.state_, nullptr);
      object_ = std::exchange(o.object_, nullptr);
    }
    return *this;
  }
  ~pooled() { put(); }

  [[nodiscard]] T* get() const noexcept { return object_; }
  [[nodiscard]] T& operator*() const noexcept { return *object_; }
  [[nodiscard]] T* operator->() const noexcept { return object_; }
  /// Is there an object? Not after a move, put, discard or release.
  [[nodiscard]] explicit operator bool() const noexcept { return object_ != nullptr; }

  /// Puts it back now.
  void put() noexcept {
    if (object_ == nullptr) return;
    state_->take_back(&slot::of(std::exchange(object_, nullptr))->node);
  }
  /// Destroys it instead: it is broken, or has grown too large to be kept.
  void discard() noexcept {
    if (object_ == nullptr) return;
    state_->discard(&slot::of(std::exchange(object_, nullptr))->node);
  }
  /// Leaves it to the caller, who gives it to pool::put() or pool::discard() later.
  [[nodiscard]] T* release() noexcept { return std::exchange(object_, nullptr); }

 private:
  friend class pool<T>;
  using slot = detail::pool_slot<T>;
  pooled(detail::pool_state<T>* s, detail::pool_node* n) noexcept
      : state_(s), object_(slot::of(n)->object()) {}

  detail::pool_state<T>* state_ = nullptr;
  T* object_ = nullptr;
};

/// See the file's top. T need not be movable; its destructor must not throw.
template <class T>
class pool {
  static_assert(std::is_object_v<T> && !std::is_const_v<T> && !std::is_array_v<T> &&
                    std::is_nothrow_destructible_v<T>,
                "weft::pool<T>: T must be an object type that is nothrow-destructible");
  using state = detail::pool_state<T>;
  using slot = detail::pool_slot<T>;

 public:
  using handle = pooled<T>;

  /// (Not explicit: an aggregate makes its members from {}.)
  pool() : pool(pool_options<T>{}) {}
  explicit pool(pool_options<T> o) : state_(new state(std::move(*detail::launder_ptr(&o)))) {}
  /// Objects are what `make` returns.
  template <detail::borrowed_function F>
    requires std::convertible_to<F, std::function<T()>>
  explicit pool(F make) : pool(pool_options<T>{.make = std::move(*detail::launder_ptr(&make))}) {}
  pool(const pool&) = delete;
  pool& operator=(const pool&) = delete;
  /// Destroys the objects in the pool. Objects that are out are an error: they are reported in the
  /// log, by the lines that took them, and destroyed when they come back.
  ~pool() { state_->close(); }

  /// An object that was put back, else a new one. Throws what making it throws; logic_error if
  /// there is no way to make one.
  [[nodiscard]] handle get(std::source_location where = std::source_location::current()) {
    return handle(state_, obtain(detail::site_of(where)));
  }
  /// An object that was put back, else an empty handle.
  [[nodiscard]] handle try_get(
      std::source_location where = std::source_location::current()) noexcept {
    detail::pool_node* n = state_->take(detail::site_of(where));
    return n == nullptr ? handle() : handle(state_, n);
  }
  /// The same as get() for those who keep books themselves, as in Go: put() or discard() it.
  [[nodiscard]] T* take(std::source_location where = std::source_location::current()) {
    return slot::of(obtain(detail::site_of(where)))->object();
  }

  /// Puts back what get() gave.
  void put(handle h) noexcept { h.put(); }
  /// Puts back what take() or release() gave; null is nothing. Fatal if it is in the pool already.
  void put(T* object) noexcept {
    if (object != nullptr) state_->take_back(&slot::of(object)->node);
  }
  /// Destroys it instead; likewise.
  void discard(T* object) noexcept {
    if (object == nullptr) return;
    detail::pool_node* n = &slot::of(object)->node;
    detail::require_out(n);
    state_->discard(n);
  }
  /// Makes an object of `args`, in the pool: to fill it beforehand.
  template <class... Args>
    requires std::constructible_from<T, Args...>
  void emplace(Args&&... args) {
    const void* here = detail::site_of(std::source_location::current());
    detail::pool_node* n =
        state_->add(here, [&](void* at) { ::new (at) T(std::forward<Args>(args)...); });
    state_->give(n);
  }

  /// Ends a generation now: destroys what was not used since the last one ended. Twice in a row
  /// empties a pool that nobody uses meanwhile.
  void trim() noexcept { state_->age(); }

  /// Exact when nobody uses the pool meanwhile. Walks over all objects.
  [[nodiscard]] pool_stats stats() const noexcept {
    const detail::pool_counts c = state_->counts();
    return {c.out, c.created - c.destroyed - c.out, c.created, c.destroyed};
  }

 private:
  [[nodiscard]] detail::pool_node* obtain(const void* site) {
    detail::pool_node* n = state_->take(site);
    return n != nullptr ? n : state_->add_one(site);
  }

  state* state_;
};

}  // namespace weft::inline v0
