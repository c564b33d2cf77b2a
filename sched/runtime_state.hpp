// SPDX-License-Identifier: Apache-2.0
// One runtime: its Ps, its Ms, its shared queues and counters. Created by runtime_start, ended by
// runtime_stop; nothing of it is global but the default-runtime pointer.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include <weft/detail/cancel_node.hpp>
#include <weft/detail/relaxed.hpp>
#include <weft/detail/runtime_hooks.hpp>
#include <weft/options.hpp>
#include <weft/stats.hpp>
#include "sched/idle.hpp"
#include "sched/inject_queue.hpp"
#include "sched/machine.hpp"
#include "sched/processor.hpp"

extern "C" void weft_fiber_entry();

#if WEFT_TSAN
extern "C" void* __tsan_create_fiber(unsigned flags);
#endif

namespace weft::inline v0::detail {

/// The Ps that a runtime has made so far, retired ones included, by number. Only ever grows, by one
/// thread at a time (P 0's owner, or the start); may be walked by anybody meanwhile.
class processor_table {
 public:
  void add(processor* p) noexcept {
    const std::size_t n = size_.load(std::memory_order_relaxed);
    all_[n] = p;
    size_.store(n + 1, std::memory_order_release);
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_.load(std::memory_order_acquire); }
  [[nodiscard]] processor* const* begin() const noexcept { return all_.data(); }
  [[nodiscard]] processor* const* end() const noexcept { return all_.data() + size(); }
  [[nodiscard]] processor* front() const noexcept { return all_[0]; }
  [[nodiscard]] processor* operator[](std::size_t i) const noexcept { return all_[i]; }

 private:
  std::array<processor*, max_procs> all_{};
  std::atomic<std::size_t> size_{0};
};

class runtime_state {
 public:
  explicit runtime_state(const options& o) : opts(o) {}
  runtime_state(const runtime_state&) = delete;
  runtime_state& operator=(const runtime_state&) = delete;

  options opts;
  std::uint8_t stack_class = 0;  // of opts.stack_size
  // The Ps in service, and those that are to be. See procs_change.cpp.
  std::atomic<int> n_procs{0};
  std::atomic<int> wish{0};  // their number, negative if set by hand: one word, one truth
  std::atomic<bool> more_procs{false};  // sysmon to P 0's owner: see to those that are missing
  std::atomic<int> least_procs{1};      // some cannot retire
  relaxed<int> cores{1};                // that affinity and quota allow
  processor_table procs;

  idle_set idle;
  alignas(cache_line) std::atomic<int> spinning{0};  // Ms looking for work
  alignas(cache_line) std::atomic<int> detached{0};  // Ms in user code or blocking calls, P taken
  std::atomic<bool> stopping{false};
  std::atomic<bool> deadlock_told{false};     // and nothing has run since
  std::atomic<bool> short_of_threads{false};  // a P was left without one, at least once
  inject_queue inject;
  std::atomic<std::int64_t> coarse_now{0};  // set by sysmon and by workers that read the clock
  std::atomic<std::uint64_t> handoffs{0};
  std::atomic<int> mains{0};     // main fibers that have not returned (deadlock detection)
  std::atomic<int> external{0};  // plain threads inside ready() or spawn on this runtime

  std::mutex machines_lock;  // pool and list; taken only when an M is started, parked or stopped
  machine* pool = nullptr;
  machine* all_machines = nullptr;
  std::atomic<std::uint32_t> pinned_asleep{0};  // Ms in wait_for_pinned: not for other fibers
  std::atomic<std::uint32_t> machine_count{0};  // written under the lock, read by stats
  std::uint32_t next_machine_id = 1;

  pthread_t sysmon_thread{};
  std::atomic<std::uint32_t> sysmon_word{0};
  std::atomic<bool> sysmon_asleep{false};

  std::atomic<std::uint64_t> spawned_elsewhere{0};  // by threads without a P
  std::atomic<std::uint64_t> finished_elsewhere{0};

