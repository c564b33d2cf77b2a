// SPDX-License-Identifier: Apache-2.0
// Park and ready: the one mechanism by which anything in weft waits.
//
//   fiber_core* g = current_fiber();
//   park_begin(g, wait_reason::chan_receive, this);   // 1. says that it is about to wait
//   lock(); if (nothing to wait for) { unlock(); park_abort(g); return; }
//   w.g = g; queue.push_back(&w); g->waiters = &w;     // 2. publishes waiter records
//   unlock();                                          //    last touch of the object
//   park_wait(g);                                      // 3. leaves; returns when somebody woke it
//
// A waker, under the object's lock, pops a record, wins `claim` where several may wake, fills in
// slot / ok, sets g->wake_param = w if the fiber wants to know which record it was, unlocks, and
// then calls ready(g) exactly once. Between its unlock and the end it touches the fiber only
// through ready(g).
// The wake-up may come before step 3 has left the stack: `m` (fiber_core.hpp) makes it wait.
//
// park_wait is always inlined: the slow path (park_commit) decides where to go, and the switch
// happens in the caller's own frame, so no frame is returned through after it. After park_wait the
// fiber may be on another thread.
#pragma once

#include <cstdint>

#include <weft/detail/config.hpp>
#include <weft/detail/fiber_core.hpp>
#include <weft/detail/waiter.hpp>

#if WEFT_ASAN
extern "C" {
void __sanitizer_start_switch_fiber(void** fake_stack_save, const void* bottom, std::size_t size);
void __sanitizer_finish_switch_fiber(void* fake_stack_save, const void** bottom_old,
                                     std::size_t* size_old);
}
#endif
#if WEFT_TSAN
extern "C" {
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_acquire(void* addr);
void __tsan_release(void* addr);
}
#endif

namespace weft::inline v0::detail {

/// The calling fiber, or the calling plain thread's stand-in for one. Never null.
/// Not inlined, so that no compiler keeps a thread_local address over a switch.
[[nodiscard]] WEFT_EXPORT fiber_core* current_fiber() noexcept;

/// Announces that `g` (the caller) is about to publish waiter records. Never returns if the
/// fiber's runtime has stopped.
WEFT_INLINE void park_begin(fiber_core* g, wait_reason reason, const void* object) noexcept {
  g->reason = reason;
  g->wait_obj = object;
  g->wake_param = nullptr;
  g->waiters = nullptr;
  g->claim.store(0, std::memory_order_relaxed);  // published by the owner's lock
  g->futex_word.store(0, std::memory_order_relaxed);
  g->state.store(fiber_state::waiting, std::memory_order_relaxed);
}

/// Takes park_begin back; nothing may have been published.
WEFT_INLINE void park_abort(fiber_core* g) noexcept {
  g->state.store(fiber_state::running, std::memory_order_relaxed);
}

/// Second half of a park: where to go. Null: the fiber was woken already (or is a plain thread,
/// which has slept and was woken); otherwise switch_to() it at once.
[[nodiscard]] WEFT_EXPORT fiber_core* park_commit(fiber_core* g) noexcept;

/// Makes a parked fiber (or thread) runnable. Exactly one call a park, by the waker that owns it.
/// From any thread; allocates nothing; never blocks.
WEFT_EXPORT void ready(fiber_core* g) noexcept;

/// Who leaves for whom; `to` null: nobody, stay.
struct switch_pair {
  fiber_core* from;
  fiber_core* to;
};

/// Lets other runnable fibers run before the caller, which is queued.
[[nodiscard]] WEFT_EXPORT switch_pair yield_commit() noexcept;

/// For operations that may be called in a loop without ever parking (select with otherwise,
/// try_recv on empty): gives a stopped runtime, or one that asked for the P, its chance.
WEFT_EXPORT void checkpoint() noexcept;

#if WEFT_TSAN
/// Frees the TSan context of a fiber that ended by switching to us (it cannot free its own).
WEFT_INLINE void destroy_left_behind(fiber_core* left) noexcept {
  if (left->tsan_dead == nullptr) return;
  void* dead = left->tsan_dead;
  left->tsan_dead = nullptr;
  __tsan_destroy_fiber(dead);
}
#endif

/// Leaves `from` for `to`. Only with a target that park_commit, yield_commit or the scheduler gave.
WEFT_INLINE void switch_to(fiber_core* from, fiber_core* to) noexcept {
#if WEFT_ASAN
  __sanitizer_start_switch_fiber(&from->asan_fake_stack, to->stack_lo, to->stack_size());
#endif
#if WEFT_TSAN
  // The switch itself makes no happens-before (flag 1). What M and P own passes from fiber to fiber
  // on one thread: that order is told through the M, so fibers on different Ms stay unordered.
  void* to_context = to->tsan_fiber;  // read before the release: `to` may be reused right after
  __tsan_release(from->m.load(std::memory_order_relaxed));
  __tsan_switch_to_fiber(to_context, 1);
#endif
  switch_frame* left = switch_stack(&from->frame, &to->frame);
  // We are `from` again, resumed by whoever was left.
#if WEFT_ASAN
  __sanitizer_finish_switch_fiber(from->asan_fake_stack, nullptr, nullptr);
#endif
#if WEFT_TSAN
  __tsan_acquire(from->m.load(std::memory_order_relaxed));
  destroy_left_behind(reinterpret_cast<fiber_core*>(left));
#endif
  // Its registers are saved: it may be dispatched from now on (pairs with the dispatcher's
  // acquire load of m).
  reinterpret_cast<fiber_core*>(left)->m.store(nullptr, std::memory_order_release);
  // End of the runtime section that the leaving side opened on this M (pairs with sysmon's
  // acquire load of in_rt).
  from->m.load(std::memory_order_relaxed)->in_rt.store(0, std::memory_order_release);
}

/// Waits until ready(g). See the file's top.
WEFT_INLINE void park_wait(fiber_core* g) noexcept {
  if (fiber_core* to = park_commit(g)) switch_to(g, to);
}

/// The same out of line, for callers that are not on a hot path.
WEFT_EXPORT void park_wait_slow(fiber_core* g) noexcept;

/// Go's words for the reason.
[[nodiscard]] WEFT_EXPORT const char* to_string(wait_reason r) noexcept;

}  // namespace weft::inline v0::detail
