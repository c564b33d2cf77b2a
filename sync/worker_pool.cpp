// SPDX-License-Identifier: Apache-2.0
// Everything but `idle_timeout` and the like is guarded by `guard` (rank 2). A submit takes a place
// (`reserved`), builds its task outside the guard, and fills the place; so a task that is refused
// was never touched, and nothing is built under the lock.
//
// Invariants, when the guard is given back:
//   workers <= max;  idle workers are in `idle` (or on their way out of a wait that timed out)
//   queued tasks: no worker is idle and workers == max (or no memory was left for another)
//   queued + reserved <= queue + idle + (max - workers)        there is a place for each
//   a caller waits in `senders` only while the last is an equation
//
// A task is a fiber that is never started: its G holds the closure, the site and, for async, what
// the future waits for; a worker calls the closure on its own stack. `idle` is last in, first out,
// so that workers that are not needed time out.
//
// The pool may be destroyed when `finished()`: whoever makes that true wakes the drainers after its
// unlock, its last touch.
#include <weft/worker_pool.hpp>

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>

#include <weft/clock.hpp>
#include <weft/detail/relaxed.hpp>
#include "runtime/debug.hpp"
#include "runtime/ledger.hpp"
#include "sched/io.hpp"
#include "sched/runtime_state.hpp"
#include "sync/queue_wait.hpp"
#include "sync/stray_exception.hpp"

namespace weft::inline v0 {
namespace detail {
namespace {

/// A task that runs, or the worker between two; in the frame of whoever runs it. The timer reports
/// it.
struct runner : timer_node {
  worker_pool_impl* pool = nullptr;
  std::atomic<const void*> site{nullptr};  // null: it runs nothing; whoever reads it, acquires...
  relaxed<std::int64_t> since{0};          // ...this, which is of that task or of a later one
  runner* next = nullptr;                  // under the pool's guard
  runner* prev = nullptr;
};

}  // namespace

struct worker_pool_impl : worker_pool_base {
  worker_pool_impl(worker_pool_options&& o, const std::source_location& where)
      : options(std::move(o)), site(site_of(where)) {
    scope = with_cancel(background(), where);
  }

  worker_pool_options options;
  std::size_t max = 0;
  const void* const site;
  const int uncaught = std::uncaught_exceptions();
  std::atomic<std::uint64_t> rt_serial{0};

  mutable waitable guard;
  wait_queue senders;  // callers that wait for a place
  wait_queue idle;     // workers; waiter::slot gets the task
  wait_queue drainers;
  fiber_core* first = nullptr;  // the queue, by sched_next
  fiber_core* last = nullptr;
  runner* runners = nullptr;
  bool closed = false;
  std::size_t queued = 0;
  std::size_t reserved = 0;  // places that are not filled yet
  std::size_t workers = 0;
  std::size_t idle_workers = 0;
  std::size_t callers = 0;  // that run a task themselves, or are about to
  std::size_t reports = 0;  // fibers that call on_suspicious
  std::size_t endings = 0;  // of runtimes, after which all was forgotten
  worker_pool_stats figures;

  // Counted without the guard.
  std::atomic<std::uint64_t> done{0};
  std::atomic<std::uint64_t> failed{0};

  // --- with the guard held

  [[nodiscard]] bool has_room() const noexcept {
    const std::size_t free_workers = idle_workers + (max - std::min(max, workers));
    const std::size_t taken = queued + reserved;
    return taken < free_workers || taken - free_workers < options.queue;  // (any size will do)
  }
  [[nodiscard]] bool finished() const noexcept {
    return closed && queued == 0 && reserved == 0 && workers == 0 && callers == 0 && reports == 0;
  }
  void wake_drainers(wake_list& woken) noexcept {
    if (finished()) woken.add_all(drainers);
  }
  /// Places for those who wait for one.
  void grant(wake_list& woken) noexcept {
    while (!senders.empty() && has_room()) {
      waiter* w = senders.pop_claimed();
      if (w == nullptr) return;
      ++reserved;
      ++figures.submitted;
      woken.add(w);
    }
  }
  /// False: no worker is idle.
  bool give_to_idle(fiber_core* g, wake_list& woken) noexcept {
    waiter* w = idle.pop_claimed();
    if (w == nullptr) return false;
    --idle_workers;
    w->slot = g;
    woken.add(w);
    return true;
  }
  void push(fiber_core* g) noexcept {
    g->sched_next = nullptr;
    (last == nullptr ? first : last->sched_next) = g;
    last = g;
    ++queued;
  }
  fiber_core* pop() noexcept {
    fiber_core* g = first;
    if (g == nullptr) return nullptr;
    first = g->sched_next;
    if (first == nullptr) last = nullptr;
    --queued;
    return g;
  }
  void link(runner* r) noexcept {
    r->prev = nullptr;
    r->next = runners;
    if (runners != nullptr) runners->prev = r;
    runners = r;
  }
  void unlink(runner* r) noexcept {
    (r->prev != nullptr ? r->prev->next : runners) = r->next;
    if (r->next != nullptr) r->next->prev = r->prev;
  }
  /// The runtime has ended: of what was under way nothing will go on.
  [[nodiscard]] std::size_t forget_abandoned() noexcept {
    const std::size_t lost = queued + reserved + (workers - std::min(workers, idle_workers));
    ++endings;
    first = last = nullptr;
    runners = nullptr;
    queued = reserved = workers = idle_workers = callers = reports = 0;
    return lost;
  }

