// SPDX-License-Identifier: Apache-2.0
// Figures of the process: what is alive, by kind and state.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <iosfwd>

#include <weft/detail/config.hpp>

namespace weft::inline v0 {

/// What is alive. Two equal values before and after some work mean: nothing left behind.
struct accounts {
  std::int64_t fibers = 0;  ///< started and not ended
  std::int64_t channels = 0;
  std::int64_t timers = 0;
  std::int64_t tickers = 0;
  std::int64_t contexts = 0;
  std::int64_t connections = 0;  ///< connections, listeners and adopted descriptors
  std::int64_t pool_objects = 0;
  [[nodiscard]] bool operator==(const accounts&) const = default;
};

/// Stacks of one size.
struct stack_class_stats {
  std::size_t stack_size = 0;  ///< as fiber_options::stack_size counts
  std::uint64_t carved = 0;    ///< in use or idle
  std::uint64_t idle = 0;
};

/// What stats() returns.
struct runtime_stats {
  accounts live;
  // fibers by state
  std::int64_t runnable = 0;
  std::int64_t running = 0;
  std::int64_t waiting = 0;
  // scheduler
  int procs = 0;
  int idle_procs = 0;
  int threads = 0;            ///< OS threads of weft
  int detached = 0;           ///< threads in blocking or hogging fibers, P handed on
  std::uint64_t spawned = 0;  ///< fibers ever started
  std::uint64_t steals = 0;
  std::uint64_t handoffs = 0;
  std::uint64_t lost_wake_ups = 0;  ///< found under WEFT_DEBUG=conserve: bugs of weft's
  std::int64_t armed_timers = 0;
  std::int64_t armed_polls = 0;
  const char* netpoll = "";  ///< "io_uring" or "epoll"
  // stacks
  std::array<stack_class_stats, 4> stacks_by_class{};
  std::uint64_t stacks = 0;                ///< carved out of arenas, in use or idle
  std::uint64_t stacks_idle = 0;           ///< of them waiting for a fiber
  std::uint64_t stacks_most = 0;           ///< the most in use at a time; spares of Ps count, too
  std::uint64_t stack_bytes_mapped = 0;    ///< address space of the arenas
  std::uint64_t stack_bytes_resident = 0;  ///< of it in memory
  std::uint64_t stacks_unguarded = 0;      ///< with a canary only
  const char* stack_guard = "";            ///< which kind of guard is active

  /// Compares what is alive, not the counters.
  [[nodiscard]] bool operator==(const runtime_stats& other) const { return live == other.live; }
};

/// Of the caller's (or the default) runtime; object counts are of the process. Without a runtime
/// the scheduler's part is zero. From any thread; figures are exact when nothing changes meanwhile.
/// For a look now and then: it walks all fibers, and asks the kernel what of the stacks is in
/// memory, which takes 30 us for each 64 MiB of them (1,024 of the default size).
[[nodiscard]] WEFT_EXPORT runtime_stats stats();

/// Live fibers of the caller's (or the default) runtime: a few counters, for any loop.
[[nodiscard]] WEFT_EXPORT std::int64_t num_fibers();

/// Readable, one figure a line.
WEFT_EXPORT std::ostream& operator<<(std::ostream& os, const runtime_stats& s);
WEFT_EXPORT std::ostream& operator<<(std::ostream& os, const accounts& a);

}  // namespace weft::inline v0
