// SPDX-License-Identifier: Apache-2.0
// Process-wide handlers that weft needs: SIGSEGV/SIGBUS on an alternate stack, to name the fiber
// that overflowed its stack; std::terminate, to report a panic with the throwing stack; SIGPIPE
// ignored (as Go does on sockets), and the soft RLIMIT_NOFILE raised to the hard one (as Go does).
#pragma once

#include <atomic>

#include <weft/detail/fiber_core.hpp>

namespace weft::inline v0::detail {

/// Installs everything once a process.
void process_init() noexcept;

/// Gives the calling thread an alternate signal stack (every M has one).
void install_signal_stack() noexcept;
void remove_signal_stack() noexcept;

struct stack_memory;

/// The running fiber has overflowed this stack, which nobody stopped: as for a fault in a guard.
[[noreturn]] void end_by_overflow(const stack_memory& stack) noexcept;

/// Which fiber runs on the calling thread, null on a thread of the user's. Set by sched/; safe in a
/// signal handler.
extern fiber_core* (*running_fiber)() noexcept;

/// Observes panics before the process ends. Set by weft::set_panic_handler, once and for all.
using panic_observer = void (*)(fiber_core* g, const char* what);
extern std::atomic<panic_observer> on_panic;

}  // namespace weft::inline v0::detail
