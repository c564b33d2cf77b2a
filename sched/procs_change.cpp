// SPDX-License-Identifier: Apache-2.0
// Another number of Ps in a runtime at work: by hand, or because affinity or a cgroup quota has
// changed.
//
// From outside only `wish` is set. The rest is done by owners, in their scheduler loops, so
// nobody touches what is a P's own:
//   A P whose number is not below it retires: it hands on its fibers, timers, polls and caches and
//   becomes owner_retired. It leaves `n_procs` last: until then it counts as busy, and what it
//   holds is not taken for a deadlock. P 0, which never retires, puts others into service, and
//   first ceases to be `alone`.
// sysmon sees to it that they come: it wakes the idle (nudge_procs), and takes a P that is to
// retire from an M that blocks or hogs, as if work waited there.
//
// Nothing reaches a P once it has retired:
//   queues, fresh, runnext, timers, polls   are filled by owners only; it has none
//   I/O requests                            `retired` changes under io_lock, where it is looked at
//   mailbox                                 put in; heavy barrier; look at `retired`, take out
//   again
//                                           retired = true; heavy barrier; take everything out
// What plain threads hand over goes to P 0.
#include <sched.h>

#include <cstdlib>
#include <exception>

#include <weft/error.hpp>
#include <weft/run.hpp>
#include "runtime/asymmetric_barrier.hpp"
#include "runtime/debug.hpp"
#include "runtime/os.hpp"
#include "sched/runtime_state.hpp"

