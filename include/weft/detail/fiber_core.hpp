// SPDX-License-Identifier: Apache-2.0
// G: one fiber. Pooled, type-stable (its memory is never given back while its runtime lives), at
// most 256 bytes, with the closure inside when that is small.
//
// Who may touch what:
//   frame, eh, saved_errno     the M that runs or is leaving the fiber
//   m                          the M it runs on, from dispatch until the successor has landed on
//                              its own stack; whoever dispatches a fiber waits for null (acquire)
//                              first, so a waker may publish a fiber that is still saving itself;
//                              of a parked one: the mark of a holder (sched/stack_hold.hpp)
//   state, reason, wait_obj    the fiber before it publishes its waiter, the one waker after
//   sched_next                 the one queue that holds the fiber
//   claim                      every waker of a park with several (select, timeout, context): the
//                              one that moves it 0 -> 1 owns the wake-up
//   wake_param                 the waker that won, before ready(); read by the fiber afterwards
//   join, refs                 atomics, anybody
//   futex_word                 the fiber at each park, sysmon (sched/parked_stacks.hpp)
// A fiber that starts on a stack just left by another and ends without parking touches one line of
// it and the closure's, which is the one beside it (lines come into the cache in pairs): the rest
// is set when it is first used (park_begin, bind_stack, a handle). A plain OS thread that blocks in
// weft has one too (fiber_is_thread): it parks on `futex_word`.
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

enum class entry_op : std::uint8_t {
  run,
  destroy,  ///< it has not begun; or what is left in it (a result) is wanted no more
  abandon,  ///< its runtime has ended: it will not run (on); see counted_closure.hpp
};

inline constexpr std::size_t inline_closure_size = 64;
inline constexpr std::size_t inline_closure_align = 16;

// fiber_core::flags
inline constexpr std::uint8_t fiber_is_thread = 1;      ///< stands for a plain thread
inline constexpr std::uint8_t fiber_has_extension = 2;  ///< ext is not null
inline constexpr std::uint8_t fiber_has_labels = 4;     ///< and there are labels in it
inline constexpr std::uint8_t fiber_has_block = 8;      ///< the closure is at `block`
inline constexpr std::uint8_t fiber_is_pinned = 16;     ///< to one M, see lock_thread.cpp
inline constexpr std::uint8_t fiber_is_watched = 32;    ///< its stack is, see stack_watch.hpp

inline constexpr std::uint32_t stack_page = 4096;

struct alignas(cache_line) fiber_core {
  // --- for a switch
  switch_frame frame;  // first: the record that switch_stack gives back is the fiber
  eh_globals eh;
  fiber_core* sched_next = nullptr;
  int saved_errno = 0;
  std::atomic<std::uint32_t> claim{0};

  // --- for waiting, joining and the unusual
  fiber_extension* ext = nullptr;
  void* wake_param = nullptr;
  const void* wait_obj = nullptr;
  std::atomic<waiter*> join{nullptr};
  waiter* waiters = nullptr;  // this park's waiter records, linked by waiter::sibling
  void* block = nullptr;
  std::atomic<std::uint32_t> futex_word{0};

  // --- for every start; the closure comes after it
  alignas(cache_line) std::atomic<machine_head*> m{nullptr};
  runtime_state* rt = nullptr;
  void (*entry)(fiber_core*, entry_op) = nullptr;
  const void* site = nullptr;
  std::uint64_t id = 0;
  union {
    std::uint64_t parent_id = 0;
    fiber_core* free_next;  // in a pool
  };
  char* stack_lo = nullptr;  // null until the first dispatch
  std::atomic<fiber_state> state{fiber_state::dead};
  wait_reason reason = wait_reason::none;
  std::uint8_t stack_class = 0;
  std::uint8_t flags = 0;
  std::uint16_t stack_pages = 0;  // of stack_page bytes
  std::atomic<std::uint16_t> refs{0};

  alignas(inline_closure_align) std::byte inline_closure[inline_closure_size];
#if WEFT_ASAN || WEFT_TSAN
  void* asan_fake_stack = nullptr;
  void* tsan_fiber = nullptr;
  void* tsan_dead = nullptr;  // context of a fiber that ended here, to be destroyed by the lander
#endif

  [[nodiscard]] bool is_pinned() const noexcept { return (flags & fiber_is_pinned) != 0; }
  [[nodiscard]] bool is_thread() const noexcept { return (flags & fiber_is_thread) != 0; }
  [[nodiscard]] std::size_t stack_size() const noexcept {
    return std::size_t{stack_pages} * stack_page;
  }
  [[nodiscard]] char* stack_hi() const noexcept { return stack_lo + stack_size(); }
};
static_assert(offsetof(fiber_core, frame) == 0 && offsetof(fiber_core, m) == 2 * cache_line);
#if !(WEFT_ASAN || WEFT_TSAN)
static_assert(sizeof(fiber_core) == 256, "a queued task costs a few hundred bytes at most");
#endif

}  // namespace weft::inline v0::detail
