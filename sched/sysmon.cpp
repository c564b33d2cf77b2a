// SPDX-License-Identifier: Apache-2.0
// sysmon: one thread a runtime that needs no P. It takes the P from an M that blocks or hogs, asks
// busy Ps to look around, wakes workers for overdue timers of busy Ps, trims idle stacks, and
// sleeps when everything is idle (under WEFT_DEBUG=conserve, for a tick at a time).
//
// Blocked and busy are told apart by the thread's CPU clock: not advancing, with the thread really
// asleep (not merely preempted), while work waits -> take the P at once. A hog loses it after 10
// ms, later where threads are many and cores few: a new thread for each that waits for a core would
// make them more.
#include <fcntl.h>
#include <time.h>

#include <cstdio>
#include <cstring>

#include "runtime/debug.hpp"
#include "runtime/os.hpp"
#include "runtime/stack_pool.hpp"
#include "sched/conservation_watch.hpp"
#include "sched/memory_trim.hpp"
#include "sched/runtime_state.hpp"
#include "sched/sched_trace.hpp"
#include "sched/stall_watch.hpp"

namespace weft::inline v0::detail {
namespace {

constexpr std::int64_t min_tick_ns = 50'000;
constexpr std::int64_t max_tick_ns = 2'000'000;  // bounds the lateness of timers beside long fibers
constexpr std::int64_t hog_ns = 10'000'000;      // and half of that of a core's time
constexpr std::int64_t starved_ns = 1'000'000'000;  // whatever the thread is doing
constexpr std::int64_t review_period_ns = 1'000'000'000;
// Looks at what may have become a deadlock. Each reads a directory; at pauses that double it is
// found after twice the time that it took to become one, and an idle process is all but
// undisturbed.
constexpr std::int64_t first_look_again_ns = 20'000'000;
constexpr std::int64_t last_look_again_ns = 10'000'000'000;

std::int64_t cpu_time_of(const machine* m) noexcept {
  clockid_t clock{};
  timespec ts{};
  if (::pthread_getcpuclockid(m->thread, &clock) != 0) return -1;
  if (::clock_gettime(clock, &ts) != 0) return -1;
  return ts.tv_sec * 1'000'000'000 + ts.tv_nsec;
}

}  // namespace

// The kernel's state letter of a thread; 'R' also for one that waits for a core.
bool thread_sleeps(const machine* m) noexcept {
  char path[64];
  std::snprintf(path, sizeof(path), "/proc/self/task/%d/stat",
                m->tid.load(std::memory_order_relaxed));
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char text[256];
  const ssize_t n = ::read(fd, text, sizeof(text) - 1);
  ::close(fd);
  if (n <= 0) return false;
  text[n] = '\0';
  const char* paren = std::strrchr(text, ')');
  return paren != nullptr && paren[1] == ' ' && (paren[2] == 'S' || paren[2] == 'D');
}

namespace {

// Is there anything that p's queue, timers or ring could do if somebody ran it? (Or anybody: to
// retire is work, too.)
bool work_waits(const runtime_state* rt, const processor* p, std::int64_t now) noexcept {
  return procs_change_due(p) || p->has_queued() || p->runnext != nullptr || !p->mailbox.empty() ||
         p->has_io_requests.load(std::memory_order_relaxed) || !rt->inject.empty() ||
         p->timers.next_when() <= now || p->io->armed() > 0;
}

// The protocol of handoff.hpp. The P is ours (owner_claimed) if true.
bool retake(processor* p, machine* m, std::uint64_t seen) noexcept {
  if (!handoff_ask<native_sync>(p->owner, seen, m->in_rt)) return false;
  detach_machine(m);  // before the P is gone: m looks at it as soon as it finds out
  if (handoff_take(p->owner, seen)) return true;
  undo_detach(m);
  return false;
}

void hand_off(runtime_state* rt, processor* p) noexcept {
  rt->handoffs.fetch_add(1, std::memory_order_relaxed);
  start_machine(rt, p, false);
}

// An announced blocking call: no barrier needed, its M takes the P back by CAS as well.
bool take_from_blocking(runtime_state* rt, processor* p, std::uint64_t seen,
                        std::int64_t now) noexcept {
  if (!work_waits(rt, p, now) || !handoff_take_blocking(p->owner, seen)) {
    return false;
  }
  hand_off(rt, p);
  return true;
}

// Does m keep its P from the work that waits there: blocked, or busy for long? One that is merely
// kept from a core does not: another thread would wait for that core as well.
bool is_stuck(processor* p, const machine* m, std::int64_t elapsed) noexcept {
  if (elapsed >= starved_ns) return true;
  const std::int64_t cpu = cpu_time_of(m);
  if (cpu < 0) return elapsed >= hog_ns;
  if (p->seen_cpu == 0) return false;
  const std::int64_t used = cpu - p->seen_cpu;
  if (elapsed >= hog_ns && used >= hog_ns / 2) return true;
  return used < elapsed / 4 && thread_sleeps(m);
}

// One look at a P. True if it changed hands.
bool examine(runtime_state* rt, processor* p, std::int64_t now) noexcept {
  const std::uint64_t owner = p->owner.load(std::memory_order_acquire);
  if (owner <= owner_flags) return false;  // idle or in transit
  if ((owner & owner_blocking) != 0) return take_from_blocking(rt, p, owner, now);
  const std::uint32_t tick = p->ticks();
  machine* m = p->running_on.load(std::memory_order_acquire);
  // A sleeper that has just taken the P says so in `owner` first: not its predecessor's in_rt.
  if (m == nullptr || m->id != machine_id_of(owner)) return false;
  if (tick != p->seen_tick || (owner & ~owner_flags) != p->seen_owner) {
    p->seen_tick = tick;
    p->seen_owner = owner & ~owner_flags;
    p->seen_since = now;
    p->seen_cpu = 0;
    p->lone_due.store(false, std::memory_order_relaxed);
    p->attention.store(true, std::memory_order_relaxed);
    return false;
  }
  const std::int64_t elapsed = now - p->seen_since;
  if (elapsed < min_tick_ns || !work_waits(rt, p, now)) return false;
  if (p->fresh.size() == 1) p->lone_due.store(true, std::memory_order_relaxed);  // see help_busy
  if (is_stuck(p, m, elapsed)) {
    if (!retake(p, m, owner)) return false;
    hand_off(rt, p);
    return true;
  }
  if (p->seen_cpu == 0) {
    p->seen_cpu = cpu_time_of(m);
    p->seen_since = now - min_tick_ns;  // the clock comparison starts here
  }
  return false;
}

// A busy P with overdue timers, or a lone fresh fiber that has waited for long, beside an idle P:
// that one helps.
void help_busy(runtime_state* rt, std::int64_t now) noexcept {
  if (!rt->idle.any() || rt->spinning.load(std::memory_order_relaxed) != 0) return;
  bool overdue = work_anywhere(rt);
  for (const processor* p : rt->procs) overdue |= p->timers.next_when() <= now;
  if (!overdue) return;
  if (rt->notes_told) {
    for (processor* p : rt->procs) p->note_told();
  }
  wake_one(rt);
}

struct sysmon_state {
  explicit sysmon_state(const runtime_state* rt) noexcept : memory(rt) {}
  memory_trim memory;
  std::int64_t next_review = now_ns() + review_period_ns;  // the start has just looked
  sched_trace trace;
  stall_watch stalls;
  conservation_watch wakes;
  std::int64_t tick = min_tick_ns;
  int quiet_rounds = 0;
};

// A plain thread inside ready() keeps check_deadlock from its answer and does not ask again when it
// leaves: nobody goes to bed before it. One that comes later wakes a worker, which wakes sysmon.
bool all_is_quiet(const runtime_state* rt) noexcept {
  return rt->idle.count() == rt->n_procs.load() && procs_settled(rt) && rt->detached.load() == 0 &&
         rt->external.load() == 0 && rt->inject.empty();  // (no thread could be started for those)
}

// True: more of that soon.
bool see_to_procs(runtime_state* rt, sysmon_state& s, std::int64_t now) noexcept {
  if (now >= s.next_review) {
    s.next_review = now + review_period_ns;
    review_procs(rt);
  }
  return nudge_procs(rt);
}

// Before help_busy, which would hide what has been lost.
conservation_watch::verdict see_to_wakes(runtime_state* rt, conservation_watch& wakes,
                                         std::int64_t now) noexcept {
  if (!wakes.on()) return conservation_watch::verdict::quiet;
  const conservation_watch::verdict v = wakes.look(rt, now);
  if (v == conservation_watch::verdict::lost) wakes.report(rt, now);
  return v;
}

// All Ps idle: sleep until a worker leaves idleness.
void deep_sleep(runtime_state* rt, sysmon_state& s) noexcept {
  rt->sysmon_word.store(0);
  rt->sysmon_asleep.store(true);
  // The worker that went idle last may have looked for a deadlock while somebody was still on his
  // way out of ready(); nobody else would look again.
  bool in_doubt = false;
  std::int64_t next_look = 0;  // at once
  std::int64_t pause = first_look_again_ns;
  for (;;) {
    if (now_ns() >= next_look) {
      in_doubt = check_deadlock(rt);
      next_look = now_ns() + pause;
      pause = std::min(2 * pause, last_look_again_ns);
    }
    if (!all_is_quiet(rt) || rt->stopping.load()) break;
    const std::int64_t due = std::min(s.memory.due(), s.trace.due());
    std::int64_t until = std::min(due, in_doubt ? next_look : never);
    // (Whoever would have to wake a worker may be the one who forgets to.)
    if (s.wakes.on()) until = std::min(until, now_ns() + max_tick_ns);
    os::futex_wait(&rt->sysmon_word, 0, until == never ? -1 : until);
    if (rt->sysmon_word.load() != 0 || now_ns() >= due) break;
    if (!in_doubt && !s.wakes.on()) break;
    if (see_to_wakes(rt, s.wakes, now_ns()) != conservation_watch::verdict::quiet) break;
  }
  rt->sysmon_asleep.store(false);
  s.tick = min_tick_ns;
  s.quiet_rounds = 0;
}

void* sysmon_main(void* argument) {
  auto* rt = static_cast<runtime_state*>(argument);
  ::pthread_setname_np(::pthread_self(), "weft-sysmon");
  sysmon_state s(rt);
  const std::int64_t longest_tick = std::min(max_tick_ns, s.wakes.period());
  while (!rt->stopping.load(std::memory_order_acquire)) {
    const std::int64_t now = now_ns();
    rt->coarse_now.store(now, std::memory_order_relaxed);
    bool acted = false;
    const auto wakes = see_to_wakes(rt, s.wakes, now);
    for (processor* p : rt->procs) acted |= examine(rt, p, now);
    if (wakes != conservation_watch::verdict::in_doubt) help_busy(rt, now);
    acted |= see_to_procs(rt, s, now);
    const bool giving_back = s.memory.look(now);
    stack_guard_report();
    s.trace.look(rt, now);
    s.stalls.look(rt, now);
    s.quiet_rounds = acted ? 0 : std::min(s.quiet_rounds + 1, 1000);
    if (acted) s.tick = min_tick_ns;
    if (s.quiet_rounds > 20 && s.tick < longest_tick) s.tick = std::min(s.tick * 2, longest_tick);
    if (s.quiet_rounds > 30 && all_is_quiet(rt) && s.memory.due() > now) {
      deep_sleep(rt, s);
      continue;
    }
    // Giving memory back takes all of its time while nobody works, else half.
    std::int64_t pause = s.tick;
    if (giving_back) pause = all_is_quiet(rt) ? 0 : now_ns() - now;
    os::futex_wait(&rt->sysmon_word, 0, now_ns() + pause);
    rt->sysmon_word.store(0);
  }
  return nullptr;
}

}  // namespace

void sysmon_start(runtime_state* rt) {
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, 256U << 10);
  const int error = ::pthread_create(&rt->sysmon_thread, &attributes, &sysmon_main, rt);
  ::pthread_attr_destroy(&attributes);
  if (error != 0) throw std::system_error(error, std::system_category(), "weft: starting sysmon");
  weft_threads.fetch_add(1);  // (counted before it is there, it would hide the caller from others)
}

void sysmon_wake(runtime_state* rt) noexcept {
  rt->sysmon_word.store(1);
  os::futex_wake(&rt->sysmon_word);
}

void sysmon_stop(runtime_state* rt) noexcept {
  sysmon_wake(rt);
  ::pthread_join(rt->sysmon_thread, nullptr);
  weft_threads.fetch_sub(1);
}

}  // namespace weft::inline v0::detail