namespace weft::inline v0::detail {
namespace {

// Polls that another thread has armed complete when that one next enters the kernel: a tick away.
constexpr std::int64_t disarm_limit_ns = 50'000'000;

bool hand_on_timers(runtime_state* rt, processor* p) noexcept {
  if (p->timers.size() == 0) return true;
  processor* heir = rt->procs.front();
  if (!p->timers.move_to(heir->timers)) return false;
  heir->attention.store(true, std::memory_order_relaxed);
  wake_processor(rt, heir);  // it may sleep with a later deadline
  return true;
}

void hand_on_fibers(runtime_state* rt, processor* p) noexcept {
  fiber_list all = p->mailbox.pop(~0U);
  if (p->runnext != nullptr) all.push_back(p->runnext);
  p->runnext = nullptr;
  p->fresh_since = no_parent;
  while (fiber_core* g = p->queue.pop(p->alone)) all.push_back(g);
  while (fiber_core* g = p->fresh.pop()) all.push_back(g);
  if (all.empty()) return;
  rt->inject.push(all);
  wake_if_idle(rt);
}

// Waiters of what is armed here wake, find nothing, and arm where they run then. False: not all of
// them yet.
bool hand_on_polls(runtime_state* rt, processor* p) noexcept {
  const std::int64_t limit = now_ns() + disarm_limit_ns;
  for (;;) {
    look_around(p);
    hand_on_fibers(rt, p);
    if (p->io->armed() == 0) return true;
    if (now_ns() > limit) return false;
    ::sched_yield();
  }
}

// It cannot be done: p stays in service, and is not asked again.
void stay(runtime_state* rt, const processor* p, const char* why) noexcept {
  log_format("weft: P %d stays: %s", p->index, why);
  int least = rt->least_procs.load();
  while (least <= p->index && !rt->least_procs.compare_exchange_weak(least, p->index + 1)) {
  }
}

// Everything that others wait for goes elsewhere. False: not yet, or never.
bool hand_on_all(runtime_state* rt, processor* p) noexcept {
  if (!p->io->disarm_all()) {
    stay(rt, p, "this kernel does not take back all polls at once");
    return false;
  }
  if (!hand_on_polls(rt, p)) return false;
  if (!hand_on_timers(rt, p)) {
    stay(rt, p, "no memory to move its timers");
    return false;
  }
  return true;
}

// From here on nothing is handed over to p. False: something was, at the last moment.
bool close_door(processor* p) noexcept {
  p->io_lock.lock();
  const bool closed = p->io_requests == nullptr;
  if (closed) p->retired.store(true, std::memory_order_relaxed);
  p->io_lock.unlock();
  return closed;
}

// m's P leaves service; or stays for now.
void retire(machine* m, processor* p) noexcept {
  runtime_state* rt = m->rt;
  stop_spinning(m, true);  // as one that goes on to run something: others may rely on its search
  if (!hand_on_all(rt, p) || !close_door(p)) return;
  heavy_barrier();  // pairs with migrate(): see the file's top
  hand_on_fibers(rt, p);
  p->fresh.trim();
  p->fibers.flush();
  p->stacks.flush();
  p->slept_out = false;
  m->p = nullptr;
  p->owner.store(owner_retired);
  const int left = rt->n_procs.fetch_sub(1) - 1;
  if (rt->idle.count() == left) static_cast<void>(check_deadlock(rt));
}

// The P with this number, claimed; null if it is in service, or on its way out.
processor* claim_retired(runtime_state* rt, int index) {
  if (static_cast<std::size_t>(index) == rt->procs.size()) {
    processor* p = make_processor(rt, index);
    rt->idle.set_procs(index + 1);
    rt->procs.add(p);
    return p;
  }
  processor* p = rt->procs[static_cast<std::size_t>(index)];
  std::uint64_t retired = owner_retired;
  if (!p->owner.compare_exchange_strong(retired, owner_claimed)) return nullptr;
  p->io_lock.lock();
  p->retired.store(false, std::memory_order_relaxed);
  p->io_lock.unlock();
  return p;
}

// By P 0's owner. Each begins idle without a sleeper: its first waker finds an M for it.
void put_into_service(runtime_state* rt) noexcept {
  rt->more_procs.store(false, std::memory_order_relaxed);
  rt->procs.front()->alone = false;  // before there is anybody who could steal
  const int wanted = rt->wanted_procs();
  if (wanted > rt->cores && !rt->heavy_is_fence) rt->use_fences();
  for (int i = 1; i < wanted; ++i) {
    processor* p = nullptr;
    try {
      p = claim_retired(rt, i);
    } catch (const std::exception& e) {  // no memory, no descriptors
      log_format("weft: no more than %d procs for now: %s", i, e.what());
      int wish = rt->wish.load();
      if (std::abs(wish) == wanted) {
        rt->wish.compare_exchange_strong(wish, wish < 0 ? -i : i);
      }
      break;
    }
    if (p == nullptr) continue;
    rt->n_procs.fetch_add(1);
    p->owner.store(owner_idle);
    rt->idle.put(i);
    // A message or a request that came when its bit was not up yet.
    if (!p->mailbox.empty() || p->has_io_requests.load()) wake_processor(rt, p);
  }
  wake_if_idle(rt);
}

}  // namespace

void change_procs(machine* m) noexcept {
  processor* p = m->p;
  if (p->index == 0) {
    put_into_service(m->rt);
  } else {
    retire(m, p);
  }
}

bool procs_settled(const runtime_state* rt) noexcept {
  const int wanted = rt->wanted_procs();
  if (rt->procs.size() < static_cast<std::size_t>(wanted)) return false;
  for (const processor* p : rt->procs) {
    if (p->retired.load(std::memory_order_relaxed) != (p->index >= wanted)) return false;
  }
  return true;
}

// One idle P at a time: its M, back in the pool, serves for the next, which may have none.
bool nudge_procs(runtime_state* rt) noexcept {
  if (procs_settled(rt)) return false;
  if (rt->n_procs.load() < rt->wanted_procs()) {
    rt->more_procs.store(true, std::memory_order_relaxed);
  }
  bool one = false;
  for (processor* p : rt->procs) {
    if (p->retired.load(std::memory_order_relaxed) || !procs_change_due(p)) continue;
    p->attention.store(true, std::memory_order_relaxed);
    if (!rt->idle.has(p->index) || (one && p->index != 0)) continue;
    one |= p->index != 0;
    wake_processor(rt, p);
  }
  return one;
}

void review_procs(runtime_state* rt) noexcept {
  int before = rt->wish.load();
  if (before < 0) return;
  const int n = default_procs(before);
  rt->cores = n;
  // (Unless it was set by hand meanwhile.)
  if (before == n || !rt->wish.compare_exchange_strong(before, n)) return;
  if (debug_option("procs") != nullptr) log_format("weft: procs: %d, were %d", n, before);
}

int want_procs(runtime_state* rt, int n) noexcept {
  if (n == 0) rt->cores = default_procs();
  const int before = rt->wish.exchange(n != 0 ? -n : int{rt->cores});
  sysmon_wake(rt);
  return std::abs(before);
}

namespace {

result<int> set_procs_of(runtime_state* rt, int n) noexcept {
  if (rt == nullptr) return failure(errc::no_runtime);
  if (n < 0 || n > max_procs) return failure(errc::invalid_argument);
  return want_procs(rt, n);
}

}  // namespace
}  // namespace weft::inline v0::detail

namespace weft::inline v0 {

result<int> set_procs(int n) {
  const detail::runtime_hold hold;
  return detail::set_procs_of(hold.get(), n);
}

result<int> runtime::set_procs(int n) { return detail::set_procs_of(rt_, n); }

}  // namespace weft::inline v0
