// SPDX-License-Identifier: Apache-2.0
#include <weft/stats.hpp>

#include <ostream>

#include "runtime/ledger.hpp"
#include "runtime/stack_pool.hpp"
#include "sched/runtime_state.hpp"

namespace weft::inline v0 {
namespace detail {
namespace {

void count_states(const runtime_state* rt, runtime_stats& s) {
  struct context {
    const runtime_state* rt;
    runtime_stats* s;
  } c{rt, &s};
  fiber_visit(
      [](fiber_core* g, void* arg) {
        auto* ctx = static_cast<context*>(arg);
        const fiber_state state = g->state.load(std::memory_order_acquire);
        if (state == fiber_state::dead) return;
        switch (state) {
          case fiber_state::fresh:
          case fiber_state::runnable:
            ++ctx->s->runnable;
            break;
          case fiber_state::running:
            ++ctx->s->running;
            break;
          default:
            ++ctx->s->waiting;
            break;
        }
      },
      &c);
}

void count_stacks(const runtime_state* rt, runtime_stats& s) {
  const stack_stats pool = stack_pool_stats();
  s.stacks = pool.stacks;
  s.stacks_most = pool.most_out;
  s.stack_bytes_mapped = pool.mapped_bytes;
  s.stack_bytes_resident = pool.resident_bytes;
  s.stacks_unguarded = pool.unguarded;
  s.stack_guard = to_string(pool.guard);
  for (std::size_t c = 0; c < stack_classes; ++c) {
    stack_class_stats& of_class = s.stacks_by_class[c];
    of_class = {stack_class_asked[c], pool.classes[c].carved, pool.classes[c].in_depot};
    if (rt != nullptr) {
      for (const processor* p : rt->procs) of_class.idle += p->stacks.size(static_cast<int>(c));
    }
    s.stacks_idle += of_class.idle;
  }
}

void print_stacks(std::ostream& os, const runtime_stats& s) {
  os << "stacks:  " << s.stacks << " carved, " << s.stacks_idle << " idle, at most "
     << s.stacks_most << " in use";
  for (const stack_class_stats& c : s.stacks_by_class) {
    if (c.carved == 0) continue;
    os << ", " << c.carved << " (" << c.idle << " idle) of " << c.stack_size / 1024 << " KiB";
  }
  os << "; " << (s.stack_bytes_resident >> 10) << " KiB in memory of "
     << (s.stack_bytes_mapped >> 20) << " MiB of address space, guard by " << s.stack_guard
     << ", unguarded " << s.stacks_unguarded << '\n';
}

}  // namespace

runtime_stats stats_of(const runtime_state* rt) {
  runtime_stats s;
  s.live.channels = ledger_live(account_kind::channel);
  s.live.timers = ledger_live(account_kind::timer);
  s.live.tickers = ledger_live(account_kind::ticker);
  s.live.contexts = ledger_live(account_kind::context);
  s.live.connections = ledger_live(account_kind::connection);
  s.live.pool_objects = ledger_live(account_kind::pool_object);
  count_stacks(rt, s);
  if (rt == nullptr) return s;
  s.live.fibers = static_cast<std::int64_t>(rt->live_fibers());
  count_states(rt, s);
  s.procs = rt->n_procs.load();
  s.idle_procs = rt->idle.count();
  s.detached = rt->detached.load();
  s.handoffs = rt->handoffs.load();
  s.lost_wake_ups = rt->lost_wake_ups.load();
  s.threads = static_cast<int>(rt->machine_count.load()) + 1;
  s.spawned = rt->spawned_elsewhere.load();
  for (const processor* p : rt->procs) {
    s.spawned += p->spawned.load(std::memory_order_relaxed);
    s.steals += p->steals.load(std::memory_order_relaxed);
    s.armed_timers += static_cast<std::int64_t>(p->timers.size());
    s.armed_polls += p->io->armed();
  }
  s.netpoll = rt->procs.front()->io->name();
  return s;
}

}  // namespace detail

runtime_stats stats() { return detail::stats_of(detail::current_runtime()); }

std::int64_t num_fibers() {
  const detail::runtime_state* rt = detail::current_runtime();
  return rt == nullptr ? 0 : static_cast<std::int64_t>(rt->live_fibers());
}

std::ostream& operator<<(std::ostream& os, const accounts& a) {
  return os << "fibers " << a.fibers << ", channels " << a.channels << ", timers " << a.timers
            << ", tickers " << a.tickers << ", contexts " << a.contexts << ", connections "
            << a.connections << ", pool objects " << a.pool_objects;
}

std::ostream& operator<<(std::ostream& os, const runtime_stats& s) {
  os << "live:    " << s.live << "\nfibers:  runnable " << s.runnable << ", running " << s.running
     << ", waiting " << s.waiting << ", ever started " << s.spawned << "\nsched:   procs "
     << s.procs << " (idle " << s.idle_procs << "), threads " << s.threads << ", detached "
     << s.detached << ", steals " << s.steals << ", handoffs " << s.handoffs;
  if (s.lost_wake_ups != 0) os << ", lost wake-ups " << s.lost_wake_ups;
  os << "\nwaiting: timers " << s.armed_timers << ", polls " << s.armed_polls << " (" << s.netpoll
     << ")\n";
  detail::print_stacks(os, s);
  return os;
}

}  // namespace weft::inline v0
