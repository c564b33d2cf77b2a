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

}  // namespace

runtime_stats stats_of(const runtime_state* rt) {
  runtime_stats s;
  s.live.channels = ledger_live(account_kind::channel);
  s.live.timers = ledger_live(account_kind::timer);
  s.live.tickers = ledger_live(account_kind::ticker);
  s.live.contexts = ledger_live(account_kind::context);
  s.live.connections = ledger_live(account_kind::connection);
  s.live.pool_objects = ledger_live(account_kind::pool_object);
  const stack_stats stacks = stack_pool_stats();
  s.stacks = stacks.stacks;
  s.stack_bytes_mapped = stacks.mapped_bytes;
  s.stacks_unguarded = stacks.unguarded;
  s.stack_guard = to_string(stacks.guard);
  if (rt == nullptr) return s;
  s.live.fibers = static_cast<std::int64_t>(rt->live_fibers());
  count_states(rt, s);
  s.procs = rt->n_procs.load();
  s.idle_procs = rt->idle.count();
  s.detached = rt->detached.load();
  s.handoffs = rt->handoffs.load();
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
  return os << "live:    " << s.live << "\nfibers:  runnable " << s.runnable << ", running "
            << s.running << ", waiting " << s.waiting << ", ever started " << s.spawned
            << "\nsched:   procs " << s.procs << " (idle " << s.idle_procs << "), threads "
            << s.threads << ", detached " << s.detached << ", steals " << s.steals << ", handoffs "
            << s.handoffs << "\nwaiting: timers " << s.armed_timers << ", polls " << s.armed_polls
            << " (" << s.netpoll << ")\nstacks:  " << s.stacks << " carved, "
            << (s.stack_bytes_mapped >> 20) << " MiB of address space, guard by " << s.stack_guard
            << ", unguarded " << s.stacks_unguarded << '\n';
}

}  // namespace weft::inline v0