  // --- the runtime

  /// Whose fibers the workers are; null: there is no runtime.
  runtime_state* bind() noexcept;
  [[nodiscard]] bool is_bound_to(const runtime_state* now) const noexcept {
    return now != nullptr && rt.load(std::memory_order_acquire) == now &&
           rt_serial.load(std::memory_order_relaxed) == now->serial;
  }
  /// False: the runtime has ended, or there never was one.
  [[nodiscard]] bool runtime_is_there() const noexcept {
    const runtime_state* bound = rt.load(std::memory_order_acquire);
    return bound != nullptr && runtime_lives(bound, rt_serial.load(std::memory_order_relaxed));
  }

  // --- submitting

  result<bool> enter(cancel_node* node);
  void leave(bool here) noexcept;
  void place(fiber_core* g);
  void start_worker(fiber_core* g);
  void start_min_workers();
  void run_in_caller(fiber_core* g);  // may throw what on_exception throws

  // --- workers

  void work(fiber_core* g);
  fiber_core* next_task(runner& self) noexcept;
  fiber_core* wait_for_task(bool& timed_out) noexcept;
  void run(runner& self, fiber_core* g);
  void report_failure(const void* task_site, const std::exception_ptr& e);
  void report_suspicious(const void* task_site, std::int64_t since) noexcept;
  void call_on_suspicious(const running_task& task);
  static void fire(timer_node* t, std::int64_t now) noexcept;

  // --- the end