  bool randomise = false;      // run order, in sanitizer presets and WEFT_DEBUG=random=1
  bool force_migrate = false;  // every wake moves the fiber to another P
  bool notes_told = false;     // processor::told is kept, for WEFT_DEBUG=conserve
  bool wakes_oddly = false;    // one of these two
  bool spin_wanted = true;
  bool is_default = false;
  std::uint64_t serial = 0;             // never the same twice
  runtime_state* next_live = nullptr;   // see runtime_lives
  relaxed<bool> light_is_fence{false};  // see light_barrier
  relaxed<bool> heavy_is_fence{false};
  root_slot root;                               // filled by ctx/ (runtime_hooks.hpp)
  std::atomic<std::uint64_t> lost_wake_ups{0};  // found by conservation_watch

  [[nodiscard]] std::uint64_t live_fibers() const noexcept;
  [[nodiscard]] WEFT_INLINE int wanted_procs() const noexcept {
    const int n = wish.load(std::memory_order_relaxed);
    const int least = least_procs.load(std::memory_order_relaxed);
    const int wanted = n < 0 ? -n : n;
    return wanted < least ? least : wanted;
  }
  /// With more workers than cores a spinner would take the core from the one it waits for.
  [[nodiscard]] bool spin_allowed() const noexcept {
    return spin_wanted && n_procs.load(std::memory_order_relaxed) <= cores;
  }

  /// The two sides of the idle protocol's barrier (asymmetric_barrier.hpp). With more workers than
  /// cores both are fences: workers go to sleep often then, and membarrier takes a lock of the
  /// kernel's, for which hundreds of threads would queue up when its holder has no core.
  WEFT_INLINE void light_barrier() const noexcept {
    if (light_is_fence) [[unlikely]] {
      full_fence();
    } else {
      std::atomic_signal_fence(std::memory_order_seq_cst);
    }
  }
  void heavy_barrier() const noexcept {
    if (heavy_is_fence) {
      full_fence();
    } else {
      detail::heavy_barrier();
    }
  }
  /// For good. A light side that went without its fence until now has its publication seen, by the
  /// barrier in between, before any heavy side relies on that fence.
  void use_fences() noexcept {
    light_is_fence = true;
    detail::heavy_barrier();
    heavy_is_fence = true;
  }
};

/// Starts workers. Throws std::system_error when the kernel refuses threads or descriptors.
[[nodiscard]] std::unique_ptr<runtime_state> runtime_start(const options& o);

/// Waits up to opts.drain for fibers to end, stops the workers, abandons the rest.
void runtime_stop(std::unique_ptr<runtime_state> rt);

/// The process default (the running `run`, else the oldest runtime object); null without any.
[[nodiscard]] runtime_state* default_runtime() noexcept;
/// False if there is one already.
[[nodiscard]] bool set_default_runtime(runtime_state* rt) noexcept;
void clear_default_runtime(runtime_state* rt) noexcept;

/// The caller's runtime, a plain thread's the default one, kept from ending while this lives.
class runtime_hold {
 public:
  runtime_hold() noexcept;
  ~runtime_hold();
  runtime_hold(const runtime_hold&) = delete;
  runtime_hold& operator=(const runtime_hold&) = delete;
  /// Null: there is none.
  [[nodiscard]] runtime_state* get() const noexcept { return rt_; }

