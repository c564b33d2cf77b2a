// SPDX-License-Identifier: Apache-2.0
// P: the right to run fibers, with all that goes with it: run queue, runnext, timers, poller,
// caches. At most `procs` of them; type-stable (recycled between runtimes, never freed).
//
// `owner` says who may touch it:
//   tag of an M             that M, inside a runtime section (handoff.hpp)
//   tag | owner_request     the same; sysmon has asked for it
//   tag | owner_blocking    nobody: its M announced a blocking call; sysmon may take it by CAS
//   owner_idle              nobody; its bit in the idle set is up (idle_protocol.hpp)
//   owner_claimed           whoever took the idle bit down, or sysmon after a take
//   owner_woken             the first of its sleepers that moves it to its own tag
//   owner_retired           nobody; it has nothing to do with anything (procs_change.cpp)
// `mailbox`, `io_requests`, `timers` and `wake()` are for anybody; the rest is the owner's only.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include <weft/detail/relaxed.hpp>
#include "runtime/fiber_pool.hpp"
#include "runtime/stack_pool.hpp"
#include "sched/fresh_deque.hpp"
#include "sched/handoff.hpp"
#include "sched/inject_queue.hpp"
#include "sched/io.hpp"
#include "sched/poller.hpp"
#include "sched/run_queue.hpp"
#include "sched/timer_heap.hpp"

namespace weft::inline v0::detail {

struct machine;

inline constexpr std::uint32_t max_favours = 8;
inline constexpr std::uint32_t no_parent = ~0U;  // processor::fresh_since: never a budget

struct alignas(cache_line) processor {
  // --- written by several, kept apart from the owner's lines
  std::atomic<std::uint64_t> owner{owner_claimed};
  std::atomic<machine*> running_on{nullptr};  // the M behind the tag, for sysmon
  std::atomic<bool> attention{false};         // sysmon: look at timers, I/O and the inject queue
  std::atomic<bool> lone_due{false};          // sysmon: the only one of `fresh` has waited for long
  std::atomic<bool> retired{false};           // changes under io_lock; see procs_change.cpp
  std::atomic<int> sleepers{0};               // Ms inside io->wait() for this P
  std::atomic<bool> woken_to_spin{false};     // the waker counted its M as spinning already
  inject_queue mailbox;
  spin_lock io_lock;
  io_request* io_requests = nullptr;  // under io_lock
  std::atomic<bool> has_io_requests{false};
  timer_heap timers;

  // --- sampled by sysmon, written by the owner (relaxed)
  alignas(cache_line) std::atomic<std::uint32_t> looks{0};  // looks around
  std::atomic<std::uint32_t> budget{0};                     // dispatches until the next one
  relaxed<fiber_core*> runnext{nullptr};
  relaxed<std::uint32_t> fresh_since{
      no_parent};  // `budget` when the running fiber last started one

  // --- owner only
  std::uint32_t favours = 0;      // dispatches from the ring since the last one from `fresh`
  std::int64_t oldest_taken = 0;  // when the oldest of `fresh` had its turn
  std::uint32_t spin_limit = 0;
  bool slept_out = false;     // its M has slept for a whole trim period
  std::uint64_t id_next = 0;  // fiber ids come in blocks
  std::uint64_t id_end = 0;
  fiber_cache fibers;
  stack_cache stacks;
  std::unique_ptr<poller> io;
  runtime_state* rt = nullptr;
  int index = 0;
  std::uint32_t serial = 0;  // among all Ps of the process, for what keeps something for each
  bool alone = false;        // the runtime's only P: nobody steals

  std::atomic<std::uint64_t> spawned{0};   // owner writes, anybody reads
  std::atomic<std::uint64_t> finished{0};  // likewise
  std::atomic<std::uint64_t> steals{0};

  // --- under WEFT_DEBUG=conserve, by the owner and sysmon (here is room)
  relaxed<std::uint32_t> told{0};  // queue.pushed() when idle Ps were last told of the ring

  // --- sysmon only
  std::uint32_t seen_tick = 0;
  std::uint64_t seen_owner = 0;
  std::int64_t seen_since = 0;
  std::int64_t seen_cpu = 0;

  // Ready fibers: those that have run before (and the odd one that has waited for long), and those
  // that have not. See next_queued().
  run_queue queue;
  fresh_deque fresh;

  /// Owner: a dispatch without a look around. False if one is due.
  [[nodiscard]] WEFT_INLINE bool spend() noexcept {
    const std::uint32_t left = budget.load(std::memory_order_relaxed);
    if (left == 0 || attention.load(std::memory_order_relaxed)) return false;
    budget.store(left - 1, std::memory_order_relaxed);
    return true;
  }
  /// Changes with every dispatch; from any thread.
  [[nodiscard]] std::uint32_t ticks() const noexcept {
    return looks.load(std::memory_order_relaxed) * 128 + budget.load(std::memory_order_relaxed);
  }
  /// From any thread; a hint. Without runnext.
  [[nodiscard]] bool has_queued() const noexcept { return !queue.empty() || !fresh.empty(); }
  /// From any thread; a hint: the newest of `fresh` was started in this dispatch.
  [[nodiscard]] WEFT_INLINE bool parent_runs() const noexcept {
    return fresh_since == budget.load(std::memory_order_relaxed);
  }
  /// From any thread; a hint: is there anything for thieves? A lone fresh fiber is not while its
  /// parent still runs: most often that waits for it in a moment, and it is hot here. sysmon sees
  /// to it if not.
  [[nodiscard]] bool has_stealable_fresh() const noexcept {
    const std::uint32_t n = fresh.size();
    return n > 1 || (n == 1 && (!parent_runs() || lone_due.load(std::memory_order_relaxed)));
  }
  [[nodiscard]] bool has_stealable() const noexcept {
    return !queue.empty() || has_stealable_fresh();
  }
  /// Owner, or sysmon: idle Ps are told of all that is in the ring.
  void note_told() noexcept { told = queue.pushed(); }
  /// Owner: now and then, before the counts come round again.
  void forget_told() noexcept {
    const std::uint32_t taken = queue.taken();
    if (static_cast<std::int32_t>(told - taken) < 0) told = taken;
  }
};

}  // namespace weft::inline v0::detail
