// SPDX-License-Identifier: Apache-2.0
#include "sched/machine.hpp"

#include <cxxabi.h>
#include <sys/prctl.h>

#include <cstdio>
#include <utility>

#include <weft/detail/random.hpp>
#include "runtime/debug.hpp"
#include "runtime/os.hpp"
#include "runtime/signals.hpp"
#include "runtime/stack_watch.hpp"
#include "sched/runtime_state.hpp"

#if WEFT_TSAN
extern "C" void* __tsan_get_current_fiber();
#endif

namespace weft::inline v0::detail {
namespace {

// m asks for a processor it has been given: wait until the word is set.
void wait_for_word(std::atomic<std::uint32_t>& word) noexcept {
  while (word.load(std::memory_order_acquire) == 0) os::futex_wait(&word, 0);
}

void* machine_main(void* argument) {
  auto* m = static_cast<machine*>(argument);
  runtime_state* rt = m->rt;
  set_this_machine(m);
  char name[16];
  std::snprintf(name, sizeof(name), "weft-%u", m->id);
  ::pthread_setname_np(::pthread_self(), name);
  ::prctl(PR_SET_TIMERSLACK, 1);  // the default of 50 us would be added to every timer
  install_signal_stack();
  m->eh = reinterpret_cast<eh_globals*>(abi::__cxa_get_globals());
  m->err = &errno;
  m->tid.store(os::thread_id(), std::memory_order_release);
  m->g0.m.store(m, std::memory_order_relaxed);
  m->g0.rt = rt;
  pthread_attr_t attributes;
  if (::pthread_getattr_np(::pthread_self(), &attributes) == 0) {
    void* lo = nullptr;
    std::size_t size = 0;
    ::pthread_attr_getstack(&attributes, &lo, &size);
    ::pthread_attr_destroy(&attributes);
    m->g0.stack_lo = static_cast<char*>(lo);
    m->g0.stack_pages = static_cast<std::uint16_t>(size / stack_page);
  }
#if WEFT_TSAN
  m->g0.tsan_fiber = __tsan_get_current_fiber();
#endif
  m->current = &m->g0;
  m->bias = bias_slot_acquire();
  if (rt->opts.on_worker_start) rt->opts.on_worker_start();
  m->in_rt.store(1, std::memory_order_relaxed);  // before sysmon can know of us
  adopt_processor(m, m->next_p);
  m->spinning = m->next_spinning;
  schedule_loop(m);
  if (rt->opts.on_worker_stop) rt->opts.on_worker_stop();
  bias_slot_release(m->bias);
  remove_signal_stack();
  set_this_machine(nullptr);
  return nullptr;
}

// A new thread that will own p. Null when the limit or the kernel says no.
machine* create_machine(runtime_state* rt, processor* p, bool spinning) noexcept {
  const std::uint32_t in_use = rt->machine_count.load() - rt->pinned_asleep.load();
  if (in_use >= static_cast<std::uint32_t>(rt->opts.max_threads)) return nullptr;
  auto* m = new (std::nothrow) machine;
  if (m == nullptr) return nullptr;
  m->rt = rt;
  m->id = rt->next_machine_id++;
  m->next_p = p;
  m->next_spinning = spinning;
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, 256U << 10);
  weft_threads.fetch_add(1);
  const int error = ::pthread_create(&m->thread, &attributes, &machine_main, m);
  ::pthread_attr_destroy(&attributes);
  if (error != 0) {
    weft_threads.fetch_sub(1);
    delete m;
    return nullptr;
  }
  m->all_next = rt->all_machines;
  rt->all_machines = m;
  ++rt->machine_count;
  return m;
}

}  // namespace

constinit thread_local machine* tls_machine = nullptr;

WEFT_NOINLINE machine* this_machine() noexcept {
  machine* m = tls_machine;
  asm volatile("" : "+r"(m));  // no interprocedural analysis may conclude that it never changes
  return m;
}

WEFT_NOINLINE void set_this_machine(machine* m) noexcept { tls_machine = m; }

void detach_machine(machine* m) noexcept {
  m->rt->detached.fetch_add(1);
  m->detached.fetch_add(1);
}

void reattach_machine(machine* m) noexcept {
  if (m->detached.load(std::memory_order_relaxed) == 0) return;
  m->rt->detached.fetch_sub(m->detached.exchange(0));
}

void undo_detach(machine* m) noexcept {
  int n = m->detached.load();
  while (n > 0) {
    if (m->detached.compare_exchange_weak(n, n - 1)) {
      m->rt->detached.fetch_sub(1);
      return;
    }
  }
}

std::uint64_t next_tag(machine* m) noexcept {
  m->epoch++;
  return (static_cast<std::uint64_t>(m->id) << 3) | (static_cast<std::uint64_t>(m->epoch) << 32);
}

