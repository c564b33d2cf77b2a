// SPDX-License-Identifier: Apache-2.0
// M: an OS thread of weft, and the runtime section: how a thread makes sure that the P it holds is
// still its own.
//
// A fiber never leaves its thread in the middle of user code. sysmon takes the *P* from an M that
// blocks or hogs, gives it to another M, and the fiber runs on as an ordinary thread until its next
// parking call. For that an M marks when it is inside a runtime section, i.e. may touch its P.
//
//   M:       in_rt = 1 (plain store); light barrier; read p->owner; equal to tag? -> go on
//   sysmon:  CAS owner tag -> tag|request; heavy barrier; read in_rt; 0? CAS tag|request -> claimed
//
// Exclusion: suppose sysmon's last CAS succeeds while M is in a section whose check read `tag`.
// That read precedes the request in modification order; the heavy barrier orders every access of M
// before or after itself; a read after it would have seen the request, so the read, and in_rt = 1
// before it, are before the barrier and visible to sysmon's load. It read 0, so a later in_rt = 0:
// that section had ended, and the release/acquire pair on in_rt orders its accesses before the
// take. A new section, whose in_rt = 1 sysmon did not see, is after the barrier and sees the
// request; the two CAS on the same word then decide. tests/sched/handoff_model_test.cpp explores
// this. A tag carries the number of the acquisition, so it never comes back.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include <weft/detail/park.hpp>
#include "runtime/asymmetric_barrier.hpp"
#include "sched/processor.hpp"

namespace weft::inline v0::detail {

struct machine : machine_head {
  // --- the M's own thread only
  processor* p = nullptr;
  std::uint64_t tag = 0;
  fiber_core* current = nullptr;  // the fiber whose stack we are on; &g0 between fibers
  fiber_core* pending = nullptr;  // g0 is to dispatch this one
  char* dead_stack = nullptr;     // stack of a fiber that ended while we had no P
  std::uint8_t dead_stack_class = 0;
  eh_globals* eh = nullptr;  // this thread's; constant while the thread lives
  int* err = nullptr;        // &errno of this thread
  runtime_state* rt = nullptr;
  std::uint32_t id = 0;
  std::uint32_t epoch = 0;
  std::uint32_t lock_depth = 0;  // lock_thread scopes of the current fiber
  bool spinning = false;
  fiber_core g0;       // the scheduler loop, on the thread's own stack
  fiber_core leaving;  // a dying fiber switches away from here: its G is in the pool

  // --- others
  std::atomic<bool> detached{false};        // runs user code without a P (counted in rt)
  std::atomic<std::uint32_t> wake_word{0};  // pool: 1 = next_p or stop is set
  processor* next_p = nullptr;              // set by whoever takes it out of the pool
  bool next_spinning = false;
  machine* pool_next = nullptr;  // under rt's machine lock
  machine* all_next = nullptr;
  pthread_t thread{};
  std::atomic<int> tid{0};
};

/// The calling thread's M, null on a plain thread. Never inlined: see park.hpp.
[[nodiscard]] WEFT_NOINLINE machine* this_machine() noexcept;

/// The same by a plain load, for functions of the library that are never inlined into others and
/// contain no switch: in one that does, the compiler may keep the variable's address over it.
extern constinit thread_local machine* tls_machine __attribute__((tls_model("initial-exec")));
[[nodiscard]] WEFT_INLINE machine* machine_here() noexcept { return tls_machine; }
void set_this_machine(machine* m) noexcept;

/// Slow half of rt_enter: the P was asked for, or is gone.
processor* rt_enter_slow(machine* m) noexcept;

/// Opens a runtime section. Returns the M's P, or null if it has none (any more): then only what is
/// not P-owned may be used.
WEFT_INLINE processor* rt_enter(machine* m) noexcept {
  m->in_rt.store(1, std::memory_order_relaxed);
  light_barrier();  // pairs with sysmon's heavy barrier
  processor* p = m->p;
  if (p == nullptr) return nullptr;
  if (p->owner.load(std::memory_order_relaxed) != m->tag) [[unlikely]]
    return rt_enter_slow(m);
  return p;
}

WEFT_INLINE void rt_exit(machine* m) noexcept {
  m->in_rt.store(0, std::memory_order_release);  // pairs with sysmon's acquire load
}

/// A runtime section that may lie inside another one (a timer's callback that readies a fiber).
class rt_section {
 public:
  explicit rt_section(machine* m) noexcept
      : m_(m), outer_(m->in_rt.load(std::memory_order_relaxed) != 0), p_(rt_enter(m)) {}
  ~rt_section() {
    if (!outer_) rt_exit(m_);
  }
  rt_section(const rt_section&) = delete;
  rt_section& operator=(const rt_section&) = delete;
  [[nodiscard]] processor* p() const noexcept { return p_; }

 private:
  machine* m_;
  bool outer_;
  processor* p_;
};

}  // namespace weft::inline v0::detail
