// SPDX-License-Identifier: Apache-2.0
// Taking turns on a descriptor's side and waiting for its readiness: Go's fdMutex and netpollblock
// in one, under the record's lock (one short critical section at either end of an operation, beside
// a system call of hundreds of nanoseconds).
#include "netpoll/poll_desc.hpp"

#include <cerrno>

namespace weft::inline v0::detail {
namespace {

// Why an operation on `s` must not begin or wait, if so. Lock held.
std::error_code refusal(const poll_desc* d, const fd_side& s) noexcept {
  if (d->closing) return make_error_code(errc::closed);
  if (s.deadline != never && s.deadline <= now_ns()) {
    return make_error_code(errc::deadline_exceeded);
  }
  return {};
}

std::error_code error_of(const waiter& w) noexcept {
  switch (static_cast<fd_wake>(w.index)) {
    case fd_wake::ready:
    case fd_wake::turn:
      return {};
    case fd_wake::deadline:
      return make_error_code(errc::deadline_exceeded);
    case fd_wake::closed:
      break;
  }
  return make_error_code(errc::closed);
}

// Links w into `queue` for g's park. Lock held.
void enqueue(poll_desc* d, wait_queue& queue, waiter& w, fiber_core* g, bool multi) noexcept {
  w.g = g;
  w.owner = d;
  w.multi = multi;
  queue.push_back(&w);
  g->waiters = &w;
}

// A deadline set while no runtime could run its timer, or whose runtime has ended.
void start_missing_timer(poll_desc* d, fd_side& s) noexcept {
  d->call_lock.lock();
  d->lock.lock();
  const std::int64_t when = s.deadline;
  const bool wanted = when != never && !d->closing;
  d->lock.unlock();
  if (wanted && s.timer.heap.load(std::memory_order_acquire) == nullptr) {
    static_cast<void>(timer_start(&s.timer, when));
  }
  d->call_lock.unlock();
}

// Arms a side that the caller has marked armed, and records where.
std::error_code arm_side(poll_desc* d, unsigned side) noexcept {
  fd_side& s = d->side[side];
  std::error_code error;
  const int p = io_arm(s.armed_rt, d->fd, direction_of(side), d->key(side), &s.arm_request, error);
  if (error) return error;
  d->lock.lock();
  s.armed_p = p;
  const bool closed_meanwhile = d->closing;
  d->lock.unlock();
  if (closed_meanwhile) {  // close() may have known no P to turn to
    d->call_lock.lock();
    desc_disarm_locked(d, side);
    d->call_lock.unlock();
  }
  return {};
}

// Takes w back after the arming failed. False: somebody else is waking it already.
bool withdraw(poll_desc* d, fd_side& s, waiter& w) noexcept {
  d->lock.lock();
  s.armed = false;
  const bool linked = w.queue != nullptr;
  if (linked) s.parked.remove(&w);
  const bool mine = linked && claim(&w);
  d->lock.unlock();
  return mine;
}

// A poller that could not be opened, or took no more, for want of descriptors or memory: the caller
// tries its system call again a little later instead of failing on a connection that works.
constexpr std::int64_t starved_pause_ns = 5'000'000;

bool is_starved(const std::error_code& error) noexcept {
  if (error.category() != std::system_category()) return false;
  switch (error.value()) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOSPC:
    case EAGAIN:
    case EBUSY:
      return true;
    default:
      return false;
  }
}

}  // namespace

fd_turn::fd_turn(poll_desc* d, unsigned side, cancel_node* ctx) noexcept
    : desc_(d), side_(side), ctx_(ctx) {
  error_ = d == nullptr ? make_error_code(errc::closed) : acquire();
}

std::error_code fd_turn::acquire() noexcept {
  checkpoint();
  if (ctx_ != nullptr && ctx_->done()) return ctx_->err;
  fiber_core* g = current_fiber();
  fd_side& s = side();
  desc_->lock.lock();
  if (auto error = refusal(desc_, s)) {
    desc_->lock.unlock();
    return error;
  }
  if (s.busy) {
    desc_->lock.unlock();
    return wait_turn(g);
  }
  s.busy = true;
  s.holder = g->is_thread() ? nullptr : g->rt;
  ++desc_->users;
  desc_->lock.unlock();
  return {};
}

