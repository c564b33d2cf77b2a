// SPDX-License-Identifier: Apache-2.0
// Sleeping and waking of this runtime's workers: idle_protocol.hpp, which has the proof, applied to
// its Ps and Ms.
#pragma once

#include "runtime/sync_policy.hpp"
#include "sched/idle_protocol.hpp"

namespace weft::inline v0::detail {

class runtime_state;
struct processor;
struct machine;

inline constexpr int max_procs = 256;
using idle_set = basic_idle_set<native_sync, max_procs / 64>;

/// After publishing work: wakes a worker iff a P is idle and nobody spins. Any thread.
void wake_if_idle(runtime_state* rt) noexcept;

/// After adding to p->fresh, by its owner m in its section, when somebody could be woken; ends the
/// section. (A lone one is for p itself; see processor::has_stealable_fresh.)
void wake_for_fresh(machine* m, const processor* p) noexcept;

/// Wakes one without the first look.
void wake_one(runtime_state* rt) noexcept;

/// Wakes p's own worker, if it is idle. After publishing what only p can do.
void wake_processor(runtime_state* rt, processor* p) noexcept;

/// Sleeps with the M's P given up until there may be something to do. In a runtime section with a
/// P; on return the M has a P again (true), or not (false).
[[nodiscard]] bool sleep_idle(machine* m) noexcept;

/// Ends m's spinning. found: it goes on to run something.
void stop_spinning(machine* m, bool found) noexcept;

/// For an M without a P: takes an idle one. In a runtime section.
[[nodiscard]] bool acquire_idle_processor(machine* m) noexcept;

/// Work that any P could run.
[[nodiscard]] bool work_anywhere(runtime_state* rt) noexcept;

}  // namespace weft::inline v0::detail
