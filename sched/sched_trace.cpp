// SPDX-License-Identifier: Apache-2.0
#include "sched/sched_trace.hpp"

#include <algorithm>
#include <string>

#include "runtime/backtrace.hpp"
#include "runtime/debug.hpp"
#include "sched/runtime_state.hpp"

namespace weft::inline v0::detail {
namespace {

constexpr std::int64_t ms = 1'000'000;

// Go's numbers.
enum class p_status { idle = 0, running = 1, syscall = 2 };

p_status status_of(const processor* p) noexcept {
  const std::uint64_t owner = p->owner.load(std::memory_order_relaxed);
  if (owner <= owner_flags) return p_status::idle;
  return (owner & owner_blocking) != 0 ? p_status::syscall : p_status::running;
}

std::size_t queued(const processor* p) noexcept {
  return p->queue.size() + p->fresh.size() + (p->runnext != nullptr ? 1U : 0U);
}

int idle_threads(const runtime_state* rt) noexcept {
  int busy = rt->detached.load(std::memory_order_relaxed);
  for (const processor* p : rt->procs) busy += status_of(p) != p_status::idle ? 1 : 0;
  return std::max(0, static_cast<int>(rt->machine_count.load(std::memory_order_relaxed)) - busy);
}

void print_processors(const runtime_state* rt) noexcept {
  for (const processor* p : rt->procs) {
    if (p->retired.load(std::memory_order_relaxed)) continue;
    const machine* m = p->running_on.load(std::memory_order_relaxed);
    const p_status status = status_of(p);
    log_format(
        "  P%d: status=%d schedtick=%u syscalltick=0 m=%d runqsize=%zu timerslen=%zu "
        "polls=%u steals=%llu",
        p->index, static_cast<int>(status), p->ticks(),
        status == p_status::idle || m == nullptr ? -1 : static_cast<int>(m->id), queued(p),
        p->timers.size(), p->io->armed(),
        static_cast<unsigned long long>(p->steals.load(std::memory_order_relaxed)));
  }
}

// The first hundred; a dump is the tool for more.
void print_fibers() noexcept {
  int left = 100;
  fiber_visit(
      [](fiber_core* g, void* context) {
        const fiber_state s = g->state.load(std::memory_order_acquire);
        if (s == fiber_state::dead || --*static_cast<int*>(context) < 0) return;
        log_format("  G%llu: status=%s", static_cast<unsigned long long>(g->id), to_string(s));
      },
      &left);
}

}  // namespace

sched_trace::sched_trace() noexcept : due_(never) {
  period_ = debug_option_int("schedtrace", 0) * ms;
  if (period_ <= 0) return;
  detailed_ = debug_option_int("scheddetail", 0) != 0;
  start_ = now_ns();
  due_ = start_ + period_;
}

void sched_trace::look(const runtime_state* rt, std::int64_t now) noexcept {
  if (now < due_) return;
  due_ = now + period_;
  std::string queues;
  try {
    if (!detailed_) {
      for (const processor* p : rt->procs) {
        if (p->retired.load(std::memory_order_relaxed)) continue;
        queues += (queues.empty() ? " [" : " ") + std::to_string(queued(p));
      }
      queues += ']';
    }
  } catch (...) {
    queues.clear();  // no memory: the line goes without them
  }
  const int spinning = rt->spinning.load(std::memory_order_relaxed);
  log_format(
      "SCHED %lldms: gomaxprocs=%d idleprocs=%d threads=%u spinningthreads=%d "
      "needspinning=0 idlethreads=%d runqueue=%u%s",
      static_cast<long long>((now - start_) / ms), rt->n_procs.load(), rt->idle.count(),
      rt->machine_count.load(std::memory_order_relaxed) + 1, spinning, idle_threads(rt),
      rt->inject.size(), queues.c_str());
  if (!detailed_) return;
  print_processors(rt);
  print_fibers();
}

}  // namespace weft::inline v0::detail
