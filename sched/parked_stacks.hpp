// SPDX-License-Identifier: Apache-2.0
// What a parked fiber has of its stack in memory below its stack pointer is of no use to anybody: a
// connection that has once needed 40 KiB keeps them while it waits for its next request. For
// sysmon: a fiber that stays parked for a period gets those pages back once in that park, held for
// that moment (stack_hold.hpp).
//
// How long a fiber has been parked is told by its futex_word, which only plain threads wait on and
// which each park sets to 0: a round over all fibers makes it 1, the next one 2. Rounds are a
// period apart and take two hundredths of a core at most; when one has found nothing new, and
// nothing has run since it began, no more are due.
#pragma once

#include <cstddef>
#include <cstdint>

#include <weft/detail/fiber_core.hpp>
#include "runtime/sync_policy.hpp"
#include "sched/stack_hold.hpp"

namespace weft::inline v0::detail {

class runtime_state;

class parked_stacks {
 public:
  explicit parked_stacks(const runtime_state* rt) noexcept;

  /// A part of a round, if one is due.
  void look(std::int64_t now) noexcept;

  /// When there will be something to do, if nothing happens until then; `never`: nothing.
  [[nodiscard]] std::int64_t due() const noexcept;

 private:
  using hold = basic_stack_hold<native_sync, fiber_core, machine_head, 16>;

  void look_at(fiber_core* g) noexcept;
  void trim_candidates() noexcept;

  const runtime_state* rt_;
  machine_head mark_;
  hold candidates_{&mark_};
  std::size_t next_slab_ = 0;
  std::int64_t due_ = 0;
  std::uint32_t looks_before_ = 0;  // this round, or the last
  bool found_new_ = true;           // in it
};

}  // namespace weft::inline v0::detail
