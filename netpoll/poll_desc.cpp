// SPDX-License-Identifier: Apache-2.0
// Life of a record: open, fire, deadlines, close, reuse. Turns and waits are in fd_turn.cpp.
#include "netpoll/poll_desc.hpp"

#include <unistd.h>

#include <cerrno>

#include <weft/detail/ledger.hpp>

#include "netpoll/desc_table.hpp"

namespace weft::inline v0::detail {
namespace {

constexpr std::uint32_t generation_mask = 0x7fffffff;
constexpr std::int64_t settle_limit_ns = 100'000'000;

// The record that `key` names, locked; null if the key is stale.
poll_desc* lock_key(std::uint64_t key) noexcept {
  poll_desc* d = descriptors.at(static_cast<std::uint32_t>(key >> 32));
  if (d == nullptr) return nullptr;
  d->lock.lock();
  if (d->generation == (static_cast<std::uint32_t>(key) >> 1)) return d;
  d->lock.unlock();
  return nullptr;
}

// Pops everybody in `queue` that may still be woken, with `why`, into `woken`. Lock held.
void wake_all(wait_queue& queue, fd_wake why, fiber_list& woken) noexcept {
  while (waiter* w = queue.pop_claimed()) {
    w->index = static_cast<std::uint32_t>(why);
    w->g->wake_param = w;
    woken.push_back(w->g);
  }
}

void ready_list(fiber_list& woken) noexcept {
  while (fiber_core* g = woken.pop_front()) ready(g);
}

void deadline_fired(timer_node* t, std::int64_t now) noexcept {
  const auto* timer = static_cast<fd_timer*>(t);
  poll_desc* d = timer->desc;
  fd_side& s = d->side[timer->side];
  fiber_list woken;
  d->lock.lock();
  if (s.deadline <= now) {  // else it was moved while we fired; the mover arms us again
    wake_all(s.parked, fd_wake::deadline, woken);
    wake_all(s.turns, fd_wake::deadline, woken);
  }
  d->lock.unlock();
  ready_list(woken);
}

// The last user has left: nobody can mean the number any more.
void finish(poll_desc* d) noexcept {
  if (d->owns_fd) ::close(d->fd);
  if (d->site != nullptr) ledger_remove(account_kind::connection, d->site);
  d->lock.lock();
  d->finished = true;
  const bool unused = d->handles == 0;
  if (unused) d->generation = (d->generation + 1) & generation_mask;
  d->lock.unlock();
  if (unused) descriptors.give(d);
}

// Parks until the armed notification of `s` is gone. Only after `closing` was set.
void settle(poll_desc* d, fd_side& s) noexcept {
  fiber_core* g = current_fiber();
  wake_extras limit(nullptr, deadline_after(settle_limit_ns));
  waiter w;
  park_begin(g, wait_reason::io_wait, d);
  d->lock.lock();
  if (!s.armed) {
    d->lock.unlock();
    park_abort(g);
    return;
  }
  w.g = g;
  w.owner = d;
  w.multi = true;
  s.parked.push_back(&w);
  g->waiters = &w;
  d->lock.unlock();
  limit.arm(g);
  park_wait_slow(g);
  limit.disarm();
  if (g->wake_param == limit.token()) {
    d->lock.lock();
    s.parked.remove(&w);
    d->lock.unlock();
  }
}

}  // namespace

poll_desc* desc_open(int fd, bool owns_fd, bool is_socket, const void* site) noexcept {
  poll_desc* d = descriptors.take();
  if (d == nullptr) return nullptr;
  if (site != nullptr) ledger_add(account_kind::connection, site);
  d->lock.lock();  // stale notifications may look at the record at any time
  d->fd = fd;
  d->owns_fd = owns_fd;
  d->is_socket = is_socket;
  d->no_delay = false;
  d->site = site;
  d->users = 1;
  d->handles = 1;
  d->closing = false;
  d->finished = false;
  for (unsigned i : {read_side, write_side}) {
    fd_side& s = d->side[i];
    s.deadline = never;
    s.timer.fire = &deadline_fired;
    s.timer.desc = d;
    s.timer.side = i;
    s.holder = nullptr;
    s.busy = s.armed = s.arm_first = false;
    s.armed_p = -1;
  }
  d->lock.unlock();
  return d;
}

void desc_disarm_locked(poll_desc* d, unsigned side) noexcept {
  fd_side& s = d->side[side];
  d->lock.lock();
  runtime_state* rt = s.armed_rt;
  const int p = s.armed ? s.armed_p : -1;
  d->lock.unlock();
  if (p < 0 || s.disarm_request.queued.load(std::memory_order_acquire)) return;
  io_disarm(rt, p, d->fd, direction_of(side), d->key(side), &s.disarm_request);
}

void desc_close(poll_desc* d, bool settle_reads) noexcept {
  fiber_list woken;
  d->lock.lock();
  if (d->closing) {
    d->lock.unlock();
    return;
  }
  d->closing = true;
  for (unsigned i : {read_side, write_side}) {
    fd_side& s = d->side[i];
    wake_all(s.parked, fd_wake::closed, woken);
    wake_all(s.turns, fd_wake::closed, woken);
  }
  d->lock.unlock();
  ready_list(woken);
  d->call_lock.lock();
  for (unsigned i : {read_side, write_side}) {
    // Before the number is closed: an io_uring poll holds the file, and one that is not submitted
    // yet must be followed by its removal in the same queue.
    desc_disarm_locked(d, i);
    fd_side& s = d->side[i];
    if (s.timer.heap.load(std::memory_order_acquire) != nullptr) {
      static_cast<void>(timer_stop(&s.timer));
    }
  }
  d->call_lock.unlock();
  if (settle_reads) settle(d, d->side[read_side]);
  desc_unuse(d);
}

void desc_add_handle(poll_desc* d) noexcept {
  d->lock.lock();
  ++d->handles;
  d->lock.unlock();
}

void desc_drop_handle(poll_desc* d) noexcept {
  d->lock.lock();
  const bool unused = --d->handles == 0 && d->finished;
  if (unused) d->generation = (d->generation + 1) & generation_mask;
  d->lock.unlock();
  if (unused) descriptors.give(d);
}

bool desc_use(poll_desc* d) noexcept {
  d->lock.lock();
  const bool open = !d->closing;
  if (open) ++d->users;
  d->lock.unlock();
  return open;
}

void desc_unuse(poll_desc* d) noexcept {
  d->lock.lock();
  const bool last = --d->users == 0;
  d->lock.unlock();
  if (last) finish(d);
}

void desc_set_deadline(poll_desc* d, unsigned directions, std::int64_t when) noexcept {
  fiber_list woken;
  d->call_lock.lock();
  for (unsigned i : {read_side, write_side}) {
    if ((directions & direction_of(i)) == 0) continue;
    fd_side& s = d->side[i];
    d->lock.lock();
    const bool open = !d->closing;
    const bool past = when != never && when <= now_ns();
    if (open) s.deadline = when;
    if (open && past) {
      wake_all(s.parked, fd_wake::deadline, woken);
      wake_all(s.turns, fd_wake::deadline, woken);
    }
    d->lock.unlock();
    if (!open) continue;  // desc_close stops the timer after us, under call_lock
    if (past || when == never) {
      if (s.timer.heap.load(std::memory_order_acquire) != nullptr) {
        static_cast<void>(timer_stop(&s.timer));
      }
    } else {
      static_cast<void>(timer_reset(&s.timer, when));  // without a runtime: the next wait starts it
    }
  }
  d->call_lock.unlock();
  ready_list(woken);
}

bool desc_may_arm(std::uint64_t key) noexcept {
  poll_desc* d = lock_key(key);
  if (d == nullptr) return false;
  const bool open = !d->closing;
  d->lock.unlock();
  return open;
}

key_use::key_use(std::uint64_t key, while_closing allowed) noexcept {
  poll_desc* d = lock_key(key);
  if (d == nullptr) return;
  // users is zero when the number went back already.
  const bool usable = d->users > 0 && (!d->closing || allowed == while_closing::yes);
  if (usable) ++d->users;
  d->lock.unlock();
  if (usable) desc_ = d;
}

std::uint32_t desc_live() noexcept { return descriptors.live(); }

void poll_fire(std::uint64_t key, fiber_list& ready_fibers) noexcept {
  poll_desc* d = lock_key(key);
  if (d == nullptr) return;
  fd_side& s = d->side[key & 1];
  fiber_list woken;
  s.armed = false;
  s.armed_p = -1;
  wake_all(s.parked, fd_wake::ready, woken);
  d->lock.unlock();
  while (fiber_core* g = woken.pop_front()) {
    if (g->is_thread()) {
      ready(g);  // a futex; it is in nobody's run queue
    } else {
      ready_fibers.push_back(g);
    }
  }
}

void poll_forget_runtime(const runtime_state* rt) noexcept {
  if (descriptors.live() == 0) return;
  const std::uint32_t size = descriptors.size();
  for (std::uint32_t slot = 0; slot < size; ++slot) {
    poll_desc* d = descriptors.at(slot);
    fiber_list woken;
    bool last = false;
    d->call_lock.lock();  // nobody is calling into that runtime from here on
    d->lock.lock();
    for (fd_side& s : d->side) {
      if (s.armed && s.armed_rt == rt) {
        s.armed = false;
        s.armed_p = -1;
        wake_all(s.parked, fd_wake::ready, woken);
      }
      // A fiber of that runtime never runs again: its operation is over.
      if (s.busy && s.holder == rt) {
        s.holder = nullptr;
        if (waiter* w = s.turns.pop_claimed()) {
          w->index = static_cast<std::uint32_t>(fd_wake::turn);
          w->g->wake_param = w;
          woken.push_back(w->g);
        } else {
          s.busy = false;
          last = --d->users == 0 || last;
        }
      }
    }
    d->lock.unlock();
    d->call_lock.unlock();
    ready_list(woken);
    if (last) finish(d);
  }
}

}  // namespace weft::inline v0::detail
