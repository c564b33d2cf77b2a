// SPDX-License-Identifier: Apache-2.0
#include "sched/conservation_watch.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include <weft/detail/fatal.hpp>
#include "runtime/debug.hpp"
#include "sched/runtime_state.hpp"

namespace weft::inline v0::detail {
namespace {

constexpr std::int64_t shortest_period_ns = 50'000;  // sysmon's shortest tick

// For so long, after the limit, help_busy waits for the end of all doubts: a thread that is kept
// from its core in the middle of a section is there again by then, as a rule.
constexpr std::int64_t patience_ns = 100'000'000;

// Fibers in the ring of which idle Ps have been told.
bool has_told_woken(const processor* p) noexcept {
  const std::uint32_t told = p->told;
  full_fence();  // what has been taken by now, no earlier count of it
  const std::uint32_t left = told - p->queue.taken();
  return left != 0 && left <= p->queue.size();
}

// Fibers that have not run, of which idle Ps have been told. (What sysmon has given free,
// `lone_due`, is its own business.)
bool has_told_fresh(const processor* p) noexcept {
  const std::uint32_t n = p->fresh.size();
  return n > 1 || (n == 1 && !p->parent_runs());
}

// The same for certain. What is read of a P at work may not belong together; and in the middle of a
// dispatch a lone fiber seems to be left behind, although it comes next. So the owner has to be
// outside its section, with no dispatch begun until all is read.
bool surely_has_told_fresh(const processor* p) noexcept {
  const std::uint64_t owner = p->owner.load();
  const machine* m = p->running_on.load(std::memory_order_acquire);
  if (owner <= owner_flags || (owner & owner_blocking) != 0 || m == nullptr ||
      m->id != machine_id_of(owner)) {
    return false;
  }
  const std::uint32_t ticks = p->ticks();
  full_fence();
  if (m->in_rt.load(std::memory_order_acquire) != 0 || !has_told_fresh(p)) return false;
  full_fence();
  return p->ticks() == ticks && p->owner.load() == owner;
}

// Its first timer is due, and whoever armed that should have woken the sleeper to a new plan.
bool oversleeps(const processor* p, std::int64_t now) noexcept {
  const std::int64_t when = p->timers.next_when();
  if (when > now) return false;
  const machine* m = p->running_on.load(std::memory_order_acquire);
  return m == nullptr || p->sleepers.load() == 0 || when < m->sleep_until;
}

// Ms are added in front and stay until sysmon has ended: the lock is for the head only.
machine* newest_machine(runtime_state* rt) noexcept {
  rt->machines_lock.lock();
  machine* m = rt->all_machines;
  rt->machines_lock.unlock();
  return m;
}

std::uint32_t searches_ended(runtime_state* rt) noexcept {
  std::uint32_t sum = 0;
  for (const machine* m = newest_machine(rt); m != nullptr; m = m->all_next) sum += m->searches;
  return sum;
}

// A P that has been given to an M which has not come yet; it may be counted as searching.
bool somebody_comes(const runtime_state* rt) noexcept {
  return std::any_of(rt->procs.begin(), rt->procs.end(), [](const processor* p) {
    const std::uint64_t owner = p->owner.load();
    return owner == owner_woken || owner == owner_claimed;
  });
}

bool is_watchable(const runtime_state* rt) noexcept {
  return !rt->stopping.load() && !rt->short_of_threads.load() && procs_settled(rt);
}

}  // namespace

std::int64_t conservation_limit_ns() noexcept {
  const char* text = debug_option("conserve");
  return text == nullptr ? 0 : parse_duration_ns(text);
}

conservation_watch::conservation_watch() noexcept : limit_(conservation_limit_ns()) {
  const char* text = debug_option("conserve");
  if (text == nullptr || limit_ >= 0) return;  // (0: off)
  log_format("weft: WEFT_DEBUG=conserve=%s: not a time (1ms, 500us, 2s); not watching", text);
}

std::int64_t conservation_watch::period() const noexcept {
  return on() ? std::max(limit_ / 4, shortest_period_ns) : never;
}

// What only p can do, although it sleeps.
conservation_watch::waits conservation_watch::own_work(const runtime_state* rt, const processor* p,
                                                       std::int64_t now) noexcept {
  if (p->owner.load() == owner_woken) {
    return p->sleepers.load() == 0 ? waits::nobody : waits::nothing;
  }
  if (!rt->idle.has(p->index)) return waits::nothing;
  if (!p->mailbox.empty()) return waits::messages;
  if (p->has_io_requests.load(std::memory_order_acquire)) return waits::requests;
  if (oversleeps(p, now)) return waits::timer;
  if (p->runnext != nullptr || p->has_queued()) return waits::own_fibers;
  return waits::nothing;
}

// What any P could do.
template <class HasFresh>
conservation_watch::sight conservation_watch::told_work(const runtime_state* rt,
                                                        HasFresh has_fresh) noexcept {
  if (!rt->inject.empty()) return {waits::shared, nullptr};
  for (const processor* p : rt->procs) {
    if (has_told_woken(p)) return {waits::woken, p};
    if (has_fresh(p)) return {waits::fresh, p};
  }
  return {};
}

// Something to look into.
bool conservation_watch::begin(runtime_state* rt, std::int64_t now) noexcept {
  sleeper_ = nullptr;
  if (!is_watchable(rt)) return false;
  processor* idle = nullptr;
  for (processor* p : rt->procs) {
    if (own_work(rt, p, now) != waits::nothing) sleeper_ = p;
    if (idle == nullptr && rt->idle.has(p->index)) idle = p;
  }
  own_ = sleeper_ != nullptr;
  if (!own_) {
    if (idle == nullptr || told_work(rt, has_told_fresh).what == waits::nothing) return false;
    sleeper_ = idle;
  }
  looks_ = sleeper_->looks.load(std::memory_order_relaxed);
  spinning_ = rt->spinning.load();
  searches_ = searches_ended(rt);
  since_ = now;
  reported_ = false;
  second_ = false;
  seen_ = own_ ? sight{own_work(rt, sleeper_, now), nullptr} : sight{};
  rt->heavy_barrier();  // the first look, as everybody knows it; the passes come after it
  begin_pass();
  if (goes_on(rt, now)) return true;
  sleeper_ = nullptr;
  return false;
}

// Work waits, and everything is as it was at the first look. In this order: each comes after what
// it vouches for.
bool conservation_watch::goes_on(runtime_state* rt, std::int64_t now) noexcept {
  const sight s =
      own_ ? sight{own_work(rt, sleeper_, now), nullptr} : told_work(rt, has_told_fresh);
  if (s.what == waits::nothing) return false;
  if (own_ && (s.what == waits::nobody) != (seen_.what == waits::nobody)) return false;
  if (!own_ && (rt->spinning.load() != spinning_ || searches_ended(rt) != searches_ ||
                (spinning_ != 0 && somebody_comes(rt)))) {
    return false;
  }
  if (s.what != waits::nobody && !rt->idle.has(sleeper_->index)) return false;
  if (sleeper_->looks.load(std::memory_order_relaxed) != looks_ || !is_watchable(rt)) return false;
  seen_ = s;
  return true;
}

// The sight that the second pass begins with.
bool conservation_watch::is_certain(runtime_state* rt, std::int64_t now) noexcept {
  rt->heavy_barrier();
  if (!own_ && told_work(rt, surely_has_told_fresh).what == waits::nothing) return false;
  return goes_on(rt, now);
}

void conservation_watch::begin_pass() noexcept {
  ++pass_;
  outside_done_ = false;
}

// Has everybody been seen to be done since the pass began? Acquire, or stronger: what he has done
// by then is seen as well.
bool conservation_watch::everybody_done(runtime_state* rt) noexcept {
  outside_done_ = outside_done_ || rt->external.load() == 0;
  bool all = outside_done_;
  for (machine* m = newest_machine(rt); m != nullptr; m = m->all_next) {
    if (m->in_rt.load(std::memory_order_acquire) == 0) m->seen_done = pass_;
    all = all && m->seen_done == pass_;
  }
  return all;
}

conservation_watch::verdict conservation_watch::judge(runtime_state* rt,
                                                      std::int64_t now) noexcept {
  if ((sleeper_ == nullptr || !goes_on(rt, now)) && !begin(rt, now)) return verdict::quiet;
  if (reported_) return verdict::quiet;
  if (everybody_done(rt)) {
    if (!second_ && is_certain(rt, now)) {
      second_ = true;
      begin_pass();
    } else if (second_ && now - since_ >= limit_ && goes_on(rt, now)) {
      reported_ = true;
      return verdict::lost;
    }
  }
  return verdict::in_doubt;
}

conservation_watch::verdict conservation_watch::look(runtime_state* rt, std::int64_t now) noexcept {
  const verdict v = judge(rt, now);
  if (v == verdict::in_doubt) {
    doubt_since_ = std::min(doubt_since_, now);
    if (now - doubt_since_ - limit_ < patience_ns) return v;
  }
  doubt_since_ = never;
  return v == verdict::lost ? v : verdict::quiet;
}

const char* conservation_watch::words_for(waits what) noexcept {
  switch (what) {
    case waits::messages:
      return "sleeps on fibers sent to it";
    case waits::requests:
      return "sleeps on I/O requests";
    case waits::timer:
      return "sleeps on a due timer";
    case waits::own_fibers:
      return "sleeps on fibers of its own";
    case waits::nobody:
      return "was woken, and nobody comes";
    case waits::shared:
      return "sleeps beside fibers in the shared queue";
    case waits::fresh:
      return "sleeps beside fibers that have not run";
    case waits::woken:
      return "sleeps beside woken fibers";
    case waits::nothing:
      break;
  }
  return "sleeps";
}

void conservation_watch::report(runtime_state* rt, std::int64_t now) noexcept {
  rt->lost_wake_ups.fetch_add(1, std::memory_order_relaxed);
  std::array<char, 64> where{};
  if (seen_.at != nullptr) {
    std::snprintf(where.data(), where.size(), " at P%d (ring %u, not run %u)", seen_.at->index,
                  seen_.at->queue.size(), seen_.at->fresh.size());
  }
  log_format(
      "weft: lost wake-up: P%d %s%s for %lld us; idle %d of %d, searching %d, shared queue %u",
      sleeper_->index, words_for(seen_.what), where.data(),
      static_cast<long long>((now - since_) / 1000), rt->idle.count(), rt->n_procs.load(),
      rt->spinning.load(), rt->inject.size());
  if (debug_option_int("conservefatal", 0) != 0) fatal("a wake-up was lost");
  if (own_ && seen_.what != waits::nobody) wake_processor(rt, sleeper_);
}

}  // namespace weft::inline v0::detail
