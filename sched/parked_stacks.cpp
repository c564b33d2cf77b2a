// SPDX-License-Identifier: Apache-2.0
#include "sched/parked_stacks.hpp"

#include <algorithm>
#include <atomic>

#include "runtime/fiber_pool.hpp"
#include "runtime/os.hpp"
#include "runtime/stack_pool.hpp"
#include "sched/runtime_state.hpp"

namespace weft::inline v0::detail {
namespace {

enum : std::uint32_t { just_parked = 0, seen_parked = 1, trimmed = 2 };

// After each part of a round, times what it took; at most a period (the thread may have stood
// still).
constexpr std::int64_t pause_factor = 50;

// Below the stack pointer the code that switched may keep a red zone (128 bytes on x86-64).
constexpr std::uintptr_t red_zone = 256;

// g is held. A canary, and figures of use, lie in the pages that would go.
void give_pages_back(const fiber_core* g) noexcept {
  if ((g->flags & fiber_is_watched) != 0 || has_canary(g->stack_lo)) return;
  const auto lo = reinterpret_cast<std::uintptr_t>(g->stack_lo);
  const auto sp = reinterpret_cast<std::uintptr_t>(g->frame.sp);
  // (User code may have left for a stack of its own making, and parked there.)
  if (sp <= lo || sp > lo + g->stack_size()) return;
  const std::uintptr_t end = (sp - red_zone) / os::page_size() * os::page_size();
  if (end > lo) ::madvise(g->stack_lo, end - lo, MADV_DONTNEED);
}

// Changes when anything has run: an M looks around before it sleeps.
std::uint32_t looks_around(const runtime_state* rt) noexcept {
  std::uint32_t sum = 0;
  for (const processor* p : rt->procs) sum += p->looks.load(std::memory_order_relaxed);
  return sum;
}

}  // namespace

parked_stacks::parked_stacks(const runtime_state* rt) noexcept : rt_(rt) {
  if (!membarrier_available || trim_period_ns() == never) due_ = never;
}

// Hints only, all of it: what counts is looked at again when it is held.
void parked_stacks::look_at(fiber_core* g) noexcept {
  if (g->state.load(std::memory_order_relaxed) != fiber_state::waiting || runtime_of(g) != rt_) {
    return;
  }
  const std::uint32_t age = g->futex_word.load(std::memory_order_relaxed);
  if (age == trimmed) return;
  found_new_ = true;
  if (age == just_parked) {
    g->futex_word.store(seen_parked, std::memory_order_relaxed);
    return;
  }
  candidates_.add(g);
  if (candidates_.full()) trim_candidates();
}

void parked_stacks::trim_candidates() noexcept {
  candidates_.visit_held(
      [this](fiber_core* g) { return runtime_of(g) == rt_; },  // another one ends when it likes
      [](fiber_core* g) {
        g->futex_word.store(trimmed, std::memory_order_relaxed);
        give_pages_back(g);
      });
}

void parked_stacks::look(std::int64_t now) noexcept {
  if (now < due_ || due_ == never) return;
  if (next_slab_ == 0) {
    found_new_ = false;
    looks_before_ = looks_around(rt_);
  }
  const bool more = fiber_visit_slab(
      next_slab_++,
      [](fiber_core* g, void* self) { static_cast<parked_stacks*>(self)->look_at(g); }, this);
  trim_candidates();
  if (more) {
    const std::int64_t end = now_ns();
    due_ = end + std::min((end - now) * pause_factor, trim_period_ns());
  } else {
    next_slab_ = 0;
    due_ = now + trim_period_ns();
  }
}

std::int64_t parked_stacks::due() const noexcept {
  // (What has run since the last round began may have parked behind its back.)
  const bool more = next_slab_ != 0 || found_new_ || looks_around(rt_) != looks_before_;
  return more ? due_ : never;
}

}  // namespace weft::inline v0::detail
