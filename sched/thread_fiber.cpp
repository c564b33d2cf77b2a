// SPDX-License-Identifier: Apache-2.0
#include "sched/thread_fiber.hpp"

#include "runtime/os.hpp"
#include "sched/fiber_extension.hpp"

namespace weft::inline v0::detail {

/// The one door through which a sleeping thread marks its own timeout.
struct thread_park_access {
  static void time_out(wake_extras* x) noexcept { x->timed_out_ = true; }
};

namespace {

struct thread_slot {
  thread_fiber g;
  thread_slot() noexcept {
    g.flags = fiber_is_thread;
    g.state.store(fiber_state::running, std::memory_order_relaxed);
  }
  ~thread_slot() { drop_extension(&g); }  // fiber_local values of the thread
};

bool expired(std::int64_t deadline) noexcept { return deadline != never && now_ns() >= deadline; }

// The deadline passed: ours, unless a waker has claimed the park already (then its ready() is on
// the way and will come).
bool claim_timeout(thread_fiber* g) noexcept {
  std::uint32_t unclaimed = 0;
  if (!g->claim.compare_exchange_strong(unclaimed, 1)) return false;
  thread_park_access::time_out(g->extras);
  g->wake_param = g->extras;
  return true;
}

}  // namespace

WEFT_NOINLINE fiber_core* thread_fiber_of_caller() noexcept {
  static thread_local thread_slot slot;
  return &slot.g;
}

void thread_park(fiber_core* base) noexcept {
  auto* g = static_cast<thread_fiber*>(base);
  std::int64_t deadline = g->deadline;
  while (g->futex_word.load(std::memory_order_acquire) == 0) {
    if (expired(deadline)) {
      if (claim_timeout(g)) break;
      deadline = never;
      continue;
    }
    os::futex_wait(&g->futex_word, 0, deadline == never ? -1 : deadline);
  }
  g->deadline = never;
  g->extras = nullptr;
  g->state.store(fiber_state::running, std::memory_order_relaxed);
}

void thread_ready(fiber_core* g) noexcept {
  // After the store the thread may go on, return and exit: its word is not read again, and a wake
  // on an address that is gone is harmless.
  std::atomic<std::uint32_t>* word = &g->futex_word;
  word->store(1, std::memory_order_release);
  os::futex_wake(word);
}

}  // namespace weft::inline v0::detail
