// SPDX-License-Identifier: Apache-2.0
// Beginning and end of a runtime.
//
// End, in order: cancel the root context; drain; `stopping` (every M leaves its fiber at that
// fiber's next parking call and ends); join the threads; unlink the waiter records of parked fibers
// from objects that live on; forget armed polls and timers; tell those who count fibers that are
// left, destroy closures that have not begun, free the timers that nobody else could; give stacks
// and Gs back. Only the first two steps run with workers; the rest is done by one thread.
#include "sched/runtime_state.hpp"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <system_error>

#include <weft/detail/random.hpp>
#include <weft/detail/spawn.hpp>
#include <weft/error.hpp>
#include "runtime/debug.hpp"
#include "runtime/os.hpp"
#include "runtime/signals.hpp"
#include "runtime/stack_watch.hpp"
#include "sched/conservation_watch.hpp"
#include "sched/fiber_extension.hpp"

#if WEFT_TSAN
extern "C" void __tsan_destroy_fiber(void* fiber);
#endif

namespace weft::inline v0::detail {

std::atomic<int> weft_threads{0};

namespace {

std::atomic<runtime_state*> the_default{nullptr};
std::atomic<int> holds_in_the_making{0};

spin_lock live_runtimes_lock;  // rank 4
runtime_state* live_runtimes = nullptr;

void enlist(runtime_state* rt) noexcept {
  static std::uint64_t serials = 0;  // guarded by the lock
  live_runtimes_lock.lock();
  rt->serial = ++serials;
  rt->next_live = live_runtimes;
  live_runtimes = rt;
  live_runtimes_lock.unlock();
}

void strike_off(const runtime_state* rt) noexcept {
  live_runtimes_lock.lock();
  runtime_state** link = &live_runtimes;
  while (*link != rt) link = &(*link)->next_live;
  *link = rt->next_live;
  live_runtimes_lock.unlock();
}

fiber_core* running_fiber_of_thread() noexcept {
  machine* m = this_machine();
  return m == nullptr || m->current == &m->g0 ? nullptr : m->current;
}

// 0: as many as the machine allows.
int chosen_procs(const options& o) {
  if (const char* text = std::getenv("WEFT_PROCS"); text != nullptr && *text != '\0') {
    char* end = nullptr;
    const long n = std::strtol(text, &end, 10);
    if (*end == '\0' && n >= 1 && n <= max_procs) return static_cast<int>(n);
    log_format("weft: WEFT_PROCS=%s ignored: a number from 1 to %d is wanted", text, max_procs);
  }
  if (o.procs < 0 || o.procs > max_procs) {
    throw std::system_error(make_error_code(errc::invalid_argument), "weft::options::procs");
  }
  return o.procs;
}

std::size_t chosen_stack_size(const options& o) noexcept {
  if (o.stack_size != 0) return o.stack_size;
#if WEFT_ASAN || WEFT_TSAN || !defined(__OPTIMIZE__)
  return 256U << 10;  // instrumented and unoptimised frames are several times larger
#else
  return 64U << 10;
#endif
}

void set_debug_modes(runtime_state* rt) {
  rt->force_migrate = debug_switch("migrate");
  rt->notes_told = conservation_limit_ns() > 0;
  rt->wakes_oddly = rt->force_migrate || rt->notes_told;
  rt->randomise = debug_switch("random");
  rt->spin_wanted = debug_option_int("spin", 1) != 0;
  if (rt->n_procs.load() > rt->cores || !membarrier_available) rt->use_fences();
}

void wake_everybody(runtime_state* rt) noexcept {
  for (processor* p : rt->procs) {
    p->attention.store(true, std::memory_order_relaxed);  // there is no sysmon any more to do it
    p->io->wake();
  }
  wake_pool_for_stop(rt);
  sysmon_wake(rt);
}

// Waits for the workers to leave user code. A stuck one is reported after a second, and ends the
// process after stop_wait.
void wait_for_machines(runtime_state* rt) noexcept {
  const std::int64_t start = now_ns();
  const std::int64_t limit = rt->opts.stop_wait.count();
  bool reported = false;
  for (machine* m = rt->all_machines; m != nullptr; m = m->all_next) {
    for (;;) {
      timespec ts{};
      ::clock_gettime(CLOCK_REALTIME, &ts);
      ts.tv_nsec += 20'000'000;
      if (ts.tv_nsec >= 1'000'000'000) {
        ts.tv_nsec -= 1'000'000'000;
        ++ts.tv_sec;
      }
      if (::pthread_timedjoin_np(m->thread, nullptr, &ts) == 0) {
        m->thread = {};
        break;
      }
      wake_everybody(rt);
      const std::int64_t waited = now_ns() - start;
      if (!reported && waited > 1'000'000'000) {
        reported = true;
        log_format("weft: stop: still waiting for a fiber in user code or a blocking call");
      }
      if (limit > 0 && waited > limit) {
        write_error("fatal error: weft: a fiber did not stop within options.stop_wait\n");
        ::_exit(2);
      }
    }
  }
}

void free_machines(runtime_state* rt) noexcept {
  while (machine* m = rt->all_machines) {
    rt->all_machines = m->all_next;
    weft_threads.fetch_sub(1);
    delete m;
  }
}

// The records of a fiber that will not run again leave the objects they wait on. True: a plain
// thread has popped one, or claimed the fiber, and is about to call ready().
bool unlink_waiters(fiber_core* g) noexcept {
  bool popped = false;
  bool several = false;
  for (waiter* w = g->waiters; w != nullptr; w = w->sibling) {
    if (w->owner == nullptr) continue;  // the object went first
    several |= w->multi;
    bool linked = w->queue.look() != nullptr;
    if (linked) {  // (else the owner may be gone: whoever popped it has let go of it)
      w->owner->lock.lock();
      linked = w->queue != nullptr;
      if (linked) w->queue->remove(w);
      w->owner->lock.unlock();
    }
    popped |= !linked;
  }
  std::uint32_t unclaimed = 0;
  return several ? !g->claim.compare_exchange_strong(unclaimed, 1) : popped;
}

// The same for a fiber that joins one of another runtime, which goes on.
bool unlink_joiner(fiber_core* g) noexcept {
  if (g->reason != wait_reason::join) return false;
  auto* target = const_cast<fiber_core*>(static_cast<const fiber_core*>(g->wait_obj));
  if (target->rt == g->rt || fiber_has_ended(target)) return false;
  waiter* w = target->join.load(std::memory_order_acquire);
  return w != nullptr && (w->g != g || !fiber_clear_joiner(target, w));
}

// A waker on its way touches the fiber and its runtime until ready() is over: `external` counts it
// from before the fiber's state changes. The bound is for the unforeseen: better a leak than a
// process that does not end.
void wait_for_waker(const fiber_core* g) noexcept {
  const std::int64_t end = now_ns() + 10'000'000'000;
  while (g->state.load(std::memory_order_acquire) == fiber_state::waiting && now_ns() < end) {
    ::sched_yield();
  }
}

struct abandonment {
  runtime_state* rt;
  std::uint64_t count;
};

bool is_left(const abandonment* a, fiber_core* g) noexcept {
  return g->state.load(std::memory_order_acquire) != fiber_state::dead && runtime_of(g) == a->rt;
}

void abandon_step(fiber_core* g, void* context) {
  auto* a = static_cast<abandonment*>(context);
  if (!is_left(a, g)) return;
  const fiber_state state = g->state.load(std::memory_order_acquire);
  if (state == fiber_state::waiting) {
    if (unlink_waiters(g) || unlink_joiner(g)) wait_for_waker(g);
  } else if (state == fiber_state::runnable && g->stack_lo != nullptr) {
    static_cast<void>(unlink_waiters(g));  // woken by one, still linked elsewhere
  }
  ++a->count;
}

// Whoever counts it does not wait for it any more. First of all those that have begun: a counted
// closure that has not is destroyed by this, and may own the group that waits for the others.
template <bool Begun>
void cut_off_step(fiber_core* g, void* context) {
  if (!is_left(static_cast<abandonment*>(context), g)) return;
  if ((g->stack_lo != nullptr) == Begun && g->entry != nullptr) g->entry(g, entry_op::abandon);
}

// A closure that has not begun goes while all frames that it may know are still there.
void destroy_unbegun_step(fiber_core* g, void* context) {
  if (!is_left(static_cast<abandonment*>(context), g)) return;
  if (g->stack_lo != nullptr || g->entry == nullptr) return;
  if (g->refs.load(std::memory_order_acquire) != 1) return;  // it goes with the last handle
  g->entry(g, entry_op::destroy);
  g->entry = nullptr;
}

void reclaim_step(fiber_core* g, void* context) {
  if (!is_left(static_cast<abandonment*>(context), g)) return;
  g->state.store(fiber_state::dead, std::memory_order_relaxed);
  if (g->stack_lo != nullptr) {
    if ((g->flags & fiber_is_watched) != 0) {
      look_at_stack(g->site, g->stack_class, g->stack_lo, false);
    }
    stack_release(g->stack_class, g->stack_lo);
#if WEFT_TSAN
    __tsan_destroy_fiber(g->tsan_fiber);
#endif
    g->stack_lo = nullptr;
    g->entry = nullptr;  // it has run: what is left of its frames and closure is not destroyed
  }
  // Names and labels are ours; values belong to the user, and their destructors do not run.
  if (g->ext != nullptr && g->ext->locals.empty()) delete g->ext;
  g->ext = nullptr;
  g->flags &= static_cast<std::uint8_t>(~fiber_has_extension);
  fiber_unref(g);
}

// Requests that no worker will carry out any more: their records may be reused.
void drop_io_requests(processor* p) noexcept {
  p->io_lock.lock();
  io_request* r = p->io_requests;
  p->io_requests = nullptr;
  p->io_lock.unlock();
  while (r != nullptr) {
    io_request* next = r->next;
    r->queued.store(false, std::memory_order_release);
    r = next;
  }
}

void let_go(self_held_timer* t) noexcept {
  while (t != nullptr) {
    self_held_timer* next = t->next_given_up;
    t->let_go(t);
    t = next;
  }
}

void abandon_all(runtime_state* rt) {
  abandonment a{rt, 0};
  fiber_visit(&abandon_step, &a);
  while (rt->external.load() != 0) cpu_relax();
  for (processor* p : rt->procs) drop_io_requests(p);
  poll_forget_runtime(rt);
  self_held_timer* given_up = nullptr;
  for (processor* p : rt->procs) p->timers.clear(&given_up);
  // Queues hold some of them; they are emptied before the Gs go back.
  for (processor* p : rt->procs) {
    while (p->queue.pop() != nullptr || p->fresh.pop() != nullptr) {
    }
    p->runnext = nullptr;
    static_cast<void>(p->mailbox.pop(~0U));
  }
  static_cast<void>(rt->inject.pop(~0U));
  // From here on nothing of it runs. What closures own may wait for its fibers, and must not: so
  // whoever counts those hears first that they are gone.
  strike_off(rt);
  if (a.count > 0) {
    fiber_visit(&cut_off_step<true>, &a);
    fiber_visit(&cut_off_step<false>, &a);
    fiber_visit(&destroy_unbegun_step, &a);
  }
  let_go(given_up);
  fiber_visit(&reclaim_step, &a);
  if (a.count > 0 && debug_option("leaks") != nullptr) {
    log_format("weft: %llu fibers abandoned at the end of the runtime",
               static_cast<unsigned long long>(a.count));
  }
}

void cancel_root(runtime_state* rt) {
  rt->root.lock.lock();
  void* context = rt->root.context;
  auto* cancel = rt->root.cancel;
  rt->root.lock.unlock();
  if (context != nullptr && cancel != nullptr) cancel(context);
}

}  // namespace

root_slot* current_root_slot() noexcept {
  runtime_state* rt = current_runtime();
  return rt == nullptr ? nullptr : &rt->root;
}

namespace {

// What live_fibers() falls back on where nothing has been counted.
[[maybe_unused]] std::uint64_t fibers_alive_in(const runtime_state* rt) {
  struct context {
    const runtime_state* rt;
    std::uint64_t alive;
  } c{rt, 0};
  fiber_visit(
      [](fiber_core* g, void* arg) {
        auto* ctx = static_cast<context*>(arg);
        const fiber_state s = g->state.load(std::memory_order_acquire);
        if (s != fiber_state::dead && runtime_of(g) == ctx->rt) ++ctx->alive;
      },
      &c);
  return c.alive;
}

}  // namespace

std::uint64_t runtime_state::live_fibers() const noexcept {
  if constexpr (WEFT_ACCOUNTS == 0) return fibers_alive_in(this);
  std::uint64_t started = spawned_elsewhere.load(std::memory_order_relaxed);
  std::uint64_t ended = finished_elsewhere.load(std::memory_order_relaxed);
  for (const processor* p : procs) {
    started += p->spawned.load(std::memory_order_relaxed);
    ended += p->finished.load(std::memory_order_relaxed);
  }
  return started - ended;
}

bool is_only_runtime(const runtime_state* rt) noexcept {
  live_runtimes_lock.lock();
  const bool only = live_runtimes == rt && rt->next_live == nullptr;
  live_runtimes_lock.unlock();
  return only;
}

bool runtime_lives(const runtime_state* rt, std::uint64_t serial) noexcept {
  live_runtimes_lock.lock();
  const runtime_state* found = live_runtimes;
  while (found != nullptr && (found != rt || found->serial != serial)) found = found->next_live;
  live_runtimes_lock.unlock();
  return found != nullptr;
}

runtime_mark current_runtime_mark() noexcept {
  const machine* m = this_machine();
  if (m == nullptr) return {};
  return {m->rt, m->rt->serial};
}

bool has_ended(const runtime_mark& mark) noexcept {
  return mark.rt != nullptr && !runtime_lives(mark.rt, mark.serial);
}

runtime_state* default_runtime() noexcept { return the_default.load(std::memory_order_acquire); }

bool set_default_runtime(runtime_state* rt) noexcept {
  runtime_state* none = nullptr;
  return the_default.compare_exchange_strong(none, rt, std::memory_order_acq_rel);
}

void clear_default_runtime(runtime_state* rt) noexcept {
  runtime_state* expected = rt;
  the_default.compare_exchange_strong(expected, nullptr, std::memory_order_acq_rel);
}

// A thread that has read the default runtime and not yet counted itself there is counted here:
// runtime_stop waits for it after the default is gone.
runtime_hold::runtime_hold() noexcept {
  holds_in_the_making.fetch_add(1);
  rt_ = current_runtime();
  if (rt_ != nullptr) rt_->external.fetch_add(1);
  holds_in_the_making.fetch_sub(1);
}

runtime_hold::~runtime_hold() {
  if (rt_ != nullptr) rt_->external.fetch_sub(1);
}

std::unique_ptr<runtime_state> runtime_start(const options& o) {
  process_init();
  stack_guard_report();
  running_fiber = &running_fiber_of_thread;
  auto rt = std::make_unique<runtime_state>(o);
  const int chosen = chosen_procs(o);
  const int cores = default_procs();
  const int n = chosen != 0 ? chosen : cores;
  rt->opts.stack_size = chosen_stack_size(o);
  rt->stack_class = static_cast<std::uint8_t>(stack_class_for(rt->opts.stack_size));
  rt->cores = cores;
  rt->n_procs = n;
  rt->wish = chosen != 0 ? -n : n;
  rt->idle.set_procs(n);
  rt->coarse_now.store(now_ns());
  set_debug_modes(rt.get());
  try {
    for (int i = 0; i < n; ++i) rt->procs.add(make_processor(rt.get(), i));
    rt->procs.front()->alone = n == 1;
    // Every P begins idle without a sleeper: its first waker starts a thread for it.
    for (processor* p : rt->procs) {
      p->owner.store(owner_idle);
      rt->idle.put(p->index);
    }
    sysmon_start(rt.get());
  } catch (...) {
    for (processor* p : rt->procs) return_processor(p);
    throw;
  }
  enlist(rt.get());
  return rt;
}

std::error_code wait_until_empty(runtime_state* rt, cancel_node* node) noexcept {
  std::int64_t pause = 50'000;
  while (rt->live_fibers() != 0) {
    if (node != nullptr && node->done()) return node->err;
    timespec ts{0, pause};
    ::nanosleep(&ts, nullptr);
    if (pause < 2'000'000) pause *= 2;
  }
  return {};
}

namespace {

void drain(runtime_state* rt) noexcept {
  const std::int64_t end = deadline_after(rt->opts.drain.count());
  std::int64_t pause = 20'000;
  while (rt->live_fibers() != 0 && now_ns() < end) {
    timespec ts{0, pause};
    ::nanosleep(&ts, nullptr);
    if (pause < 1'000'000) pause *= 2;
  }
}

}  // namespace

void runtime_stop(std::unique_ptr<runtime_state> rt) {
  cancel_root(rt.get());
  if (rt->opts.drain.count() > 0) drain(rt.get());
  // After machines_lock no M is created any more (start_machine looks at `stopping` under it).
  rt->machines_lock.lock();
  rt->stopping.store(true);
  rt->machines_lock.unlock();
  wake_everybody(rt.get());
  sysmon_stop(rt.get());  // first: it looks at Ms
  wait_for_machines(rt.get());
  free_machines(rt.get());
  clear_default_runtime(rt.get());
  while (holds_in_the_making.load() != 0) cpu_relax();
  abandon_all(rt.get());
  if (rt->root.context != nullptr && rt->root.destroy != nullptr) {
    rt->root.destroy(rt->root.context);
  }
  for (processor* p : rt->procs) return_processor(p);
  stack_guard_report();  // while the stacks that it counts are there
  stack_pool_shrink();
  fiber_pool_shrink();
  log_stack_use();
}

}  // namespace weft::inline v0::detail
