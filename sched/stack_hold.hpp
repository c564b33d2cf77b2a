// SPDX-License-Identifier: Apache-2.0
// Keeping parked fibers from being dispatched for a moment, to look at the stack below them, at no
// cost to whoever parks, wakes or dispatches.
//
// A dispatcher waits for g->m == nullptr anyway (the fiber may still be leaving its stack). A
// holder puts a mark of its own there, and so looks like an M that the fiber has not left yet:
//
//   holder:                              waker, dispatcher:
//     CAS m: null -> mark                  state = runnable
//     heavy barrier                        hand over through a queue
//     read state: waiting?, and rt         read m: null?   (else wait, and read again)
//     heavy barrier                        m = M, state = running
//     read m: mark?
//     ... the stack is the holder's ...
//     m = null
//
// Suppose both get by: the holder read `waiting` and `mark`, and a dispatcher read null before it
// stores M. Had its read come after the first barrier, it would have found the mark (or what came
// after it: the holder's null, when all is over; or an M, the same argument for an earlier
// dispatcher). So it came before, and with it `runnable`, which happens before it: the holder's
// read of state, after the barrier, saw that or something later. It saw `waiting`: that of a later
// park of the same fiber, which comes after m = M in the order of the thread that runs it. That
// thread has passed the second barrier before the holder reads m, so the holder reads M, or what
// came later, and not its mark: a contradiction. (On x86 the first barrier would do: stores of one
// thread are seen in their order there.)
// A mark that is not to stay is taken back by CAS: a dispatcher that read null before it was there
// has the right to overwrite it. Each holder has a mark of its own: two never take theirs for the
// other's. What is read and written under the mark is ordered by m (acquire, release); `state`
// needs no order but the barriers'.
// A G may become that of another fiber, of another runtime, at any time until it is held; one that
// starts for the first time is dispatched without a look at m. So whose it is, `belongs`, is asked
// between the barriers: whoever makes it anew writes m = null before rt, so a holder that reads the
// new rt, and then passes the second barrier, does not find an older mark. A mark that is younger
// than that null comes with a state that is as young (the first barrier), and if that is `waiting`,
// the first start is over, and the argument above holds.
//
// A holder that does not get on keeps a woken fiber, and the P that is to run it, waiting: it does
// what it does at once, and to few fibers at a time. It must be over before the fiber's runtime
// ends (sysmon is; others keep it by a runtime_hold). Without membarrier nothing may be held.
// tests/model/stack_hold_model_test.cpp tries every interleaving on this very code.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>

#include <weft/detail/fiber_core.hpp>

namespace weft::inline v0::detail {

/// Fiber: m and state, atomics of Sync. Mark: what m points to.
template <class Sync, class Fiber, class Mark, std::size_t Most>
class basic_stack_hold {
 public:
  explicit basic_stack_hold(Mark* mark) noexcept : mark_(mark) {}
  basic_stack_hold(const basic_stack_hold&) = delete;
  basic_stack_hold& operator=(const basic_stack_hold&) = delete;
  ~basic_stack_hold() = default;

  [[nodiscard]] bool full() const noexcept { return size_ == Most; }

  /// One to be held, perhaps.
  void add(Fiber* g) noexcept { fibers_[size_++] = g; }

  /// Tries to hold those that were added and of which belongs(g) is true, an atomic look at whose
  /// it is; calls visit(g) for each one that it got, and lets it go.
  template <class Belongs, class Visit>
  void visit_held(Belongs belongs, Visit visit) noexcept {
    keep_if([this](Fiber* g) { return mark(g); });
    if (size_ == 0) return;
    Sync::heavy_barrier();
    keep_if([&](Fiber* g) {
      const bool waits = g->state.load(std::memory_order_relaxed) == fiber_state::waiting;
      return (waits && belongs(g)) || unmark(g);
    });
    if (size_ == 0) return;
    Sync::heavy_barrier();
    for (std::size_t i = 0; i < size_; ++i) {
      Fiber* g = fibers_[i];
      if (g->m.load(std::memory_order_relaxed) != mark_) continue;  // a dispatcher was faster
      visit(g);
      g->m.store(nullptr, std::memory_order_release);  // pairs with the dispatcher's acquire
    }
    size_ = 0;
  }

 private:
  template <class Keep>
  void keep_if(Keep keep) noexcept {
    std::size_t n = 0;
    for (std::size_t i = 0; i < size_; ++i) {
      if (keep(fibers_[i])) fibers_[n++] = fibers_[i];
    }
    size_ = n;
  }

  // acquire: pairs with the release of whoever landed after the fiber had left.
  [[nodiscard]] bool mark(Fiber* g) noexcept {
    Mark* nobody = nullptr;
    return g->m.compare_exchange_strong(nobody, mark_, std::memory_order_acquire,
                                        std::memory_order_relaxed);
  }
  // relaxed: it goes on with the release sequence of whoever landed. Always false.
  [[nodiscard]] bool unmark(Fiber* g) noexcept {
    Mark* mine = mark_;
    static_cast<void>(g->m.compare_exchange_strong(mine, nullptr, std::memory_order_relaxed,
                                                   std::memory_order_relaxed));
    return false;
  }

  Mark* mark_;
  std::array<Fiber*, Most> fibers_{};
  std::size_t size_ = 0;
};

}  // namespace weft::inline v0::detail