std::error_code fd_turn::wait_turn(fiber_core* g) noexcept {
  fd_side& s = side();
  wake_extras extras(ctx_, never);
  if (auto error = extras.check()) return error;
  waiter w;
  park_begin(g, wait_reason::io_wait, desc_);
  desc_->lock.lock();
  std::error_code error = refusal(desc_, s);
  const bool at_once = !error && !s.busy;
  if (at_once) {
    s.busy = true;
    s.holder = g->is_thread() ? nullptr : g->rt;
    ++desc_->users;
  }
  if (error || at_once) {
    desc_->lock.unlock();
    park_abort(g);
    return error;
  }
  enqueue(desc_, s.turns, w, g, extras.needed());
  const bool timer_missing =
      s.deadline != never && s.timer.heap.load(std::memory_order_relaxed) == nullptr;
  desc_->lock.unlock();
  if (timer_missing) start_missing_timer(desc_, s);
  if (extras.needed()) extras.arm(g);
  park_wait(g);
  if (extras.needed()) {
    extras.disarm();
    if (g->wake_param == extras.token()) {
      desc_->lock.lock();
      s.turns.remove(&w);
      desc_->lock.unlock();
      return extras.error();
    }
  }
  return error_of(w);  // `turn`: the one before us left busy and its place among the users to us
}

fd_turn::~fd_turn() {
  if (error_) return;
  fd_side& s = side();
  desc_->lock.lock();
  waiter* next = s.turns.pop_claimed();
  fiber_core* g = nullptr;
  bool last = false;
  if (next != nullptr) {
    g = next->g;
    next->index = static_cast<std::uint32_t>(fd_wake::turn);
    g->wake_param = next;
    s.holder = g->is_thread() ? nullptr : g->rt;
  } else {
    s.busy = false;
    s.holder = nullptr;
    last = desc_->users == 1;
    if (!last) --desc_->users;
  }
  desc_->lock.unlock();
  if (g != nullptr) ready(g);
  if (last) desc_unuse(desc_);
}

std::error_code fd_turn::wait_ready() noexcept { return wait(never, true); }

std::error_code fd_turn::pause(std::int64_t ns) noexcept {
  const std::error_code error = wait(deadline_after(ns), false);
  // The pause's own end, unless the side's deadline or the context's came first.
  if (error == errc::deadline_exceeded) {
    if (ctx_ != nullptr && ctx_->done()) return ctx_->err;
    desc_->lock.lock();
    const std::error_code why = refusal(desc_, side());
    desc_->lock.unlock();
    return why;
  }
  return error;
}

std::error_code fd_turn::wait(std::int64_t until, bool for_readiness) noexcept {
  wake_extras extras(ctx_, until);
  if (auto error = extras.check()) return error;
  fiber_core* g = current_fiber();
  fd_side& s = side();
  waiter w;
  park_begin(g, wait_reason::io_wait, desc_);
  desc_->lock.lock();
  if (auto error = refusal(desc_, s)) {
    desc_->lock.unlock();
    park_abort(g);
    return error;
  }
  enqueue(desc_, s.parked, w, g, extras.needed());
  const bool must_arm = for_readiness && !s.armed;
  if (must_arm) {
    s.armed = true;
    s.armed_p = -1;
    s.armed_rt = current_runtime();
  }
  const bool timer_missing =
      s.deadline != never && s.timer.heap.load(std::memory_order_relaxed) == nullptr;
  desc_->lock.unlock();
  if (timer_missing) start_missing_timer(desc_, s);
  if (extras.needed()) extras.arm(g);
  if (must_arm) {
    const std::error_code error = arm_side(desc_, side_);
    if (error && withdraw(desc_, s, w)) {
      if (extras.needed()) extras.disarm();
      park_abort(g);
      return is_starved(error) ? pause(starved_pause_ns) : error;
    }
  }
  park_wait(g);
  if (extras.needed()) {
    extras.disarm();
    if (g->wake_param == extras.token()) {
      desc_->lock.lock();
      s.parked.remove(&w);
      desc_->lock.unlock();
      return extras.error();
    }
  }
  return error_of(w);
}

}  // namespace weft::inline v0::detail
