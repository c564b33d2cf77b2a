// SPDX-License-Identifier: Apache-2.0
// What one send or one receive does to a channel while its lock is held, without waiting. Shared by
// the plain operations (chan_core.cpp) and select (select_core.cpp), so that the protocol exists
// once. Nothing here wakes a fiber or frees memory: that is left in `outcome` for after the unlock.
#pragma once

#include <cstring>

#include <weft/detail/chan_core.hpp>

namespace weft::inline v0::detail {

/// Set in waiter::index when the slot is an empty std::optional<T> and not raw storage.
inline constexpr std::uint32_t slot_is_optional = 0x8000'0000;

/// What is to be done once the lock is free.
struct outcome {
  fiber_core* wake = nullptr;
  void* garbage = nullptr;  // an emptied chunk of an unbounded channel
};

/// An unbounded channel: a list of chunks instead of a ring. head counts in the first chunk,
/// tail_pos in the last. One empty chunk is kept, so that steady traffic allocates nothing.
struct chunk {
  chunk* next;
};
struct unbounded_core : chan_core {
  chunk* first = nullptr;
  chunk* last = nullptr;
  chunk* spare = nullptr;
  std::uint32_t tail_pos = 0;
  std::uint32_t per_chunk = 0;
  std::uint32_t data_at = 0;  // offset of the values in a chunk
};

inline std::byte* chunk_slot(const unbounded_core* u, chunk* k, std::uint32_t i) noexcept {
  return reinterpret_cast<std::byte*>(k) + u->data_at + std::size_t{i} * u->ops->size;
}

/// Constructs *to from *from, which stays to be destroyed by its owner.
inline void move_value(const chan_core* c, void* to, void* from) noexcept {
  switch (c->width) {
    case 0:
      return;
    case 4:
      std::memcpy(to, from, 4);
      return;
    case 8:
      std::memcpy(to, from, 8);
      return;
    case 16:
      std::memcpy(to, from, 16);
      return;
    default:
      break;
  }
  if (c->ops->move != nullptr) {
    c->ops->move(to, from);
  } else {
    std::memcpy(to, from, c->ops->size);
  }
}

/// Moves *from into the slot of a receiver.
inline void deliver(const chan_core* c, void* slot, bool optional, void* from) noexcept {
  if (optional) [[unlikely]] {
    c->ops->emplace(slot, from);
  } else {
    move_value(c, slot, from);
  }
}

inline void deliver_and_destroy(const chan_core* c, void* slot, bool optional,
                                void* from) noexcept {
  deliver(c, slot, optional, from);
  if (c->ops->destroy != nullptr) c->ops->destroy(from);
}

inline std::byte* ring_slot(const chan_core* c, std::size_t i) noexcept {
  return c->ring + i * c->ops->size;
}

inline std::byte* ring_tail(const chan_core* c) noexcept {
  std::size_t i = std::size_t{c->head} + c->count;
  if (i >= c->cap) i -= c->cap;
  return ring_slot(c, i);
}

/// The place behind the last value when one has left the head but `count` still counts it.
inline std::byte* ring_last(const chan_core* c) noexcept {
  const std::size_t i = std::size_t{c->head} + c->count - 1;
  return ring_slot(c, i >= c->cap ? i - c->cap : i);
}

/// The partner `w`, just claimed, has been served.
inline void served(waiter* w, outcome& out) noexcept {
  w->ok = true;
  w->g->wake_param = w;
  out.wake = w->g;
}

/// Whether a receive, or a send, might go through at this instant; without the lock. A no is
/// certain: emptiness (fullness) is read first, and a channel that is open after that was open
/// then.
inline bool may_recv(const chan_core* c) noexcept {
  return c->count.look() != 0 || !c->send_q.looks_empty() || c->closed.look();
}
inline bool may_send(const chan_core* c) noexcept {
  return c->count.look() < c->cap || !c->recv_q.looks_empty() || c->kind >= chan_kind::conflated ||
         c->closed.look();
}

inline void unbounded_take(unbounded_core* u, void* to, bool optional, outcome& out) noexcept {
  deliver_and_destroy(u, to, optional, chunk_slot(u, u->first, u->head));
  ++u->head;
  if (--u->count == 0) {
    u->head = u->tail_pos = 0;  // first == last here
  } else if (u->head == u->per_chunk) {
    chunk* empty = u->first;
    u->first = empty->next;
    u->head = 0;
    if (u->spare == nullptr) {
      u->spare = empty;
    } else {
      out.garbage = empty;
    }
  }
}

/// False: there is no room and no spare chunk. (Four billion values are more than there is memory
/// for: each takes a byte at least, and the allocation of a chunk fails first.)
inline bool unbounded_put(unbounded_core* u, void* from) noexcept {
  if (u->tail_pos == u->per_chunk) {
    if (u->spare == nullptr) return false;
    u->spare->next = nullptr;
    u->last->next = u->spare;
    u->last = u->spare;
    u->spare = nullptr;
    u->tail_pos = 0;
  }
  move_value(u, chunk_slot(u, u->last, u->tail_pos), from);
  ++u->tail_pos;
  ++u->count;
  return true;
}

/// Lock held. done, closed or blocked.
WEFT_INLINE chan_op recv_step(chan_core* c, void* to, bool optional, outcome& out) noexcept {
  if (c->count != 0) {
    if (c->kind == chan_kind::unbounded) [[unlikely]] {
      unbounded_take(static_cast<unbounded_core*>(c), to, optional, out);
      return chan_op::done;
    }
    deliver_and_destroy(c, to, optional, ring_slot(c, c->head));
    if (++c->head == c->cap) c->head = 0;
    // Room: the sender that has waited longest puts its value behind the others. `count` does not
    // move then: whoever looks without the lock must not see an empty channel that never was.
    if (waiter* s = c->send_q.pop_claimed()) {
      move_value(c, ring_last(c), s->slot);
      served(s, out);
    } else {
      --c->count;
    }
    return chan_op::done;
  }
  if (waiter* s = c->send_q.pop_claimed()) {
    deliver(c, to, optional, s->slot);
    served(s, out);
    return chan_op::done;
  }
  return c->closed ? chan_op::closed : chan_op::blocked;
}

/// Lock held. done, closed or blocked; blocked on a conflated channel means "the old value must
/// make room", on an unbounded one "a chunk is needed".
WEFT_INLINE chan_op send_step(chan_core* c, void* from, outcome& out) noexcept {
  if (c->closed) [[unlikely]]
    return chan_op::closed;
  if (waiter* r = c->recv_q.pop_claimed()) {
    deliver(c, r->slot, (r->index & slot_is_optional) != 0, from);
    served(r, out);
    return chan_op::done;
  }
  if (c->count < c->cap) {
    move_value(c, ring_tail(c), from);
    ++c->count;
    return chan_op::done;
  }
  if (c->kind == chan_kind::unbounded && unbounded_put(static_cast<unbounded_core*>(c), from)) {
    return chan_op::done;
  }
  return chan_op::blocked;
}

/// Frees what a receive left over.
void drop_garbage(const chan_core* c, void* garbage) noexcept;

/// After the unlock.
inline void finish(const chan_core* c, const outcome& out) noexcept {
  // The garbage first: it needs the channel, which a woken partner may end.
  if (out.garbage != nullptr) [[unlikely]]
    drop_garbage(c, out.garbage);
  if (out.wake != nullptr) ready(out.wake);
}

/// One attempt from start to end, with any kind of receiver's slot: done, closed or blocked.
[[nodiscard]] chan_op recv_now(chan_core* c, void* to, bool optional) noexcept;
/// The same for a send. Throws bad_alloc on an unbounded channel.
[[nodiscard]] chan_op send_now(chan_core* c, void* from);

}  // namespace weft::inline v0::detail
