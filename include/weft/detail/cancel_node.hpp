// SPDX-License-Identifier: Apache-2.0
// The untyped core of a context, low enough in the house that every parking call can take one:
// a state, the waiters that a cancellation wakes, and the hooks it runs. ctx/ derives its tree,
// deadlines, values and done channel from it.
//
// Invariants: `state` moves once, active -> done, under `lock`; `err`/`cause` are written before it
// (release) and read after it (acquire). After the move the waiter queue is empty for ever.
#pragma once

#include <atomic>
#include <system_error>

#include <weft/detail/config.hpp>
#include <weft/detail/park.hpp>
#include <weft/detail/timer_node.hpp>
#include <weft/detail/waiter.hpp>
#include <weft/error.hpp>

namespace weft::inline v0::detail {

struct cancel_node : waitable {
  std::atomic<bool> is_done{false};
  std::error_code err;    // canceled or deadline_exceeded, valid once is_done
  std::error_code cause;  // valid once is_done
  wait_queue waiters;

  [[nodiscard]] bool done() const noexcept { return is_done.load(std::memory_order_acquire); }
};

/// Why `n` is done; empty while it is not, and for null (a context that never ends).
[[nodiscard]] inline std::error_code end_of(const cancel_node* n) noexcept {
  return n != nullptr && n->done() ? n->err : std::error_code{};
}

/// First half of a cancellation: marks `n` done unless it was, and collects its waiters, claimed,
/// in a list linked by fiber_core::sched_next. Call with n->lock held. ctx/ uses it for each node
/// of a subtree and readies the fibers after the unlock.
/// Returns false if `n` was done already.
WEFT_EXPORT bool cancel_locked(cancel_node* n, std::error_code err, std::error_code cause,
                               fiber_core** woken) noexcept;

/// Readies every fiber of a list that cancel_locked collected.
WEFT_EXPORT void ready_all(fiber_core* list) noexcept;

/// What else may wake a park besides its object: a context and a deadline. Lives in the waiting
/// frame. Use:
///   wake_extras x{node, deadline};                 // node may be null, deadline may be `never`
///   if (auto e = x.check()) return failure(e);     // already done / too late: consume nothing
///   park_begin(g, ...); lock object; ... w.multi = x.needed(); publish; unlock;
///   x.arm(g);  park_wait(g);  x.disarm();
///   if (g->wake_param == x.token()) { lock object; queue.remove(&w); unlock; return x.error(); }
/// The object's own waker must set g->wake_param to something else (its waiter record).
class wake_extras {
 public:
  wake_extras(cancel_node* node, std::int64_t deadline_ns) noexcept
      : node_(node), deadline_(deadline_ns) {
    timer_.fire = &fire_thunk;
  }
  wake_extras(const wake_extras&) = delete;
  wake_extras& operator=(const wake_extras&) = delete;

  /// True if there is anything beside the object.
  [[nodiscard]] bool needed() const noexcept { return node_ != nullptr || deadline_ != never; }

  /// The context's error, if it is done already. (A deadline in the past is left to arm().)
  [[nodiscard]] std::error_code check() const noexcept { return end_of(node_); }

  /// Publishes the context waiter and the timer of g's park. After the object's records, before
  /// park_wait. May wake g at once.
  WEFT_EXPORT void arm(fiber_core* g) noexcept;

  /// Takes them back; call after park_wait, with no lock held.
  WEFT_EXPORT void disarm() noexcept;

  /// What g->wake_param holds if one of the extras woke it.
  [[nodiscard]] const void* token() const noexcept { return this; }

  /// Why, if one of the extras woke it.
  [[nodiscard]] std::error_code error() const noexcept {
    return timed_out_ ? make_error_code(errc::deadline_exceeded) : node_->err;
  }

 private:
  static void fire_thunk(timer_node* t, std::int64_t now) noexcept;
  friend bool cancel_locked(cancel_node*, std::error_code, std::error_code, fiber_core**) noexcept;
  friend struct thread_park_access;

  cancel_node* node_;
  std::int64_t deadline_;
  bool timed_out_ = false;
  waiter ctx_waiter_;  // slot points to this wake_extras
  timer_node timer_;
  fiber_core* g_ = nullptr;
};

}  // namespace weft::inline v0::detail
