// SPDX-License-Identifier: Apache-2.0
// The untyped core of a channel, compiled once; chan.hpp puts types on it. This header holds only
// what templates need: the layout (a channel may lie in a frame) and the calls.
//
// Who may touch what:
//   cap, kind, width, ops, site, dispose   immutable
//   closed, count, head, ring, queues      guarded by `lock`
//            (closed, count and the queues' heads may be looked at without it: may_send, may_recv)
//   ends     atomic: handles that can send (low half) and receive (high half). A heap channel dies
//            with the last one; a channel in a frame counts itself as one of each.
//
// Invariants, with the lock free: values in the ring (count > 0) and waiting receivers exclude each
// other; senders wait only while the ring is full; a closed channel has no waiters. Moves of values
// are nothrow and happen under the lock; no other user code does.
// Whoever wakes a waiter has filled in its slot and `ok`, has unlocked, and then touches only the
// fiber: the channel may be gone as soon as the other side runs.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include <weft/detail/config.hpp>
#include <weft/detail/park.hpp>
#include <weft/detail/waiter.hpp>

namespace weft::inline v0::detail {

struct cancel_node;

/// What the core has to know of T. Null functions: T is trivial there.
struct element_ops {
  std::size_t size;
  std::size_t align;
  void (*move)(void* to, void* from) noexcept;  // constructs *to from the rvalue *from
  void (*destroy)(void* p) noexcept;
  void (*emplace)(void* optional, void* from) noexcept;  // into an empty std::optional<T>
  void (*clear)(void* optional) noexcept;                // empties a std::optional<T>
};

template <class T>
inline constexpr element_ops ops_of = {
    sizeof(T),
    alignof(T),
    std::is_trivially_copyable_v<T>
        ? nullptr
        : +[](void* to, void* from) noexcept {
            std::construct_at(static_cast<T*>(to), std::move(*static_cast<T*>(from)));
          },
    std::is_trivially_destructible_v<T>
        ? nullptr
        : +[](void* p) noexcept { std::destroy_at(static_cast<T*>(p)); },
    +[](void* optional, void* from) noexcept {
      static_cast<std::optional<T>*>(optional)->emplace(std::move(*static_cast<T*>(from)));
    },
    +[](void* optional) noexcept { static_cast<std::optional<T>*>(optional)->reset(); },
};

/// How a value is moved: common small sizes without a call, 0 for empty types.
inline constexpr std::uint8_t width_by_ops = 255;
template <class T>
inline constexpr std::uint8_t width_of =
    !std::is_trivially_copyable_v<T>                      ? width_by_ops
    : std::is_empty_v<T>                                  ? 0
    : sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16 ? sizeof(T)
                                                          : width_by_ops;

enum class chan_kind : std::uint8_t { rendezvous, buffered, conflated, unbounded };

enum class chan_op : std::uint8_t {
  done,     ///< the value changed hands
  closed,   ///< the channel is closed (and, for a receive, drained)
  blocked,  ///< not possible now
  parked,   ///< a waiter was published; see chan_step
  failed,   ///< a context or deadline ended the wait
};

/// What a blocking operation has come to. Parked: switch from w->g to `to` (null: woken already),
/// then look at w->ok. In two registers.
struct chan_step {
  chan_op op;
  fiber_core* to = nullptr;
};

inline constexpr std::uint64_t one_send_end = 1;
inline constexpr std::uint64_t one_recv_end = std::uint64_t{1} << 32;
inline constexpr std::uint64_t both_ends = one_send_end | one_recv_end;

struct chan_core : waitable {
  relaxed<bool> closed;
  chan_kind kind = chan_kind::rendezvous;
  std::uint8_t width = 0;
  bool may_bias = false;  // no code of the user's runs under the lock; see biased_lock.hpp
  relaxed<std::uint32_t> count;
  std::uint32_t cap = 0;
  std::uint32_t head = 0;
  std::byte* ring = nullptr;
  wait_queue recv_q;
  wait_queue send_q;
  std::atomic<std::uint64_t> ends{both_ends};
  const element_ops* ops = nullptr;
  void (*dispose)(chan_core*) noexcept =
      nullptr;  // called when the last end of a heap channel goes
  const void* site = nullptr;
  bool timed = false;  // a timer of the runtime sends here, whatever `ends` says
};
static_assert(sizeof(chan_core) == cache_line + 40, "one line for all that a send touches");

/// A channel on the heap with both ends counted once (the caller's). Throws bad_alloc, or
/// logic_error for a capacity that cannot be.
[[nodiscard]] WEFT_EXPORT chan_core* chan_make(const element_ops* ops, std::uint8_t width,
                                               chan_kind kind, std::size_t cap, const void* site);
/// The same in the caller's storage; `ring` has room for cap values.
WEFT_EXPORT void chan_init(chan_core* c, const element_ops* ops, std::uint8_t width,
                           std::uint32_t cap, std::byte* ring, const void* site) noexcept;
/// Ends a channel that chan_init began; fatal while others hold ends or wait.
WEFT_EXPORT void chan_fini(chan_core* c) noexcept;

/// The last end of `c` has gone.
WEFT_EXPORT void chan_last_end(chan_core* c) noexcept;

WEFT_INLINE void chan_add_ends(chan_core* c, std::uint64_t which) noexcept {
  // relaxed: the caller owns an end already, which keeps the channel.
  if (c != nullptr) c->ends.fetch_add(which, std::memory_order_relaxed);
}
WEFT_INLINE void chan_drop_ends(chan_core* c, std::uint64_t which) noexcept {
  // acq_rel: whoever drops the last one sees what all others did.
  if (c != nullptr && c->ends.fetch_sub(which, std::memory_order_acq_rel) == which) {
    chan_last_end(c);
  }
}

/// Blocking operations. `w` is raw storage in the caller's frame, built only when they return
/// `parked`. A null channel blocks for ever. Send: may throw bad_alloc on an unbounded channel.
[[nodiscard]] WEFT_EXPORT chan_step chan_send(chan_core* c, void* from, waiter* w);
[[nodiscard]] WEFT_EXPORT chan_step chan_recv(chan_core* c, void* to, waiter* w) noexcept;

/// Second half of both, in the caller's own frame: false if the channel was closed.
WEFT_INLINE bool chan_finish(const chan_step& r, const waiter& w) noexcept {
  if (r.op != chan_op::parked) return r.op == chan_op::done;
  if (r.to != nullptr) switch_to(w.g, r.to);
  return w.ok;
}

/// Never wait: done, closed or blocked.
[[nodiscard]] WEFT_EXPORT chan_op chan_try_send(chan_core* c, void* from);
[[nodiscard]] WEFT_EXPORT chan_op chan_try_recv(chan_core* c, void* to) noexcept;

/// Wait for the channel, a context (may be null) or a deadline: done, closed, or failed with the
/// reason in `error`.
[[nodiscard]] WEFT_EXPORT chan_op chan_send_until(chan_core* c, void* from, cancel_node* node,
                                                  std::int64_t deadline, std::error_code& error);
[[nodiscard]] WEFT_EXPORT chan_op chan_recv_until(chan_core* c, void* to, cancel_node* node,
                                                  std::int64_t deadline,
                                                  std::error_code& error) noexcept;

/// Closes; false if it was closed already.
WEFT_EXPORT bool chan_close(chan_core* c) noexcept;
[[nodiscard]] WEFT_EXPORT std::size_t chan_len(chan_core* c) noexcept;

[[noreturn]] WEFT_EXPORT void throw_send_on_closed();
[[noreturn]] WEFT_EXPORT void throw_close(bool nil);
[[noreturn]] WEFT_EXPORT void park_for_ever(wait_reason reason) noexcept;

/// Storage for a T that somebody else builds and the owner destroys.
template <class T>
union uninit {
  uninit() noexcept {}
  ~uninit() {}
  uninit(const uninit&) = delete;
  uninit& operator=(const uninit&) = delete;
  T value;
};

template <class T>
WEFT_INLINE std::optional<T> take(uninit<T>& slot) noexcept {
  std::optional<T> out(std::move(slot.value));
  std::destroy_at(&slot.value);
  return out;
}

/// nullopt, but the compiler does not know: `*c.recv()` by somebody who knows that a value will
/// come is no reason for a warning about uninitialised memory.
template <class T>
WEFT_INLINE std::optional<T> no_value() noexcept {
  std::optional<T> out;
  return std::move(*launder_ptr(&out));
}

/// Sends *value, moving from it only if it is sent. The switch happens in the caller's own frame.
template <class T>
WEFT_INLINE void send_from(chan_core* c, T* value) {
  uninit<waiter> w;
  const chan_step r = chan_send(c, launder_ptr(value), launder_ptr(&w.value));
  if (!chan_finish(r, w.value)) throw_send_on_closed();
}

template <class T>
WEFT_INLINE std::optional<T> recv_value(chan_core* c) noexcept {
  uninit<T> slot;
  uninit<waiter> w;
  const chan_step r = chan_recv(c, launder_ptr(&slot.value), launder_ptr(&w.value));
  if (!chan_finish(r, w.value)) return no_value<T>();
  return take(slot);
}

}  // namespace weft::inline v0::detail
