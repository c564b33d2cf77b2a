// SPDX-License-Identifier: Apache-2.0
// What timer, ticker and after() share: a channel of one time, with the timer that fills it in the
// same block. The block lives while the channel has ends; the last one stops the timer.
//
// `armed` and `due` say whether a firing counts; they are guarded by `guard`, which the firing
// takes inside the heap's lock and before the channel's. So a stop that has cleared `armed` and
// then emptied the channel knows that nothing stale is left or coming, and a firing of before a
// reset is recognised by its time. `user` makes stop and reset one after the other; it is taken
// outside all.
#include <new>

#include <weft/detail/ledger.hpp>
#include <weft/time.hpp>
#include "chan/block_pool.hpp"
#include "chan/chan_steps.hpp"

namespace weft::inline v0::detail {

struct timed_channel : chan_core {
  struct node : timer_node {
    timed_channel* owner = nullptr;
  };

  node timer;
  spin_lock user;
  spin_lock guard;
  bool armed = false;
  bool ticks = false;
  std::int64_t due = never;
  alignas(time_point) std::byte slot[sizeof(time_point)];
};

namespace {

account_kind account_of(const timed_channel* t) noexcept {
  return t->ticks ? account_kind::ticker : account_kind::timer;
}

/// Under the heap's lock.
void fire(timer_node* n, std::int64_t now) noexcept {
  timed_channel* t = static_cast<timed_channel::node*>(n)->owner;
  outcome out;
  t->guard.lock();
  if (t->armed && now >= t->due) {
    if (t->ticks) {
      t->due = n->when;  // the heap has put it there
    } else {
      t->armed = false;
    }
    time_point value{clock::duration(now)};
    t->lock.lock();
    static_cast<void>(
        send_step(t, launder_ptr(&value), out));  // full: the receiver is slow, it is lost
    t->lock.unlock();
  }
  t->guard.unlock();
  if (out.wake != nullptr) ready(out.wake);
}

void dispose(chan_core* c) noexcept {
  auto* t = static_cast<timed_channel*>(c);
  static_cast<void>(timer_stop(&t->timer));
  ledger_remove(account_of(t), c->site);
  std::destroy_at(t);
  block_free(t, sizeof(timed_channel));
}

/// Was it armed? `user` held.
bool disarm(timed_channel* t) noexcept {
  t->guard.lock();
  bool was_armed = std::exchange(t->armed, false);
  t->guard.unlock();
  static_cast<void>(timer_stop(&t->timer));
  time_point stale;
  if (recv_now(t, &stale, false) == chan_op::done) was_armed = true;
  return was_armed;
}

bool arm(timed_channel* t, std::int64_t when, std::int64_t period) noexcept {
  t->guard.lock();
  t->armed = true;
  t->due = when;
  t->guard.unlock();
  t->timer.period = period;
  return timer_start(&t->timer, when);
}

}  // namespace

timed_channel* timed_make(std::int64_t when, std::int64_t period, const void* site) {
  auto* t = ::new (block_alloc(sizeof(timed_channel))) timed_channel;
  t->ticks = period > 0;
  t->timer.owner = t;
  t->timer.fire = &fire;
  chan_core& c = *t;
  c.kind = chan_kind::buffered;
  c.width = width_of<time_point>;
  c.cap = 1;
  c.ring = t->slot;
  c.ops = &ops_of<time_point>;
  c.site = site;
  c.timed = true;
  c.dispose = &dispose;
  c.ends.store(one_send_end, std::memory_order_relaxed);  // the timer object's
  ledger_add(account_of(t), site);
  if (!arm(t, when, period)) {
    dispose(&c);
    throw no_runtime_error();
  }
  return t;
}

void timed_release(timed_channel* t) noexcept {
  static_cast<void>(timed_stop(t));
  chan_drop_ends(t, one_send_end);
}

bool timed_stop(timed_channel* t) noexcept {
  t->user.lock();
  const bool was_armed = disarm(t);
  t->user.unlock();
  return was_armed;
}

bool timed_reset(timed_channel* t, std::int64_t when, std::int64_t period) {
  t->user.lock();
  const bool was_armed = disarm(t);
  const bool started = arm(t, when, period);
  t->user.unlock();
  if (!started) throw no_runtime_error();
  return was_armed;
}

chan_core* timed_core(timed_channel* t) noexcept { return t; }

recv_chan<time_point> after_ns(std::int64_t d, const void* site) {
  timed_channel* t = timed_make(deadline_after(d), 0, site);
  auto out = channel_access::share<recv_chan<time_point>>(t, one_recv_end);
  chan_drop_ends(t, one_send_end);  // from here on it lives by its receiver
  return out;
}

void throw_bad_period() { throw logic_error("weft::ticker: the period must be positive"); }

}  // namespace weft::inline v0::detail