  void close() noexcept;
  void give_up_lost() noexcept;
  result<void> drain(cancel_node* node);
};

namespace {

worker_pool_impl& impl_of(worker_pool_base* base) noexcept {
  return *static_cast<worker_pool_impl*>(base);
}

/// A plain thread may be amid a submit or a task while the runtime ends and all is forgotten.
void count_down(std::size_t& n) noexcept {
  if (n != 0) --n;
}

void report_lost(std::size_t tasks) noexcept {
  log_format("weft: worker_pool: %zu tasks were lost at the end of their runtime", tasks);
}

running_task describe(const void* site, std::int64_t since, std::int64_t now) noexcept {
  const site_text text = describe_site(site);
  return {text.file, text.line, text.function, std::chrono::nanoseconds(now - since)};
}

/// The entry of a task that has begun: if its worker is abandoned, the closure stays as it is, like
/// that of a fiber that has begun (what is left of it may wait for fibers that are gone as well).
void begun(fiber_core* /*g*/, entry_op /*op*/) {}

}  // namespace

// --- the runtime

runtime_state* worker_pool_impl::bind() noexcept {
  runtime_state* now = current_runtime();
  if (is_bound_to(now)) [[likely]]
    return now;
  guard.lock.lock();
  runtime_state* bound = rt.load(std::memory_order_relaxed);
  if (bound != nullptr && runtime_lives(bound, rt_serial.load(std::memory_order_relaxed))) {
    guard.lock.unlock();
    return bound;  // another one than the caller's
  }
  std::size_t lost = 0;
  wake_list woken;
  if (now != nullptr) {
    if (bound != nullptr) {
      lost = forget_abandoned();
      grant(woken);  // plain threads may have waited since then
      wake_drainers(woken);
    }
    rt_serial.store(now->serial, std::memory_order_relaxed);
    rt.store(now, std::memory_order_release);
  }
  guard.lock.unlock();
  woken.ready();
  if (lost != 0) report_lost(lost);
  return now;
}

// --- submitting

result<bool> worker_pool_impl::enter(cancel_node* node) {
  wake_extras extras(node, never);
  if (auto e = extras.check()) return failure(e);
  if (bind() == nullptr) return failure(errc::no_runtime);
  guard.lock.lock();
  if (closed) {
    guard.lock.unlock();
    return failure(errc::closed);
  }
  if (senders.empty() && has_room()) {
    ++reserved;
    ++figures.submitted;
    guard.lock.unlock();
    return false;
  }
  switch (options.on_full) {
    case when_full::reject:
      ++figures.rejected;
      guard.lock.unlock();
      return failure(errc::queue_full);
    case when_full::caller_runs:
      ++callers;
      ++figures.submitted;
      ++figures.caller_ran;
      guard.lock.unlock();
      return true;
    case when_full::block:
      break;
  }
  waiter w;
  if (wait_in_queue(guard, senders, w, extras, wait_reason::semacquire, this)) {
    // ok: we have a place, so the pool is there. Else it was closed, and may be gone.
    if (!w.ok) return failure(errc::closed);
    return false;
  }
  guard.lock.unlock();
  return failure(extras.error());
}

void worker_pool_impl::leave(bool here) noexcept {
  wake_list woken;
  guard.lock.lock();
  if (here) {
    count_down(callers);
    --figures.caller_ran;
  } else {
    count_down(reserved);
  }
  --figures.submitted;
  grant(woken);
  wake_drainers(woken);
  guard.lock.unlock();
  woken.ready();
}

void worker_pool_impl::place(fiber_core* g) {
  wake_list woken;
  guard.lock.lock();
  count_down(reserved);
  if (give_to_idle(g, woken)) {
    guard.lock.unlock();
    woken.ready();
    return;
  }
  if (workers < max) {
    ++workers;
    figures.peak_workers = std::max(figures.peak_workers, workers);
    guard.lock.unlock();
    start_worker(g);
    return;
  }
  push(g);
  guard.lock.unlock();
}

/// `workers` counts it already. g: its first task, or null.
void worker_pool_impl::start_worker(fiber_core* g) {
  const fiber_options o{.name = options.name, .stack_size = options.stack_size};
  const bool plain = o.name.empty() && o.stack_size == 0;
  fiber_core* worker = nullptr;
  try {
    worker = fiber_make_in(
        rt.load(std::memory_order_acquire), [this, g] { work(g); }, site, plain ? nullptr : &o);
  } catch (...) {
    wake_list woken;
    guard.lock.lock();
    --workers;
    bool taken = g == nullptr || give_to_idle(g, woken);
    if (!taken && workers != 0) {
      push(g);  // one of them will see it
      taken = true;
    }
    if (!taken) --figures.submitted;
    grant(woken);
    wake_drainers(woken);
    guard.lock.unlock();
    woken.ready();
    if (taken) return;
    fiber_finish_unstarted(g);
    throw;
  }
  fiber_start(worker);
}

void worker_pool_impl::start_min_workers() {
  for (std::size_t i = 0; i < options.min_workers; ++i) {
    guard.lock.lock();
    const bool more = !closed && workers < options.min_workers;
    if (more) ++workers;
    figures.peak_workers = std::max(figures.peak_workers, workers);
    guard.lock.unlock();
    if (!more) return;
    start_worker(nullptr);
  }
}

void worker_pool_impl::run_in_caller(fiber_core* g) {
  struct scope_of_run {
    worker_pool_impl* pool;
    std::size_t endings = 0;
    runner self;
    explicit scope_of_run(worker_pool_impl* p) : pool(p) {
      self.pool = p;
      p->guard.lock.lock();
      endings = p->endings;
      p->link(&self);
      p->guard.lock.unlock();
    }
    ~scope_of_run() {
      wake_list woken;
      pool->guard.lock.lock();
      if (endings == pool->endings) {  // else it is in no list, and its neighbours are gone
        pool->unlink(&self);
        count_down(pool->callers);
      }
      pool->wake_drainers(woken);
      pool->guard.lock.unlock();
      woken.ready();
    }
  } s(this);
  run(s.self, g);
}

// --- workers

void worker_pool_impl::work(fiber_core* g) {
  runner self;
  self.pool = this;
  guard.lock.lock();
  link(&self);
  guard.lock.unlock();
  if (g == nullptr) g = next_task(self);
  for (; g != nullptr; g = next_task(self)) run(self, g);
  // (The pool may be gone.)
}

/// Null: the worker is to end; it is in no list any more.
fiber_core* worker_pool_impl::next_task(runner& self) noexcept {
  wake_list woken;
  bool timed_out = false;
  guard.lock.lock();
  fiber_core* g = pop();
  while (g == nullptr && !closed && !(timed_out && workers > options.min_workers)) {
    g = wait_for_task(timed_out);
    if (g != nullptr) return g;
    g = pop();
  }
  if (g != nullptr) {
    grant(woken);
  } else {
    // No room is lost or won: an idle worker less, and one more that may be started.
    unlink(&self);
    --workers;
    wake_drainers(woken);
  }
  guard.lock.unlock();
  woken.ready();
  return g;
}

/// Guard held; not when it returns a task. Null: look again, still in the section in which the
/// worker ceased to be idle, so that nobody sees a pool without room meanwhile.
fiber_core* worker_pool_impl::wait_for_task(bool& timed_out) noexcept {
  const std::int64_t deadline =
      workers > options.min_workers ? deadline_in(options.idle_timeout) : never;
  wake_extras extras(nullptr, deadline);
  wake_list woken;
  fiber_core* self = current_fiber();
  park_begin(self, wait_reason::cond_wait, this);
  waiter w;
  w.g = self;
  w.owner = &guard;
  w.multi = extras.needed();
  self->waiters = &w;
  idle.push_front(&w);
  ++idle_workers;
  grant(woken);  // an idle worker is room
  guard.lock.unlock();
  woken.ready();
  if (extras.needed()) extras.arm(self);
  park_wait(self);
  if (extras.needed()) extras.disarm();
  timed_out = extras.needed() && self->wake_param == extras.token();
  if (!timed_out && w.slot != nullptr) return static_cast<fiber_core*>(w.slot);
  guard.lock.lock();
  if (timed_out) {  // (else closed, and counted already)
    idle.remove(&w);
    --idle_workers;
  }
  return nullptr;
}

void worker_pool_impl::run(runner& self, fiber_core* g) {
  const void* task_site = g->site;
  const std::int64_t since = now_ns();
  const std::int64_t limit = options.suspicious_after.count();
  self.since = since;
  self.site.store(task_site, std::memory_order_release);  // pairs with running()
  if (limit > 0) {
    self.fire = &fire;
    static_cast<void>(timer_start(&self, deadline_after(limit)));
  }
  fiber_take_labels(current_fiber(), g);  // as if the submitter had started it
  std::exception_ptr thrown;
  const auto entry = std::exchange(g->entry, &begun);
  try {
    entry(g, entry_op::run);
  } catch (...) {
    thrown = std::current_exception();
  }
  if (g->entry != nullptr) g->entry = entry;  // there is a closure or result to be destroyed
  if (limit > 0) static_cast<void>(timer_stop(&self));
  self.site.store(nullptr, std::memory_order_relaxed);
  done.fetch_add(1, std::memory_order_relaxed);
  fiber_finish_unstarted(g);
  if (thrown) report_failure(task_site, thrown);
}

void worker_pool_impl::report_failure(const void* task_site, const std::exception_ptr& e) {
  failed.fetch_add(1, std::memory_order_relaxed);
  if (options.on_exception) {
    options.on_exception(e);
  } else {
    report_stray_exception("worker_pool", task_site, e);
  }
}

// --- suspicious tasks

/// Under the heap's lock: the user's function gets a fiber of its own.
void worker_pool_impl::fire(timer_node* t, std::int64_t /*now*/) noexcept {
  const auto* r = static_cast<const runner*>(t);
  r->pool->report_suspicious(r->site.load(std::memory_order_relaxed), r->since);
}

void worker_pool_impl::report_suspicious(const void* task_site, std::int64_t since) noexcept {
  guard.lock.lock();
  ++reports;
  ++figures.suspicious;
  guard.lock.unlock();
  try {
    fiber_start(fiber_make_in(
        rt.load(std::memory_order_acquire),
        [this, task_site, since] {
          call_on_suspicious(describe(task_site, since, now_ns()));
          wake_list woken;
          guard.lock.lock();
          --reports;
          wake_drainers(woken);
          guard.lock.unlock();
          woken.ready();
        },
        site, nullptr));
  } catch (...) {  // no memory for it; the task keeps the pool
    guard.lock.lock();
    --reports;
    guard.lock.unlock();
  }
}

void worker_pool_impl::call_on_suspicious(const running_task& task) {
  if (options.on_suspicious) {
    options.on_suspicious(task);
    return;
  }
  log_format("weft: worker_pool %.*s: a task of %s:%u has been running for %lld ms",
             static_cast<int>(options.name.size()), options.name.data(), task.file, task.line,
             static_cast<long long>(task.running_for.count() / 1'000'000));
}

// --- the end

void worker_pool_impl::close() noexcept {
  wake_list woken;
  guard.lock.lock();
  closed = true;
  while (waiter* w = senders.pop_claimed()) woken.add(w, false);
  while (waiter* w = idle.pop_claimed()) {
    --idle_workers;
    woken.add(w);  // without a task: it ends
  }
  wake_drainers(woken);
  guard.lock.unlock();
  woken.ready();
}

/// What was under way in a runtime that has ended will not end: nobody is to wait for it.
void worker_pool_impl::give_up_lost() noexcept {
  wake_list woken;
  guard.lock.lock();
  const std::size_t lost = runtime_is_there() ? 0 : forget_abandoned();
  wake_drainers(woken);
  guard.lock.unlock();
  woken.ready();
  if (lost != 0) report_lost(lost);
}

result<void> worker_pool_impl::drain(cancel_node* node) {
  close();
  give_up_lost();
  wake_extras extras(node, never);
  if (auto e = extras.check()) return failure(e);
  guard.lock.lock();
  if (finished()) {
    guard.lock.unlock();
    return {};
  }
  waiter w;
  if (wait_in_queue(guard, drainers, w, extras, wait_reason::wait_group, this)) return {};
  guard.lock.unlock();
  return failure(extras.error());
}

}  // namespace detail

using detail::impl_of;

worker_pool::worker_pool(worker_pool_options o, std::source_location where) {
  if (o.max_workers != 0 && o.min_workers > o.max_workers) {
    throw logic_error("weft::worker_pool: more min_workers than max_workers");
  }
  auto impl = std::make_unique<detail::worker_pool_impl>(std::move(o), where);
  const detail::runtime_state* rt = impl->bind();
  impl->max = impl->options.max_workers;
  if (impl->max == 0) {
    const int procs = rt != nullptr ? rt->n_procs.load() : detail::default_procs();
    impl->max = std::max(static_cast<std::size_t>(procs), impl->options.min_workers);
  }
  detail::worker_pool_impl* started = impl.get();
  base_ = impl.release();  // workers refer to it from here on
  if (rt != nullptr) started->start_min_workers();
}

worker_pool::~worker_pool() {
  detail::worker_pool_impl& p = impl_of(base_);
  if (std::uncaught_exceptions() > p.uncaught) cancel();
  static_cast<void>(p.drain(nullptr));
  delete &p;
}

result<bool> worker_pool::enter(detail::cancel_node* node) { return impl_of(base_).enter(node); }

void worker_pool::leave(bool here) noexcept { impl_of(base_).leave(here); }

void worker_pool::hand_in(detail::fiber_core* g, bool here) {
  if (here) {
    impl_of(base_).run_in_caller(g);
  } else {
    impl_of(base_).place(g);
  }
}

void worker_pool::close() noexcept { impl_of(base_).close(); }

void worker_pool::cancel(std::error_code cause) noexcept {
  base_->dropping.store(true, std::memory_order_relaxed);
  impl_of(base_).close();
  base_->scope.cancel(cause);
}

void worker_pool::drain() noexcept { static_cast<void>(impl_of(base_).drain(nullptr)); }

result<void> worker_pool::drain(const weft::context& ctx) {
  return impl_of(base_).drain(detail::node_of(ctx));
}

worker_pool_stats worker_pool::stats() const noexcept {
  const detail::worker_pool_impl& p = impl_of(base_);
  p.guard.lock.lock();
  worker_pool_stats s = p.figures;
  s.workers = p.workers;
  s.idle = p.idle_workers;
  s.queued = p.queued + p.reserved;
  for (const detail::waiter* w = p.senders.front(); w != nullptr; w = w->next) ++s.blocked;
  p.guard.lock.unlock();
  s.done = p.done.load(std::memory_order_relaxed);
  s.failed = p.failed.load(std::memory_order_relaxed);
  return s;
}

std::vector<running_task> worker_pool::running(std::chrono::nanoseconds for_at_least) const {
  struct seen {
    const void* site;
    std::int64_t since;
  };
  const detail::worker_pool_impl& p = impl_of(base_);
  std::vector<seen> all;
  for (std::size_t wanted = 16;; wanted *= 2) {
    all.reserve(wanted);  // not under the guard
    bool fits = true;
    p.guard.lock.lock();
    for (const detail::runner* r = p.runners; r != nullptr && fits; r = r->next) {
      fits = all.size() < all.capacity();
      const void* site = r->site.load(std::memory_order_acquire);  // before `since`: see run()
      if (fits && site != nullptr) all.push_back({site, r->since});
    }
    p.guard.lock.unlock();
    if (fits) break;
    all.clear();
  }
  std::vector<running_task> out;
  const std::int64_t now = detail::now_ns();
  for (const seen& s : all) {
    if (now - s.since >= for_at_least.count())
      out.push_back(detail::describe(s.site, s.since, now));
  }
  return out;
}

}  // namespace weft::inline v0