void set_tag(machine* m, std::uint64_t tag) noexcept {
  m->tag = tag;
  const runtime_state* rt = m->rt;
  // Randomised runs take the quick paths too, by the toss of a coin: they are to be tested.
  const bool longer =
      stacks_are_watched || ((rt->randomise || rt->force_migrate) && fast_rand(2) == 0);
  m->quick_tag = membarrier_available && !longer ? tag : owner_never;
}

void adopt_processor(machine* m, processor* p) noexcept {
  set_tag(m, next_tag(m));
  m->p = p;
  p->running_on.store(m, std::memory_order_release);  // with what a new M is made of
  p->owner.store(m->tag, std::memory_order_seq_cst);
  // A P is at work: somebody has to watch it. (sysmon says that it sleeps, then counts idle Ps.)
  if (m->rt->sysmon_asleep.load()) sysmon_wake(m->rt);
}

processor* rt_enter_slow(machine* m) noexcept {
  processor* p = m->p;
  switch (handoff_reenter(p->owner, m->tag)) {
    case reentry::kept:
      p->attention.store(true, std::memory_order_relaxed);  // we yield soon
      return p;
    case reentry::unblocked:  // an announced blocking section that turned out to call weft
      reattach_machine(m);
      return p;
    case reentry::lost:
      break;
  }
  m->p = nullptr;  // sysmon has given it to somebody else
  return nullptr;
}

namespace {

// A thread for p: one of the pool, or a new one. False: there is none to be had.
bool give_thread(runtime_state* rt, processor* p, bool spinning) noexcept {
  rt->machines_lock.lock();
  machine* m = rt->pool;
  if (m == nullptr) {
    m = rt->stopping.load() ? nullptr : create_machine(rt, p, spinning);
    rt->machines_lock.unlock();
    return m != nullptr;
  }
  rt->pool = m->pool_next;
  m->next_p = p;
  m->next_spinning = spinning;
  rt->machines_lock.unlock();
  m->wake_word.store(1, std::memory_order_release);
  os::futex_wake(&m->wake_word);
  return true;
}

bool pool_is_empty(runtime_state* rt) noexcept {
  rt->machines_lock.lock();
  const bool empty = rt->pool == nullptr;
  rt->machines_lock.unlock();
  return empty;
}

// An idle P that nobody sleeps on, as no thread was to be had for it. (Ps that have not been used
// yet are of that kind, too.) The caller owns it.
processor* take_deserted(runtime_state* rt) noexcept {
  for (processor* p : rt->procs) {
    if (p->sleepers.load() == 0 && rt->idle.take(p->index)) return p;
  }
  return nullptr;
}

}  // namespace

bool start_machine(runtime_state* rt, processor* p, bool spinning) noexcept {
  while (!give_thread(rt, p, spinning)) {
    // The P waits for a thread that comes free (pool_sleep), and its fibers for any other.
    rt->short_of_threads.store(true, std::memory_order_relaxed);
    p->fresh_since = no_parent;
    if (std::exchange(spinning, false)) rt->spinning.fetch_sub(1);
    p->owner.store(owner_idle);
    rt->idle.put(p->index);
    if (rt->sysmon_asleep.load()) sysmon_wake(rt);  // it tries again
    // One that came free before that did not see it. It is in the pool then: whoever has the lock
    // second, sees what the first has done.
    if (pool_is_empty(rt) || !rt->idle.take(p->index)) return false;
    p->owner.store(owner_claimed);
  }
  return true;
}

bool pool_sleep(machine* m) noexcept {
  runtime_state* rt = m->rt;
  rt->machines_lock.lock();
  if (rt->stopping.load()) {
    rt->machines_lock.unlock();
    return false;
  }
  if (rt->short_of_threads.load(std::memory_order_relaxed)) {
    if (processor* p = take_deserted(rt)) {
      rt->machines_lock.unlock();
      adopt_processor(m, p);
      return true;
    }
  }
  m->wake_word.store(0, std::memory_order_relaxed);
  m->next_p = nullptr;
  m->pool_next = rt->pool;
  rt->pool = m;
  rt->machines_lock.unlock();
  // This M has left its P behind; it no longer counts as running user code.
  rt_exit(m);
  wait_for_word(m->wake_word);
  m->in_rt.store(1, std::memory_order_relaxed);
  if (m->next_p == nullptr) return false;
  adopt_processor(m, m->next_p);
  m->spinning = m->next_spinning;
  return true;
}

void wake_pool_for_stop(runtime_state* rt) noexcept {
  rt->machines_lock.lock();
  machine* m = rt->pool;
  rt->pool = nullptr;
  while (m != nullptr) {
    machine* next = m->pool_next;
    m->wake_word.store(1, std::memory_order_release);
    os::futex_wake(&m->wake_word);
    m = next;
  }
  for (m = rt->all_machines; m != nullptr; m = m->all_next) wake_pinned_for_stop(m);
  rt->machines_lock.unlock();
}

}  // namespace weft::inline v0::detail