 private:
  runtime_state* rt_;
};

/// Whether rt lives, and no other runtime.
[[nodiscard]] bool is_only_runtime(const runtime_state* rt) noexcept;

/// Whether that runtime has not ended: for what is bound to one and may outlive it.
[[nodiscard]] bool runtime_lives(const runtime_state* rt, std::uint64_t serial) noexcept;

/// Threads of this process that are weft's own or blocked inside weft::run (deadlock detection).
extern std::atomic<int> weft_threads;

/// Waits until no fiber is left or `node` is done; from a plain thread. The node's error then.
[[nodiscard]] std::error_code wait_until_empty(runtime_state* rt, cancel_node* node) noexcept;
[[nodiscard]] runtime_stats stats_of(const runtime_state* rt);

// --- machines (machine.cpp)
/// Gives a claimed P to an M of the pool, or to a new thread. False: no thread can be had; the P is
/// idle then. Any thread.
bool start_machine(runtime_state* rt, processor* p, bool spinning) noexcept;
/// Sleeps in the pool until somebody hands a P over. False: the runtime stops.
[[nodiscard]] bool pool_sleep(machine* m) noexcept;
/// m runs user code without a P from here on, or may: by itself, or by sysmon that takes its P.
void detach_machine(machine* m) noexcept;
/// It does not (any more). By m itself.
void reattach_machine(machine* m) noexcept;
/// sysmon did not get the P after all. m may have reattached itself meanwhile.
void undo_detach(machine* m) noexcept;
/// What m writes into the owner of a P that it takes: never the same twice.
[[nodiscard]] std::uint64_t next_tag(machine* m) noexcept;
[[nodiscard]] inline std::uint32_t machine_id_of(std::uint64_t owner) noexcept {
  return static_cast<std::uint32_t>(owner) >> 3;
}
/// m has written it into the owner of a P.
void set_tag(machine* m, std::uint64_t tag) noexcept;
/// m becomes the owner of the claimed P p.
void adopt_processor(machine* m, processor* p) noexcept;
void wake_pool_for_stop(runtime_state* rt) noexcept;

// --- lock_thread.cpp
/// Whether g, which is pinned, may be dispatched by m.
[[nodiscard]] bool is_at_home(const machine* m, const fiber_core* g) noexcept;
/// Gives m's P and g, which is pinned to another M, to that one. In a runtime section.
void hand_to_home(machine* m, fiber_core* g) noexcept;
/// The fiber pinned to m has parked: m gives its P away and sleeps until it is to run again, or the
/// runtime ends. From the scheduler loop.
void wait_for_pinned(machine* m) noexcept;
void wake_pinned_for_stop(machine* m) noexcept;

// --- scheduler.cpp
/// The scheduler loop of an M, on its own stack; returns when the runtime stops.
void schedule_loop(machine* m) noexcept;
/// Timers, I/O requests of others, completions, the mailbox: everything that makes fibers of p
/// runnable. Owner only.
void look_around(processor* p) noexcept;
/// The next local fiber for a parking one, null for "ask the scheduler loop". Owner only.
[[nodiscard]] fiber_core* next_local(processor* p) noexcept;
/// The same whether a look around is due or not. Owner only.
[[nodiscard]] fiber_core* pop_local(processor* p) noexcept;
/// Gives a fresh fiber its stack and clean thread state.
void bind_stack(processor* p, fiber_core* g) noexcept;
/// The part of it that makes the first switch to g start there.
WEFT_INLINE void place_on_stack(fiber_core* g, char* lo, std::uint32_t size) noexcept {
  g->stack_lo = lo;
  g->stack_pages = static_cast<std::uint16_t>(size / stack_page);
  g->frame.sp = lo + size - 64;  // 16-byte aligned, as at a call instruction
  g->frame.fp = nullptr;
  g->frame.pc = reinterpret_cast<void*>(&weft_fiber_entry);
  g->frame.base = nullptr;
#if WEFT_ASAN
  g->asan_fake_stack = nullptr;
#endif
#if WEFT_TSAN
  g->tsan_fiber = __tsan_create_fiber(0);
#endif
}
/// Gets the lines of a fresh fiber that may start soon into the cache, from the one with `from` on:
/// it comes from another core, or is one of a million. (It may be null, or gone: a prefetch never
/// faults.)
WEFT_INLINE void prefetch_fresh(const fiber_core* g, std::size_t from) noexcept {
  const auto lines = reinterpret_cast<std::uintptr_t>(g);
  for (std::size_t at = from; at <= offsetof(fiber_core, inline_closure); at += cache_line) {
    __builtin_prefetch(reinterpret_cast<const void*>(lines + at), 1);
  }
}
/// One that will start on a stack just left and end there: all that it needs.
WEFT_INLINE void prefetch_start(const fiber_core* g) noexcept {
  prefetch_fresh(g, offsetof(fiber_core, m));
}
/// Whose it is; from any thread, a hint.
[[nodiscard]] inline runtime_state* runtime_of(fiber_core* g) noexcept {
  return std::atomic_ref<runtime_state*>(g->rt).load(std::memory_order_relaxed);
}
/// Saves what belongs to the fiber in the thread.
WEFT_INLINE void save_thread_state(machine* m, fiber_core* g) noexcept {
  g->saved_errno = *m->err;
  g->eh = *m->eh;
}
WEFT_INLINE void load_thread_state(machine* m, const fiber_core* g) noexcept {
  *m->err = g->saved_errno;
  *m->eh = g->eh;
}
/// Makes g current on m: binds a stack if it is fresh, restores its thread state. g->m is null.
WEFT_INLINE void prepare_dispatch(machine* m, processor* p, fiber_core* g) noexcept {
  if (g->stack_lo == nullptr) [[unlikely]]
    bind_stack(p, g);
  g->m.store(m, std::memory_order_relaxed);
  g->state.store(fiber_state::running, std::memory_order_relaxed);
  m->current = g;
  load_thread_state(m, g);
}
/// Makes the scheduler loop current on m.
WEFT_INLINE fiber_core* to_scheduler_loop(machine* m) noexcept {
  m->g0.m.store(m, std::memory_order_relaxed);
  m->current = &m->g0;
  load_thread_state(m, &m->g0);
  return &m->g0;
}
/// Puts a runnable fiber on p; owner only.
void put_runnable(processor* p, fiber_core* g) noexcept;
/// The fiber of m stops here for good: where to switch (m's scheduler loop).
[[nodiscard]] fiber_core* abandon_current(machine* m, fiber_core* g) noexcept;

// --- fiber.cpp
[[nodiscard]] bool fiber_has_ended(const fiber_core* g) noexcept;
/// Registers a joiner; false if the fiber has ended (or has a joiner already).
[[nodiscard]] bool fiber_set_joiner(fiber_core* g, waiter* w) noexcept;
/// Takes it back; false if the fiber has ended meanwhile.
[[nodiscard]] bool fiber_clear_joiner(fiber_core* g, waiter* w) noexcept;
/// The end of a fiber that was never started, and whose closure somebody else has run: tells a
/// joiner, and drops the fiber's own reference.
void fiber_finish_unstarted(fiber_core* g) noexcept;
/// `to`, the caller, has the labels of `from` from here on.
void fiber_take_labels(fiber_core* to, const fiber_core* from);

// --- sysmon.cpp
void sysmon_start(runtime_state* rt);
void sysmon_stop(runtime_state* rt) noexcept;
void sysmon_wake(runtime_state* rt) noexcept;
/// Is m asleep in the kernel, and not merely without a core?
[[nodiscard]] bool thread_sleeps(const machine* m) noexcept;

// --- stack_use.cpp
/// Logs the table of weft::diag::stack_use, if it is kept.
void log_stack_use() noexcept;

// --- deadlock.cpp
/// Called by a worker whose P was the last to go idle, and by sysmon. True: its fibers sleep, and
/// what could still wake one is outside; it is to be looked at again when that may have ended.
bool check_deadlock(runtime_state* rt) noexcept;

// --- io.cpp
/// Carries out what others asked of p's poller; owner only.
void drain_io_requests(processor* p, fiber_list* ready_list) noexcept;

// --- procs.cpp
/// What affinity and cgroup quota allow; `fallback` if that cannot be read just now.
[[nodiscard]] int default_procs(int fallback = 1) noexcept;

// --- processor_pool.cpp
/// A P for rt with number `index`, owner_claimed. Throws when there is no memory or no poller.
[[nodiscard]] processor* make_processor(runtime_state* rt, int index);
void return_processor(processor* p);

// --- procs_change.cpp
/// Is p to leave service, or (P 0's part) are others to enter it? A few plain loads.
[[nodiscard]] WEFT_INLINE bool procs_change_due(const processor* p) noexcept {
  const runtime_state* rt = p->rt;
  return p->index >= rt->wanted_procs() ||
         (p->index == 0 && rt->more_procs.load(std::memory_order_relaxed));
}
/// Does m's part of that. From the scheduler loop, in a runtime section with a P; m may have lost
/// the P afterwards.
void change_procs(machine* m) noexcept;
/// Is every P in service that is to be, and no other?
[[nodiscard]] bool procs_settled(const runtime_state* rt) noexcept;
/// Asks those concerned to come, if there are any. From sysmon, again and again.
[[nodiscard]] bool nudge_procs(runtime_state* rt) noexcept;
/// Affinity or quota may have changed: sysmon asks now and then, unless the number was set by hand.
void review_procs(runtime_state* rt) noexcept;
/// So many from now on, 0: as many as affinity and quota allow. The number that was wanted before.
int want_procs(runtime_state* rt, int n) noexcept;

}  // namespace weft::inline v0::detail
