// SPDX-License-Identifier: Apache-2.0
// G: one fiber. Pooled, type-stable (its memory is never given back while its runtime lives), at
// most 256 bytes, with the closure inside when that is small.
//
// Who may touch what:
//   frame, eh, saved_errno     the M that runs or is leaving the fiber
//   on_cpu                     1 from dispatch until the successor has landed on its own stack;
//                              whoever dispatches a fiber waits for 0 (acquire) first, so a waker
//                              may publish a fiber that is still saving itself
//   state, reason, wait_obj    the fiber before it publishes its waiter, the one waker after
//   sched_next                 the one queue that holds the fiber
//   claim                      every waker of a park with several (select, timeout, context): the
//                              one that moves it 0 -> 1 owns the wake-up
//   wake_param                 the waker that won, before ready(); read by the fiber afterwards
//   join, refs                 atomics, anybody
// A plain OS thread that blocks in weft has one too (is_thread): it parks on `futex_word`.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <weft/detail/config.hpp>
#include <weft/detail/switch.hpp>

namespace weft::inline v0::detail {

class runtime_state;
struct waiter;
struct fiber_extension;
struct fiber_core;

/// The part of an M that code inlined into user frames sees.
struct machine_head {
  /// 1 while the thread is inside a runtime section, i.e. may touch its P.
  std::atomic<std::uint32_t> in_rt{0};
};

/// The C++ ABI's __cxa_eh_globals; padding made visible, so that it is copied as one word of 16.
struct alignas(8) eh_globals {
  void* caught = nullptr;
  std::uint32_t uncaught = 0;
  std::uint32_t padding = 0;
};

enum class fiber_state : std::uint8_t {
  dead,       ///< in a pool
  fresh,      ///< allocated, closure being built; in no queue
  runnable,   ///< in exactly one run queue
  running,    ///< current on an M
  waiting,    ///< parked; exactly one waker will make it runnable
  abandoned,  ///< its runtime has stopped; never runs again
};

/// Why a fiber waits. The strings (see to_string) are Go's where Go has one.
enum class wait_reason : std::uint8_t {
  none,
  chan_receive,
  chan_send,
  chan_receive_nil,
  chan_send_nil,
  select,
  select_no_cases,
  sleep,
  io_wait,
  mutex_lock,
  rwmutex_rlock,
  rwmutex_lock,
  cond_wait,
  semacquire,
  wait_group,
  join,
  context_done,
  once,
  blocking,
  yield,
};

enum class entry_op : std::uint8_t { run, destroy };

inline constexpr std::size_t inline_closure_size = 64;

struct alignas(cache_line) fiber_core {
  switch_frame frame;
  std::atomic<std::uint32_t> on_cpu{0};
  std::atomic<std::uint32_t> claim{0};
  std::atomic<machine_head*> m{nullptr};  // relaxed: set by the dispatcher just before the switch
  eh_globals eh;
  int saved_errno = 0;

  fiber_core* sched_next = nullptr;
  runtime_state* rt = nullptr;
  void (*entry)(fiber_core*, entry_op) = nullptr;
  void* closure = nullptr;
  char* stack_lo = nullptr;
  void* wake_param = nullptr;
  const void* site = nullptr;
  fiber_extension* ext = nullptr;

  std::uint64_t id = 0;
  std::uint64_t parent_id = 0;
  std::atomic<fiber_state> state{fiber_state::dead};
  wait_reason reason = wait_reason::none;
  std::uint8_t stack_class = 0;
  bool is_thread = false;
  std::atomic<std::uint32_t> futex_word{0};
  std::uint32_t stack_size = 0;
  std::atomic<std::uint32_t> refs{0};
  const void* wait_obj = nullptr;
  std::int64_t waiting_since = 0;
  std::atomic<waiter*> join{nullptr};
  waiter* waiters = nullptr;  // this park's waiter records, linked by waiter::sibling
  alignas(16) std::byte inline_closure[inline_closure_size];
#if WEFT_ASAN || WEFT_TSAN
  void* asan_fake_stack = nullptr;
  void* tsan_fiber = nullptr;
  void* tsan_dead = nullptr;  // context of a fiber that ended here, to be destroyed by the lander
#endif

  [[nodiscard]] char* stack_hi() const noexcept { return stack_lo + stack_size; }
};
#if !(WEFT_ASAN || WEFT_TSAN)
static_assert(sizeof(fiber_core) <= 256 + 64, "a queued task costs a few hundred bytes at most");
#endif

}  // namespace weft::inline v0::detail
