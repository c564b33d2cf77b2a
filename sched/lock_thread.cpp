// SPDX-License-Identifier: Apache-2.0
// A fiber pinned to its M, and the M that waits for it.
//
// A pinned fiber that parks leaves for the scheduler loop only. There its M gives the P away and
// sleeps on `pin_word` (wait_for_pinned). Whoever comes to dispatch the fiber, on another M, hands
// the P and the fiber over (hand_to_home) and looks for another P itself. So a pinned fiber is in
// the same queues as all others, and the hot paths know it by one bit that they look at anyway.
#include <weft/lock_thread.hpp>

#include <utility>

#include <weft/detail/fatal.hpp>
#include "runtime/os.hpp"
#include "sched/fiber_extension.hpp"
#include "sched/runtime_state.hpp"

namespace weft::inline v0 {

using detail::fiber_core;
using detail::machine;

lock_thread::lock_thread() {
  machine* m = detail::this_machine();
  if (m == nullptr || m->current == &m->g0) return;
  fiber_core* g = m->current;
  detail::extension_of(g).home = m;
  if (m->lock_depth++ == 0) g->flags |= detail::fiber_is_pinned;
}

lock_thread::~lock_thread() {
  machine* m = detail::this_machine();
  if (m == nullptr || m->current == &m->g0 || --m->lock_depth != 0) return;
  m->current->flags &= static_cast<std::uint8_t>(~detail::fiber_is_pinned);
}

namespace detail {

// pin_word
constexpr std::uint32_t pin_go = 1;    // next_p and next_g are set
constexpr std::uint32_t pin_stop = 2;  // the runtime ends

bool is_at_home(const machine* m, const fiber_core* g) noexcept { return g->ext->home == m; }

void hand_to_home(machine* m, fiber_core* g) noexcept {
  machine* home = g->ext->home;
  processor* p = std::exchange(m->p, nullptr);
  p->owner.store(owner_claimed);
  home->next_p = p;
  home->next_g = g;
  home->pin_word.fetch_or(pin_go, std::memory_order_release);  // pairs with the acquire below
  os::futex_wake(&home->pin_word);
}

void wait_for_pinned(machine* m) noexcept {
  runtime_state* rt = m->rt;
  rt->pinned_asleep.fetch_add(1);
  if (processor* p = rt_enter(m)) {
    m->p = nullptr;
    p->owner.store(owner_claimed);
    if (!start_machine(rt, p, false) && !rt->stopping.load()) {
      fatal("lock_thread: no thread can be started for the other fibers");
    }
  }
  reattach_machine(m);
  rt_exit(m);
  while (m->pin_word.load(std::memory_order_relaxed) == 0) os::futex_wait(&m->pin_word, 0);
  const std::uint32_t why = m->pin_word.exchange(0, std::memory_order_acquire);
  rt->pinned_asleep.fetch_sub(1);
  m->in_rt.store(1, std::memory_order_relaxed);
  if ((why & pin_go) == 0) return;
  m->pending = std::exchange(m->next_g, nullptr);
  adopt_processor(m, std::exchange(m->next_p, nullptr));
}

void wake_pinned_for_stop(machine* m) noexcept {
  m->pin_word.fetch_or(pin_stop, std::memory_order_release);
  os::futex_wake(&m->pin_word);
}

}  // namespace detail
}  // namespace weft::inline v0
