// SPDX-License-Identifier: Apache-2.0
// The user's side of fibers and runtimes: run, join, blocking, labels, fiber-local values.
#include <weft/run.hpp>

#include <algorithm>

#include <weft/detail/runtime_hooks.hpp>
#include "runtime/os.hpp"
#include "sched/fiber_extension.hpp"
#include "sched/runtime_state.hpp"
#include "sched/thread_fiber.hpp"

namespace weft::inline v0 {
namespace detail {
namespace {

const label_set* labels_of(const fiber_core* g) noexcept {
  return g->ext == nullptr ? nullptr : g->ext->labels.get();
}

}  // namespace

runtime_state* run_begin(const options& o) {
  auto rt = runtime_start(o);
  if (!set_default_runtime(rt.get())) {
    runtime_stop(std::move(rt));
    throw std::system_error(make_error_code(errc::already_running), "weft::run");
  }
  rt->is_default = true;
  return rt.release();
}

void run_main(runtime_state* rt, fiber_core* g, main_outcome* outcome) noexcept {
  rt->external.fetch_add(1);  // until g can be seen: no deadlock before that
  rt->mains.fetch_add(1);
  weft_threads.fetch_add(1);  // this thread waits for the runtime: it cannot wake anybody itself
  fiber_start(g);
  rt->external.fetch_sub(1);
  while (outcome->done.load(std::memory_order_acquire) == 0) {
    os::futex_wait(&outcome->done, 0);
  }
}

void run_end(runtime_state* rt) { runtime_stop(std::unique_ptr<runtime_state>(rt)); }

void signal_main_done(main_outcome* outcome) noexcept {
  // From here on fibers that sleep for ever are leftovers and no deadlock.
  this_machine()->rt->mains.fetch_sub(1);
  weft_threads.fetch_sub(1);  // the caller of run can wake others, from now on and not when it runs
  std::atomic<std::uint32_t>* word = &outcome->done;
  word->store(1, std::memory_order_release);  // the outcome's frame may be gone after this
  os::futex_wake(word);
}

bool fiber_ended(const fiber_core* g) noexcept { return fiber_has_ended(g); }

namespace {

// Why a joiner was refused.
void check_sole_joiner(const fiber_core* target) {
  if (fiber_has_ended(target)) return;
  throw logic_error("weft: two at once wait for the end of one fiber");
}

}  // namespace

void fiber_join(fiber_core* target) {
  if (fiber_has_ended(target)) return;
  fiber_core* self = current_fiber();
  park_begin(self, wait_reason::join, target);
  waiter w;
  w.g = self;
  if (!fiber_set_joiner(target, &w)) {
    park_abort(self);
    check_sole_joiner(target);
    return;
  }
  park_wait(self);
}

std::error_code fiber_join_ctx(fiber_core* target, cancel_node* node) {
  wake_extras extras(node, never);
  if (auto e = extras.check()) return e;  // before anything else: also of a fiber that has ended
  if (fiber_has_ended(target)) return {};
  fiber_core* self = current_fiber();
  park_begin(self, wait_reason::join, target);
  waiter w;
  w.g = self;
  w.multi = extras.needed();
  if (!fiber_set_joiner(target, &w)) {
    park_abort(self);
    check_sole_joiner(target);
    return {};
  }
  extras.arm(self);
  park_wait(self);
  extras.disarm();
  if (self->wake_param != extras.token()) return {};
  if (fiber_clear_joiner(target, &w)) return extras.error();
  // The fiber ended at the same moment and still has our record in hand.
  while (!std::atomic_ref<bool>(w.ok).load(std::memory_order_acquire)) cpu_relax();
  return {};
}

void* fiber_local_get(const void* key) noexcept {
  const fiber_core* g = current_fiber();
  if (g->ext == nullptr) return nullptr;
  for (const auto& v : g->ext->locals) {
    if (v.key == key) return v.value;
  }
  return nullptr;
}

void fiber_local_set(const void* key, void* value, void (*destroy)(void*)) {
  extension_of(current_fiber()).locals.push_back({key, value, destroy});
}

blocking_scope::blocking_scope() noexcept {
  machine* m = this_machine();
  if (m == nullptr || m->current == &m->g0) return;
  checkpoint();
  processor* p = rt_enter(m);
  if (p != nullptr) {
    detach_machine(m);
    if (p->has_queued() || p->runnext != nullptr || !m->rt->inject.empty()) {
      // Work waits: hand the P off at once.
      p->owner.store(owner_claimed);
      m->p = nullptr;
      m->rt->handoffs.fetch_add(1, std::memory_order_relaxed);
      start_machine(m->rt, p, false);
    } else {
      // Nothing to do: whoever needs the P first takes it by CAS, perhaps ourselves.
      handoff_announce(p->owner, m->tag);
    }
  }
  m->current->reason = wait_reason::blocking;
  m->announced.store(true, std::memory_order_relaxed);
  rt_exit(m);
}

blocking_scope::~blocking_scope() {
  machine* m = this_machine();
  if (m == nullptr || m->current == &m->g0) return;
  fiber_core* g = m->current;
  g->reason = wait_reason::none;
  m->announced.store(false, std::memory_order_relaxed);
  if (m->rt->stopping.load(std::memory_order_acquire)) {
    checkpoint();  // does not return
  }
  // rt_enter ends an announced section by CAS, or finds the P gone.
  processor* p = rt_enter(m);
  if (p == nullptr && acquire_idle_processor(m)) p = m->p;
  if (p != nullptr) {
    reattach_machine(m);
    rt_exit(m);
    return;
  }
  // All Ps are busy: queue up for one.
  const switch_pair s = yield_commit();
  if (s.to != nullptr) switch_to(s.from, s.to);
}

}  // namespace detail

void fiber::join() {
  if (!joinable()) throw logic_error("weft::fiber::join: not joinable");
  detail::fiber_join(handle_.get());
  handle_.reset();
}

result<void> fiber::join(const context& ctx) {
  if (!joinable()) throw logic_error("weft::fiber::join: not joinable");
  if (auto e = detail::fiber_join_ctx(handle_.get(), detail::node_of(ctx))) return failure(e);
  handle_.reset();
  return {};
}

namespace this_fiber {

std::uint64_t id() noexcept { return detail::current_fiber()->id; }

std::string_view name() noexcept {
  const detail::fiber_core* g = detail::current_fiber();
  return g->ext == nullptr ? std::string_view{} : g->ext->name;
}

void set_label(std::string_view key, std::string_view value) {
  detail::fiber_core* g = detail::current_fiber();
  if (g->is_thread()) throw logic_error("weft::this_fiber::set_label: not in a fiber");
  detail::fiber_extension& ext = detail::extension_of(g);
  auto copy = ext.labels == nullptr ? std::make_shared<detail::label_set>()
                                    : std::make_shared<detail::label_set>(*ext.labels);
  const auto same = std::ranges::find(*copy, key, [](const auto& l) { return l.first; });
  if (same != copy->end()) {
    same->second = value;
  } else {
    copy->emplace_back(key, value);
  }
  ext.labels = std::move(copy);
  g->flags |= detail::fiber_has_labels;
}

std::string_view label(std::string_view key) noexcept {
  const detail::label_set* labels = detail::labels_of(detail::current_fiber());
  if (labels == nullptr) return {};
  for (const auto& [k, v] : *labels) {
    if (k == key) return v;
  }
  return {};
}

}  // namespace this_fiber

runtime::runtime(const options& o) : rt_(nullptr) {
  auto rt = detail::runtime_start(o);
  rt->is_default = detail::set_default_runtime(rt.get());
  rt_ = rt.release();
}

runtime::~runtime() {
  if (rt_ != nullptr) detail::run_end(std::exchange(rt_, nullptr));
}

detail::runtime_state* runtime::state() const {
  if (rt_ == nullptr) throw no_runtime_error();
  return rt_;
}

result<void> runtime::shutdown(const context& ctx) {
  if (rt_ == nullptr) return {};
  const std::error_code e = detail::wait_until_empty(rt_, detail::node_of(ctx));
  detail::run_end(std::exchange(rt_, nullptr));
  if (e) return failure(e);
  return {};
}

runtime_stats runtime::stats() const { return detail::stats_of(state()); }

}  // namespace weft::inline v0
