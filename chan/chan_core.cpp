// SPDX-License-Identifier: Apache-2.0
// The blocking, trying and timed operations of a channel, and its end. The steps themselves are in
// chan_steps.hpp, creation and destruction in chan_make.cpp.
//
// Locked instructions: none for a send or receive on a channel that one worker has had to itself
// for a while (biased_lock.hpp), else 1 (the channel's lock), plus what ready() costs; the claim of
// a partner is a CAS only if that partner can be woken by others.
#include <weft/detail/chan_core.hpp>

#include <algorithm>
#include <new>

#include <weft/detail/cancel_node.hpp>
#include <weft/error.hpp>
#include "chan/chan_steps.hpp"
#include "sched/park.hpp"

namespace weft::inline v0::detail {
namespace {

/// Publishes the caller's waiter; lock held.
WEFT_INLINE void publish(chan_core* c, wait_queue& queue, void* slot, waiter* w, wait_reason reason,
                         bool multi) noexcept {
  fiber_core* g = fiber_here();
  park_begin(g, reason, c);
  ::new (w) waiter{};
  w->g = g;
  w->slot = slot;
  w->owner = c;
  w->multi = multi;
  g->waiters = w;
  queue.push_back(w);
}

/// Conflated and full, lock held: the new value takes the place of the old one, which is destroyed
/// after the unlock, because a destructor is user code. Its temporary home is our frame: the size
/// is known at run time only.
WEFT_NOINLINE void replace_latest(chan_core* c, void* from) noexcept {
  const element_ops& ops = *c->ops;
  if (ops.destroy == nullptr) {
    move_value(c, c->ring, from);
    c->lock.unlock();
    return;
  }
  auto room = reinterpret_cast<std::uintptr_t>(__builtin_alloca(ops.size + ops.align));
  room = (room + ops.align - 1) & ~(static_cast<std::uintptr_t>(ops.align) - 1);
  void* old = reinterpret_cast<void*>(room);
  deliver_and_destroy(c, old, false, c->ring);
  move_value(c, c->ring, from);
  c->lock.unlock();
  ops.destroy(old);
}

/// Unbounded and out of room, lock held: allocates outside the lock and tries again.
WEFT_NOINLINE chan_op grow_and_send(unbounded_core* u, void* from) {
  for (;;) {
    u->lock.unlock();
    const std::size_t bytes = u->data_at + std::size_t{u->per_chunk} * u->ops->size;
    auto* k = static_cast<chunk*>(
        ::operator new(bytes, std::align_val_t{std::max(u->ops->align, alignof(chunk))}));
    outcome out;
    u->lock.lock();
    if (u->spare == nullptr) {
      u->spare = k;
    } else {
      out.garbage = k;
    }
    const chan_op r = send_step(u, from, out);
    if (r == chan_op::blocked) {
      // Others have used up the spare chunk meanwhile; ours must not be lost.
      if (out.garbage != nullptr) drop_garbage(u, out.garbage);
      continue;
    }
    u->lock.unlock();
    finish(u, out);
    return r;
  }
}

/// A send that found no room on a channel whose sends never wait; lock held, given back here.
chan_op send_never_waits(chan_core* c, void* from) {
  if (c->kind == chan_kind::unbounded) {
    return grow_and_send(static_cast<unbounded_core*>(c), from);
  }
  replace_latest(c, from);
  return chan_op::done;
}

bool never_waits(const chan_core* c) noexcept { return c->kind >= chan_kind::conflated; }

/// A send on a channel whose sends never wait. It may have to give the lock back in between, so it
/// takes it the common way.
WEFT_NOINLINE chan_op send_without_wait(chan_core* c, void* from) {
  outcome out;
  c->lock.lock();
  const chan_op r = send_step(c, from, out);
  if (r == chan_op::blocked) return send_never_waits(c, from);
  c->lock.unlock();
  if (out.wake != nullptr) ready_here(out.wake);
  return r;
}

/// For a lock that may be the calling worker's by privilege, else null.
WEFT_INLINE bias_slot* slot_for(const chan_core* c) noexcept {
  const machine* m = machine_here();
  return m == nullptr || !c->may_bias ? nullptr : m->bias;
}

/// The wait of the timed forms, after the waiter was published and the lock given back.
chan_op wait_with(wake_extras& extras, chan_core* c, wait_queue* queue, waiter& w,
                  std::error_code& error) noexcept {
  fiber_core* g = w.g;
  extras.arm(g);
  park_wait(g);
  extras.disarm();
  if (g->wake_param == extras.token()) {
    if (c != nullptr) {
      c->lock.lock();
      queue->remove(&w);
      c->lock.unlock();
    }
    error = extras.error();
    return chan_op::failed;
  }
  return w.ok ? chan_op::done : chan_op::closed;
}

/// True if a wait until `deadline` would be over before it began.
bool too_late(std::int64_t deadline, std::error_code& error) noexcept {
  if (deadline == never || deadline > now_ns()) return false;
  error = make_error_code(errc::deadline_exceeded);
  return true;
}

/// A nil channel with a context or deadline: only those end the wait.
chan_op wait_on_nil(wake_extras& extras, wait_reason reason, std::error_code& error) noexcept {
  if (!extras.needed()) park_for_ever(reason);
  waiter w;
  w.g = current_fiber();
  park_begin(w.g, reason, nullptr);
  return wait_with(extras, nullptr, nullptr, w, error);
}

/// Collects all waiters of a queue, claimed and marked unserved, behind *tail.
fiber_core** collect(wait_queue& queue, fiber_core** tail) noexcept {
  while (waiter* w = queue.pop_claimed()) {
    w->ok = false;
    w->g->wake_param = w;
    w->g->sched_next = nullptr;
    *tail = w->g;
    tail = &w->g->sched_next;
  }
  return tail;
}

}  // namespace

chan_step chan_send(chan_core* c, void* from, waiter* w) {
  if (c == nullptr) [[unlikely]]
    park_for_ever(wait_reason::chan_send_nil);
  if (never_waits(c)) [[unlikely]]
    return {send_without_wait(c, from)};
  outcome out;
  bias_slot* s = slot_for(c);
  const bool privileged = c->lock.lock_as(s);
  const chan_op r = send_step(c, from, out);
  if (r == chan_op::blocked) {
    publish(c, c->send_q, from, w, wait_reason::chan_send, false);
    c->lock.unlock_as(s, privileged);
    return {chan_op::parked, park_here(w->g)};
  }
  c->lock.unlock_as(s, privileged);
  if (out.wake != nullptr) ready_here(out.wake);
  return {r};
}

chan_step chan_recv(chan_core* c, void* to, waiter* w) noexcept {
  if (c == nullptr) [[unlikely]]
    park_for_ever(wait_reason::chan_receive_nil);
  outcome out;
  bias_slot* s = slot_for(c);
  const bool privileged = c->lock.lock_as(s);
  const chan_op r = recv_step(c, to, false, out);
  if (r == chan_op::blocked) {
    publish(c, c->recv_q, to, w, wait_reason::chan_receive, false);
    c->lock.unlock_as(s, privileged);
    return {chan_op::parked, park_here(w->g)};
  }
  c->lock.unlock_as(s, privileged);
  if (out.garbage != nullptr) [[unlikely]]
    drop_garbage(c, out.garbage);
  if (out.wake != nullptr) ready_here(out.wake);
  return {r};
}

chan_op send_now(chan_core* c, void* from) {
  if (!may_send(c)) return chan_op::blocked;
  if (never_waits(c)) return send_without_wait(c, from);
  outcome out;
  bias_slot* s = slot_for(c);
  const bool privileged = c->lock.lock_as(s);
  const chan_op r = send_step(c, from, out);
  c->lock.unlock_as(s, privileged);
  if (out.wake != nullptr) ready(out.wake);
  return r;
}

chan_op recv_now(chan_core* c, void* to, bool optional) noexcept {
  if (!may_recv(c)) return chan_op::blocked;
  outcome out;
  bias_slot* s = slot_for(c);
  const bool privileged = c->lock.lock_as(s);
  const chan_op r = recv_step(c, to, optional, out);
  c->lock.unlock_as(s, privileged);
  finish(c, out);
  return r;
}

chan_op chan_try_send(chan_core* c, void* from) {
  const chan_op r = c == nullptr ? chan_op::blocked : send_now(c, from);
  if (r == chan_op::blocked) checkpoint();
  return r;
}

chan_op chan_try_recv(chan_core* c, void* to) noexcept {
  const chan_op r = c == nullptr ? chan_op::blocked : recv_now(c, to, false);
  if (r == chan_op::blocked) checkpoint();
  return r;
}

chan_op chan_send_until(chan_core* c, void* from, cancel_node* node, std::int64_t deadline,
                        std::error_code& error) {
  wake_extras extras{node, deadline};
  if ((error = extras.check())) return chan_op::failed;
  if (c == nullptr) return wait_on_nil(extras, wait_reason::chan_send_nil, error);
  outcome out;
  c->lock.lock();
  const chan_op r = send_step(c, from, out);
  if (r == chan_op::blocked) {
    if (never_waits(c)) return send_never_waits(c, from);
    if (too_late(deadline, error)) {
      c->lock.unlock();
      return chan_op::failed;
    }
    waiter w;
    publish(c, c->send_q, from, &w, wait_reason::chan_send, extras.needed());
    c->lock.unlock();
    return wait_with(extras, c, &c->send_q, w, error);
  }
  c->lock.unlock();
  if (out.wake != nullptr) ready(out.wake);
  return r;
}

chan_op chan_recv_until(chan_core* c, void* to, cancel_node* node, std::int64_t deadline,
                        std::error_code& error) noexcept {
  wake_extras extras{node, deadline};
  if ((error = extras.check())) return chan_op::failed;
  if (c == nullptr) return wait_on_nil(extras, wait_reason::chan_receive_nil, error);
  outcome out;
  c->lock.lock();
  const chan_op r = recv_step(c, to, false, out);
  if (r == chan_op::blocked) {
    if (too_late(deadline, error)) {
      c->lock.unlock();
      return chan_op::failed;
    }
    waiter w;
    publish(c, c->recv_q, to, &w, wait_reason::chan_receive, extras.needed());
    c->lock.unlock();
    return wait_with(extras, c, &c->recv_q, w, error);
  }
  c->lock.unlock();
  finish(c, out);
  return r;
}

bool chan_close(chan_core* c) noexcept {
  fiber_core* woken = nullptr;
  c->lock.lock();
  if (c->closed) {
    c->lock.unlock();
    return false;
  }
  c->closed = true;
  collect(c->send_q, collect(c->recv_q, &woken));
  c->lock.unlock();
  if (woken != nullptr) ready_all(woken);
  return true;
}

std::size_t chan_len(chan_core* c) noexcept {
  if (c == nullptr) return 0;
  c->lock.lock();
  const std::size_t n = c->count;
  c->lock.unlock();
  return n;
}

void throw_send_on_closed() { throw closed_channel("send on closed channel"); }

void throw_close(bool nil) {
  throw closed_channel(nil ? "close of nil channel" : "close of closed channel");
}

void park_for_ever(wait_reason reason) noexcept {
  fiber_core* g = current_fiber();
  for (;;) {
    park_begin(g, reason, nullptr);
    park_wait(g);
  }
}

}  // namespace weft::inline v0::detail
