// SPDX-License-Identifier: Apache-2.0
// "All fibers are asleep": found by the worker whose P is the last to go idle.
//
// It is certain that nothing inside can go on when every P is idle, no M runs user code without a
// P, no timer is armed, no I/O is in flight and nobody is injecting. Whether something *outside*
// could wake a fiber is not knowable; so it is fatal only when every thread of the process is
// weft's own (or waits inside weft::run) and there is no other runtime, else reported on request.
// The end of a thread or of another runtime is told to nobody: sysmon looks again as long as one is
// what keeps a sleeping runtime from being a deadlock.
#include <dirent.h>

#include <cstdlib>
#include <cstring>

#include "runtime/backtrace.hpp"
#include "runtime/debug.hpp"
#include "runtime/os.hpp"
#include "sched/runtime_state.hpp"

namespace weft::inline v0::detail {
namespace {

int count_threads() noexcept {
  DIR* dir = ::opendir("/proc/self/task");
  if (dir == nullptr) return -1;
  int n = 0;
  while (const dirent* entry = ::readdir(dir)) {
    if (entry->d_name[0] != '.') ++n;
  }
  ::closedir(dir);
#if WEFT_TSAN
  --n;  // the sanitizer's own background thread
#endif
  return n;
}

bool nothing_can_happen(const runtime_state* rt) noexcept {
  const int n = rt->n_procs.load();
  if (rt->mains.load() == 0 || rt->idle.count() != n || rt->detached.load() != 0 ||
      rt->n_procs.load() != n || !procs_settled(rt) || rt->stopping.load() ||
      rt->external.load() != 0 || rt->spinning.load() != 0 || !rt->inject.empty()) {
    return false;
  }
  for (const processor* p : rt->procs) {
    if (p->timers.size() != 0 || p->io->armed() != 0 || !p->mailbox.empty() ||
        p->has_io_requests.load() || p->has_queued() || p->runnext != nullptr) {
      return false;
    }
  }
  return true;
}

void print_all(runtime_state* rt) noexcept {
  struct context {
    runtime_state* rt;
    int printed;
  } c{rt, 0};
  fiber_visit(
      [](fiber_core* g, void* arg) {
        auto* ctx = static_cast<context*>(arg);
        const fiber_state s = g->state.load(std::memory_order_acquire);
        if (runtime_of(g) != ctx->rt || (s != fiber_state::waiting && s != fiber_state::runnable)) {
          return;
        }
        if (++ctx->printed > 1000) return;
        write_error("\n");
        print_fiber(g, false, true);
      },
      &c);
  if (c.printed > 1000) write_error("\n... and more\n");
}

}  // namespace

bool check_deadlock(runtime_state* rt) noexcept {
  if (!nothing_can_happen(rt) || rt->live_fibers() == 0) return false;
  const char* mode = debug_option("deadlock");
  const bool forced = mode != nullptr && std::strcmp(mode, "fatal") == 0;
  const bool report = mode != nullptr && std::strcmp(mode, "report") == 0;
  const bool all_ours = is_only_runtime(rt) && count_threads() == weft_threads.load();
  if (!all_ours && !forced && !report) return true;
  // Looked at once more after the slow part: a thread may have come and gone.
  if (!nothing_can_happen(rt)) return false;
  if (rt->deadlock_told.exchange(true)) return false;
  write_error("fatal error: all fibers are asleep - deadlock!\n");
  print_all(rt);
  if (!all_ours && !forced) return false;
  if (debug_option("abort") != nullptr) std::abort();
  ::_exit(2);
}

}  // namespace weft::inline v0::detail
