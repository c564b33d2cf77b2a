// SPDX-License-Identifier: Apache-2.0
// Plain OS threads as first-class callers: each gets, on its first blocking call, a stand-in G that
// parks on a futex. A deadline is kept by the sleeping thread itself, so timeouts work without any
// runtime.
#pragma once

#include <weft/detail/cancel_node.hpp>
#include <weft/detail/fiber_core.hpp>

namespace weft::inline v0::detail {

struct thread_fiber : fiber_core {
  wake_extras* extras = nullptr;  // of the current park, if it has a deadline
  std::int64_t deadline = never;
};

/// The calling thread's, made on first use. Never inlined into callers.
[[nodiscard]] fiber_core* thread_fiber_of_caller() noexcept;

/// Sleeps until thread_ready(g) or the deadline.
void thread_park(fiber_core* g) noexcept;
void thread_ready(fiber_core* g) noexcept;

}  // namespace weft::inline v0::detail
