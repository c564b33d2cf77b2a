// SPDX-License-Identifier: Apache-2.0
// select, in steps: look for a ready case in random order taking one lock at a time; failing that,
// lock everything in address order, look again (so that "nothing was ready" is true of one
// instant), publish a waiter for each case in random order, unlock, park; afterwards take the
// losers back.
//
// A case is chosen by the first pass only if it is ready at that moment, which needs no agreement
// with the others; only `otherwise` and the decision to park need the second pass.
// A waker chooses by the CAS on the fiber's claim word: exactly one case wins. Our own records are
// not linked while we look, so a select never meets itself.
// The channel of the winning case is not touched again after the wake-up (its owner may have ended
// it), unless another case of the same select names it.
#include <weft/detail/select_core.hpp>

#include <new>
#include <utility>

#include <weft/detail/random.hpp>
#include "chan/chan_steps.hpp"

namespace weft::inline v0::detail {
namespace {

constexpr std::uint32_t index_mask = ~slot_is_optional;

bool on_channel(const select_record& r) noexcept {
  return r.kind == case_kind::recv || r.kind == case_kind::recv_optional ||
         r.kind == case_kind::send;
}
bool is_active(const select_record& r) noexcept {
  return on_channel(r) || r.kind == case_kind::done;
}
bool is_optional(const select_record& r) noexcept { return r.kind == case_kind::recv_optional; }

chan_core* channel_of(const select_record& r) noexcept {
  return static_cast<chan_core*>(r.w.owner);
}
cancel_node* node_of(const select_record& r) noexcept {
  return static_cast<cancel_node*>(r.w.owner);
}

/// Draws the random order over the active cases and finds the nearest timeout. The order is laid
/// out in the records themselves: cases[k].poll_at is the k-th case to look at.
void prepare(select_frame* f) noexcept {
  select_record* cases = f->cases;
  std::int64_t nearest = never;
  for (std::uint32_t i = 0; i < f->count; ++i) {
    select_record& r = cases[i];
    if (is_active(r)) {
      const std::uint32_t k = f->active++;
      const std::uint32_t j = k == 0 ? 0 : fast_rand(k + 1);
      cases[k].poll_at = cases[j].poll_at;
      cases[j].poll_at = i;
      if (is_optional(r)) channel_of(r)->ops->clear(r.w.slot);
    } else if (r.kind == case_kind::timeout) {
      if (f->timeout_case == select_frame::none || r.timeout_ns < nearest) {
        f->timeout_case = i;
        nearest = r.timeout_ns;
      }
    } else if (r.kind == case_kind::otherwise) {
      f->otherwise_case = i;
    }
  }
}

bool choose(select_frame* f, std::uint32_t i, bool ok) noexcept {
  f->chosen = i;
  f->ok = ok;
  return true;
}

/// First pass: one lock at a time, most cases dismissed by the channel's hint alone.
bool take_ready_case(select_frame* f) {
  for (std::uint32_t k = 0; k < f->active; ++k) {
    const std::uint32_t i = f->cases[k].poll_at;
    select_record& r = f->cases[i];
    if (r.kind == case_kind::done) {
      if (node_of(r)->done()) return choose(f, i, true);
      continue;
    }
    chan_core* c = channel_of(r);
    const chan_op op =
        r.kind == case_kind::send ? send_now(c, r.w.slot) : recv_now(c, r.w.slot, is_optional(r));
    if (op != chan_op::blocked) return choose(f, i, op == chan_op::done);
  }
  return false;
}

waitable* lock_key(const select_frame* f, std::uint32_t k) noexcept {
  return f->cases[f->cases[k].lock_at].w.owner;
}

void sift_down(select_frame* f, std::uint32_t root, std::uint32_t n) noexcept {
  for (;;) {
    std::uint32_t child = 2 * root + 1;
    if (child >= n) return;
    if (child + 1 < n && lock_key(f, child) < lock_key(f, child + 1)) ++child;
    if (lock_key(f, child) <= lock_key(f, root)) return;
    std::swap(f->cases[root].lock_at, f->cases[child].lock_at);
    root = child;
  }
}

/// Sorts the active cases by address. Heap sort: in place, no recursion, n log n for thousands of
/// cases; insertion sort below 8, where it needs fewer steps.
void sort_locks(select_frame* f) noexcept {
  const std::uint32_t n = f->active;
  for (std::uint32_t k = 0; k < n; ++k) f->cases[k].lock_at = f->cases[k].poll_at;
  if (n < 8) {
    for (std::uint32_t k = 1; k < n; ++k) {
      for (std::uint32_t j = k; j > 0 && lock_key(f, j) < lock_key(f, j - 1); --j) {
        std::swap(f->cases[j].lock_at, f->cases[j - 1].lock_at);
      }
    }
    return;
  }
  for (std::uint32_t k = n / 2; k-- > 0;) sift_down(f, k, n);
  for (std::uint32_t end = n - 1; end > 0; --end) {
    std::swap(f->cases[0].lock_at, f->cases[end].lock_at);
    sift_down(f, 0, end);
  }
}

void lock_all(select_frame* f) noexcept {
  waitable* last = nullptr;
  for (std::uint32_t k = 0; k < f->active; ++k) {
    waitable* o = lock_key(f, k);
    if (o != last) o->lock.lock();
    last = o;
  }
}

/// Gives the lock of the case's object back.
void release(select_record& r) noexcept {
  if (r.kind == case_kind::done) {
    r.w.owner->lock.unlock();
  } else {
    channel_of(r)->lock.unlock();
  }
}

void unlock_all(select_frame* f) noexcept {
  for (std::uint32_t k = 0; k < f->active; ++k) {
    // A duplicate comes right behind its like, so the last of a run gives the lock back.
    if (k + 1 < f->active && lock_key(f, k + 1) == lock_key(f, k)) continue;
    release(f->cases[f->cases[k].lock_at]);
  }
}

/// Second pass, everything locked. Sends that never wait were taken by the first one.
bool take_ready_case_locked(select_frame* f, outcome& out) noexcept {
  for (std::uint32_t k = 0; k < f->active; ++k) {
    const std::uint32_t i = f->cases[k].poll_at;
    select_record& r = f->cases[i];
    if (r.kind == case_kind::done) {
      if (node_of(r)->done()) return choose(f, i, true);
      continue;
    }
    chan_core* c = channel_of(r);
    const chan_op op = r.kind == case_kind::send ? send_step(c, r.w.slot, out)
                                                 : recv_step(c, r.w.slot, is_optional(r), out);
    if (op != chan_op::blocked) return choose(f, i, op == chan_op::done);
  }
  return false;
}

wait_queue& queue_of(select_record& r) noexcept {
  switch (r.kind) {
    case case_kind::send:
      return channel_of(r)->send_q;
    case case_kind::done:
      return node_of(r)->waiters;
    default:
      return channel_of(r)->recv_q;
  }
}

/// Everything locked: one waiter a case, in random order, so that a channel named twice favours
/// neither case.
void publish_all(select_frame* f) noexcept {
  fiber_core* g = current_fiber();
  f->g = g;
  park_begin(g,
             f->active + (f->timeout_case != select_frame::none) == 0 ? wait_reason::select_no_cases
                                                                      : wait_reason::select,
             nullptr);
  for (std::uint32_t k = 0; k < f->active; ++k) {
    const std::uint32_t i = f->cases[k].poll_at;
    select_record& r = f->cases[i];
    r.w.g = g;
    r.w.index = is_optional(r) ? i | slot_is_optional : i;
    r.w.multi = true;
    r.w.ok = false;
    if (r.kind == case_kind::done) r.w.slot = &r.w;  // what a cancellation leaves in wake_param
    r.w.sibling = g->waiters;
    g->waiters = &r.w;
    queue_of(r).push_back(&r.w);
  }
}

/// Takes the losers' records back, each object under its lock, which is taken once however many
/// cases name it.
void withdraw(select_frame* f, const waiter* winner) noexcept {
  waitable* locked = nullptr;
  select_record* last = nullptr;
  for (std::uint32_t k = 0; k < f->active; ++k) {
    select_record& r = f->cases[f->cases[k].lock_at];
    if (&r.w == winner) continue;  // its waker has unlinked it; the object may be gone
    if (r.w.owner != locked) {
      if (last != nullptr) release(*last);
      locked = r.w.owner;
      locked->lock.lock();
    }
    queue_of(r).remove(&r.w);
    last = &r;
  }
  if (last != nullptr) release(*last);
}

}  // namespace

bool select_start(select_frame* f) {
  prepare(f);
  if (take_ready_case(f)) return true;

  sort_locks(f);
  outcome out;
  lock_all(f);
  if (take_ready_case_locked(f, out)) {
    unlock_all(f);
    finish(f->cases[f->chosen].kind == case_kind::done ? nullptr : channel_of(f->cases[f->chosen]),
           out);
    return true;
  }
  if (f->otherwise_case != select_frame::none) {
    unlock_all(f);
    checkpoint();
    return choose(f, f->otherwise_case, true);
  }
  const bool timed = f->timeout_case != select_frame::none;
  if (timed && f->cases[f->timeout_case].timeout_ns <= 0) {
    unlock_all(f);
    checkpoint();
    return choose(f, f->timeout_case, true);
  }
  publish_all(f);
  unlock_all(f);
  if (timed) {
    ::new (&f->extras) wake_extras{nullptr, deadline_after(f->cases[f->timeout_case].timeout_ns)};
    f->extras.arm(f->g);
  }
  return false;
}

void select_finish(select_frame* f) noexcept {
  const waiter* winner = nullptr;
  bool timed_out = false;
  if (f->timeout_case != select_frame::none) {
    f->extras.disarm();
    timed_out = f->g->wake_param == f->extras.token();
    std::destroy_at(&f->extras);
  }
  if (timed_out) {
    choose(f, f->timeout_case, true);
  } else {
    winner = static_cast<const waiter*>(f->g->wake_param);
    choose(f, winner->index & index_mask, winner->ok);
  }
  withdraw(f, winner);
}

}  // namespace weft::inline v0::detail
