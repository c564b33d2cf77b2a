// SPDX-License-Identifier: Apache-2.0
// The life of a fiber: allocated with its closure inside, started, bound to a stack at its first
// dispatch, ended. A fiber that ends hands its stack to the next fresh one at once, without a
// switch; otherwise the stack goes to the P's cache while we still stand on it, which is safe
// because nobody but this M can take from that cache before the switch is over (in_rt).
#include <new>

#include <weft/detail/spawn.hpp>
#include <weft/error.hpp>
#include "runtime/fiber_pool.hpp"
#include "runtime/stack_pool.hpp"
#include "runtime/stack_watch.hpp"
#include "sched/fiber_extension.hpp"
#include "sched/park.hpp"
#include "sched/runtime_state.hpp"

#if WEFT_TSAN
extern "C" void __tsan_destroy_fiber(void* fiber);
#endif

namespace weft::inline v0::detail {
namespace {

constexpr std::uint64_t id_block = 1024;
std::atomic<std::uint64_t> next_id{1};

// Marks fiber_core::join of a fiber that has ended.
waiter* ended() noexcept {
  static waiter mark;
  return &mark;
}

std::uint64_t new_id(processor* p) noexcept {
  if (p == nullptr) return next_id.fetch_add(1, std::memory_order_relaxed);
  if (p->id_next == p->id_end) {
    p->id_next = next_id.fetch_add(id_block, std::memory_order_relaxed);
    p->id_end = p->id_next + id_block;
  }
  return p->id_next++;
}

// This and note_origin() are all that the accounts cost a fiber; bench/accounts_cost.py measures it
// against a build without them.
void bump(std::atomic<std::uint64_t>& counter) noexcept {  // single writer
  if constexpr (WEFT_ACCOUNTS != 0) {
    counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
}

WEFT_INLINE void note_origin(fiber_core* g, const void* site, std::uint64_t parent_id) noexcept {
  if constexpr (WEFT_ACCOUNTS != 0) {
    std::atomic_ref<const void*>(g->site).store(site, std::memory_order_relaxed);
    g->parent_id = parent_id;
  }
}

// A closure that does not fit the G lives in a block behind a header with its true size.
struct block_header {
  std::size_t total;
  std::size_t align;
};
constexpr std::size_t header_size(std::size_t align) noexcept {
  return align > 64 ? align : std::size_t{64};
}

void* acquire_block(std::size_t size, std::size_t align) {
  const std::size_t header = header_size(align);
  if (size > SIZE_MAX - header) throw std::bad_alloc();
  auto* base = static_cast<char*>(closure_acquire(size + header, header));
  ::new (base + header - sizeof(block_header)) block_header{size + header, header};
  return base + header;
}

void release_block(void* closure) noexcept {
  auto* end = static_cast<char*>(closure);
  const auto* h = std::launder(reinterpret_cast<block_header*>(end - sizeof(block_header)));
  closure_release(end - h->align, h->total, h->align);
}

void recycle(processor* p, fiber_core* g) noexcept {
  if (g->entry != nullptr) {
    g->entry(g, entry_op::destroy);  // a future's result, or a closure that never ran
    g->entry = nullptr;
  }
  if ((g->flags & fiber_has_block) != 0) release_block(g->block);
  if (p != nullptr) {
    p->fibers.release(g);
  } else {
    fiber_release_global(g);
  }
}

// A G from a pool. (entry and ext of one in a pool are null.)
WEFT_INLINE void reset(fiber_core* g, runtime_state* rt, const void* site,
                       std::uint64_t parent_id) noexcept {
  g->m.store(nullptr, std::memory_order_relaxed);  // one that ended never switched away itself
  // In this order, for a holder that finds ours in rt; its barrier orders them for the processor.
  std::atomic_signal_fence(std::memory_order_release);
  std::atomic_ref<runtime_state*>(g->rt).store(rt, std::memory_order_relaxed);
  note_origin(g, site, parent_id);
  g->stack_lo = nullptr;
  g->state.store(fiber_state::fresh, std::memory_order_relaxed);
  g->reason = wait_reason::none;
  g->stack_class = rt->stack_class;
  g->flags = 0;
  g->refs.store(1, std::memory_order_relaxed);
}

void inherit(fiber_core* g, const fiber_extension* parent, const fiber_options* o) {
  const bool labelled = parent != nullptr && parent->labels != nullptr;
  const bool named = o != nullptr && !o->name.empty();
  if (!labelled && !named) return;
  fiber_extension& ext = extension_of(g);
  if (labelled) {
    ext.labels = parent->labels;
    g->flags |= fiber_has_labels;
  }
  if (named) ext.name = o->name;
}

void place_closure(fiber_core* g, std::size_t size, std::size_t align) {
  if (size <= inline_closure_size && align <= inline_closure_align) return;
  g->block = acquire_block(size, align);
  g->flags |= fiber_has_block;
}

}  // namespace

void drop_extension(fiber_core* g) noexcept {
  if ((g->flags & fiber_has_extension) == 0) return;
  fiber_extension* ext = g->ext;
  // Values may use other fiber-local values in their destructors: last made, first destroyed.
  while (!ext->locals.empty()) {
    const fiber_extension::local_value v = ext->locals.back();
    ext->locals.pop_back();
    v.destroy(v.value);
  }
  g->ext = nullptr;
  g->flags &= static_cast<std::uint8_t>(~(fiber_has_extension | fiber_has_labels));
  delete ext;
}

fiber_extension& extension_of(fiber_core* g) {
  if (g->ext == nullptr) {
    g->ext = new fiber_extension;
    g->flags |= fiber_has_extension;
  }
  return *g->ext;
}

void fiber_take_labels(fiber_core* to, const fiber_core* from) {
  if (((to->flags | from->flags) & fiber_has_labels) == 0 || to == from) return;
  const bool labelled = (from->flags & fiber_has_labels) != 0;
  extension_of(to).labels = labelled ? from->ext->labels : nullptr;
  to->flags &= static_cast<std::uint8_t>(~fiber_has_labels);
  if (labelled) to->flags |= fiber_has_labels;
}

namespace {

enum class at_the_end : std::uint8_t { leave, stay };

fiber_core* alloc_in(runtime_state* rt, std::size_t size, std::size_t align, const void* site,
                     const fiber_options* options, at_the_end what) {
  machine* m = this_machine();
  fiber_core* g = nullptr;
  if (m != nullptr && m->rt == rt) {
    // (In a section a timer is being fired, under its heap's lock: the fiber leaves later.)
    const bool may_leave =
        what == at_the_end::leave && m->in_rt.load(std::memory_order_relaxed) == 0;
    if (may_leave && rt->stopping.load(std::memory_order_relaxed)) [[unlikely]]
      checkpoint();
    const rt_section section(m);
    processor* p = section.p();
    g = p != nullptr ? p->fibers.acquire() : fiber_acquire_global();
    if (g != nullptr) {
      g->id = new_id(p);
      if (p != nullptr) {
        bump(p->spawned);
      } else {
        rt->spawned_elsewhere.fetch_add(1, std::memory_order_relaxed);
      }
    }
  } else {
    g = fiber_acquire_global();
    if (g != nullptr) {
      g->id = new_id(nullptr);
      rt->spawned_elsewhere.fetch_add(1, std::memory_order_relaxed);
    }
  }
  if (g == nullptr) throw std::bad_alloc();
  const fiber_core* parent = m != nullptr ? m->current : nullptr;
  reset(g, rt, site, parent != nullptr ? parent->id : 0);
  if (options != nullptr && options->stack_size != 0) {
    g->stack_class = static_cast<std::uint8_t>(stack_class_for(options->stack_size));
  }
  if (stacks_are_watched) g->flags |= fiber_is_watched;  // (all come this way then: see set_tag)
  try {
    place_closure(g, size, align);
    inherit(g, parent != nullptr ? parent->ext : nullptr, options);
  } catch (...) {
    fiber_discard(g);
    throw;
  }
  return g;
}

fiber_core* alloc_here(std::size_t size, std::size_t align, const void* site,
                       const fiber_options* options, at_the_end what) {
  runtime_state* rt = current_runtime();
  if (rt == nullptr) throw no_runtime_error();
  return alloc_in(rt, size, align, site, options, what);
}

template <at_the_end What>
WEFT_INLINE fiber_core* alloc_small(const void* site) {
  machine* m = machine_here();
  if (m == nullptr) [[unlikely]]
    return alloc_here(0, 1, site, nullptr, What);
  runtime_state* rt = m->rt;
  const fiber_core* parent = m->current;  // (g0 has the id 0)
  if ((parent->flags & fiber_has_labels) != 0 || rt->stopping.load(std::memory_order_relaxed))
      [[unlikely]] {
    return alloc_here(0, 1, site, nullptr, What);
  }
  processor* p = rt_enter_quick(m);
  if (p == nullptr) [[unlikely]]
    return alloc_here(0, 1, site, nullptr, What);
  fiber_core* g = p->id_next != p->id_end ? p->fibers.take() : nullptr;
  if (g == nullptr) [[unlikely]] {
    rt_exit(m);
    return alloc_here(0, 1, site, nullptr, What);
  }
  g->id = p->id_next++;
  bump(p->spawned);
  rt_exit(m);
  reset(g, rt, site, parent->id);
  return g;
}

}  // namespace

// Locked instructions: none.
WEFT_NOINLINE fiber_core* fiber_alloc_small(const void* site) {
  return alloc_small<at_the_end::leave>(site);
}

WEFT_NOINLINE fiber_core* fiber_alloc_small_counted(const void* site) {
  return alloc_small<at_the_end::stay>(site);
}

fiber_core* fiber_alloc_in(runtime_state* rt, std::size_t size, std::size_t align, const void* site,
                           const fiber_options* options) {
  return alloc_in(rt, size, align, site, options, at_the_end::leave);
}

fiber_core* fiber_alloc(std::size_t size, std::size_t align, const void* site,
                        const fiber_options* options) {
  return alloc_here(size, align, site, options, at_the_end::leave);
}

fiber_core* fiber_alloc_counted(std::size_t size, std::size_t align, const void* site) {
  return alloc_here(size, align, site, nullptr, at_the_end::stay);
}

void fiber_discard(fiber_core* g) noexcept {
  drop_extension(g);
  g->entry = nullptr;
  g->rt->finished_elsewhere.fetch_add(1, std::memory_order_relaxed);
  fiber_unref(g);
}

// Locked instructions: none, unless a P is idle and nobody looks for work.
WEFT_NOINLINE void fiber_start(fiber_core* g) noexcept {
  machine* m = machine_here();
  if (m != nullptr && m->rt == g->rt) [[likely]] {
    if (processor* p = rt_enter_quick(m)) [[likely]] {
      g->state.store(fiber_state::runnable, std::memory_order_relaxed);
      p->fresh_since = p->budget.load(std::memory_order_relaxed);
      // (A filled runnext makes room, or it would wait for as long as we go on: the slow way.)
      if (p->runnext == nullptr && p->fresh.try_push(g)) [[likely]] {
        const runtime_state* rt = m->rt;
        rt->light_barrier();  // as in idle_protocol::wake_if_idle
        // (Whom to tell is seen to before the section ends: conservation_watch.hpp relies on it.)
        if (rt->idle.any() && rt->spinning.load(std::memory_order_relaxed) == 0) [[unlikely]] {
          wake_for_fresh(m, p);
          return;
        }
        rt_exit(m);
        return;
      }
      rt_exit(m);
    }
  }
  ready_slowly(m, g);
}

void fiber_unref(fiber_core* g) noexcept {
  // acq_rel: the last one must see everything the others did to the closure's result.
  if (g->refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  g->state.store(fiber_state::dead, std::memory_order_relaxed);
  machine* m = this_machine();
  if (m == nullptr) {
    recycle(nullptr, g);
    return;
  }
  if (g->entry != nullptr) {  // user code: outside the section, and it may park
    g->entry(g, entry_op::destroy);
    g->entry = nullptr;
    m = this_machine();
  }
  const rt_section section(m);
  recycle(section.p(), g);
}

bool fiber_has_ended(const fiber_core* g) noexcept {
  return g->join.load(std::memory_order_acquire) == ended();
}

bool fiber_set_joiner(fiber_core* g, waiter* w) noexcept {
  waiter* none = nullptr;
  // release publishes the waiter record to the ending fiber; acquire sees its result if it ended.
  return g->join.compare_exchange_strong(none, w, std::memory_order_acq_rel);
}

bool fiber_clear_joiner(fiber_core* g, waiter* w) noexcept {
  return g->join.compare_exchange_strong(w, nullptr, std::memory_order_acq_rel);
}

namespace {

// The user's code is over: tell a joiner. Its record stays alive until we are done with it: a
// joiner that gives up (context, deadline) and finds us ahead waits for `ok` (fiber_join_ctx).
void announce_end(fiber_core* g) noexcept {
  drop_extension(g);
  // Without a handle nobody can join, and none can come from nowhere: no locked instruction.
  if (g->refs.load(std::memory_order_acquire) == 1) return;
  waiter* joiner = g->join.exchange(ended(), std::memory_order_acq_rel);
  if (joiner == nullptr) return;
  if (claim(joiner)) {
    fiber_core* waiting = joiner->g;
    waiting->wake_param = joiner;
    ready(waiting);
  } else {
    std::atomic_ref<bool>(joiner->ok).store(true, std::memory_order_release);
  }
}

// Drops the fiber's own reference. True: it was the last, and g is still ours to recycle; what the
// user left in it is destroyed.
bool drop_own_reference(fiber_core* g) noexcept {
  if (g->refs.load(std::memory_order_acquire) != 1) {
    g->state.store(fiber_state::dead, std::memory_order_relaxed);
    if (g->refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return false;
    // The last handle went at this very moment.
    g->refs.store(1, std::memory_order_relaxed);
    g->state.store(fiber_state::running, std::memory_order_relaxed);
  }
  if (g->entry != nullptr) {
    g->entry(g, entry_op::destroy);  // a result that nobody wants; user code, may even park
    g->entry = nullptr;
  }
  g->state.store(fiber_state::dead, std::memory_order_relaxed);
  return true;
}

}  // namespace

void fiber_finish_unstarted(fiber_core* g) noexcept {
  announce_end(g);
  g->rt->finished_elsewhere.fetch_add(1, std::memory_order_relaxed);
  if (!drop_own_reference(g)) return;
  machine* m = this_machine();
  if (m == nullptr) {
    recycle(nullptr, g);
    return;
  }
  const rt_section section(m);
  recycle(section.p(), g);
}

// What the end of a fiber leads to: one of the two.
struct ending {
  fiber_core* next = nullptr;  // starts right here, on the same stack
  fiber_core* to = nullptr;    // to be left for, from to->m's `leaving`
};

namespace {

// What a fiber that has ended leaves behind; passed in registers.
struct leftovers {
  explicit leftovers(const fiber_core* g) noexcept
      : stack(g->stack_lo), stack_class(g->stack_class), stack_pages(g->stack_pages) {
#if WEFT_TSAN
    tsan_fiber = g->tsan_fiber;
#endif
  }
  char* stack;
  std::uint8_t stack_class;
  std::uint16_t stack_pages;
#if WEFT_TSAN
  void* tsan_fiber;
#endif
};

// Gives the stack back while we stand on it: only this M can take it from the P's cache before the
// switch is over. Without a P the scheduler loop does it.
void give_stack_back(machine* m, processor* p, leftovers l) noexcept {
  if (p != nullptr) {
    p->stacks.release(l.stack_class, l.stack);
  } else {
    check_canary(l.stack_class, l.stack);  // here we still are the fiber
    m->dead_stack = l.stack;
    m->dead_stack_class = l.stack_class;
  }
}

bool can_start_here(const fiber_core* next, leftovers l) noexcept {
#if WEFT_TSAN
  // Each fiber gets a context of its own, or races between consecutive ones would be hidden.
  static_cast<void>(next);
  static_cast<void>(l);
  return false;
#else
  return next->stack_lo == nullptr && next->stack_class == l.stack_class;
#endif
}

WEFT_INLINE void start_here(machine* m, fiber_core* next, leftovers l) noexcept {
  next->stack_lo = l.stack;
  next->stack_pages = l.stack_pages;
#if WEFT_ASAN
  next->asan_fake_stack = nullptr;
#endif
  next->m.store(m, std::memory_order_relaxed);
  next->state.store(fiber_state::running, std::memory_order_relaxed);
  m->current = next;
  *m->err = 0;
  *m->eh = {};
}

// In a runtime section, on the stack of a fiber that has ended; `next` cannot start on it.
WEFT_NOINLINE ending leave_stack(machine* m, processor* p, fiber_core* next, leftovers l) noexcept {
  if (next != nullptr && !is_free(next)) {
    m->pending = next;  // see leave_for
    next = nullptr;
  }
  give_stack_back(m, p, l);
#if WEFT_TSAN
  m->leaving.tsan_dead = l.tsan_fiber;  // destroyed by whoever lands
#endif
  if (next == nullptr) return {nullptr, to_scheduler_loop(m)};
  prepare_dispatch(m, p, next);
  return {nullptr, next};
}

// From the end of one fiber to `next`, the whole way. In a runtime section.
WEFT_NOINLINE ending go_on_to(machine* m, processor* p, fiber_core* next, leftovers l) noexcept {
  if (next == nullptr || !can_start_here(next, l)) return leave_stack(m, p, next, l);
  start_here(m, next, l);
  rt_exit(m);
  return {next, nullptr};
}

// The same when all there is to know is that the section is still to be opened. g: for the pool;
// null if somebody still refers to it.
WEFT_NOINLINE ending go_on(machine* m, fiber_core* g, leftovers l) noexcept {
  processor* p = rt_enter(m);
  if (g != nullptr) recycle(p, g);
  if (p == nullptr) {
    m->rt->finished_elsewhere.fetch_add(1, std::memory_order_relaxed);
    return leave_stack(m, p, nullptr, l);
  }
  bump(p->finished);
  return go_on_to(m, p, next_local(p), l);  // (the end of the runtime is seen when that is null)
}

WEFT_NOINLINE ending go_on_after_contest(machine* m, processor* p, leftovers l) noexcept {
  return go_on_to(m, p, p->fresh.settle(), l);
}

// Most often somebody whom the end of g has woken. In a runtime section.
WEFT_NOINLINE ending go_on_to_runnext(machine* m, processor* p, fiber_core* g,
                                      leftovers l) noexcept {
  fiber_core* next = p->runnext;
  if (WEFT_TSAN || !is_landed(next) || p->parent_runs() || !p->fibers.has_room() || !p->spend() ||
      !p->stacks.try_put(l.stack_class, l.stack)) [[unlikely]] {
    rt_exit(m);
    return go_on(m, g, l);
  }
  p->runnext = nullptr;
  bump(p->finished);
  p->fibers.put(g);
  dispatch_landed(m, next);
  return {nullptr, next};
}

// All of g's end that concerns others. True: g is still ours.
bool end_for_others(fiber_core* g) noexcept {
  announce_end(g);
  if (g->is_pinned()) this_machine()->lock_depth = 0;  // a scope that was leaked
  return drop_own_reference(g);
}

// The end of a fiber whose stack is looked at (stack_watch.hpp).
WEFT_NOINLINE ending end_watched(fiber_core* g) noexcept {
  const leftovers l(g);
  const void* site = g->site;
  check_canary(l.stack_class, l.stack);  // while g is there, to be named
  const bool last = end_for_others(g);
  look_at_stack(site, l.stack_class, l.stack, true);
  return go_on(this_machine(), last ? g : nullptr, l);
}

// The end of a fiber that has a handle, an extension, a result, or a closure in a block; or that is
// watched.
WEFT_NOINLINE ending end_slowly(fiber_core* g) noexcept {
  if ((g->flags & fiber_is_watched) != 0) [[unlikely]]
    return end_watched(g);
  const leftovers l(g);
  const bool last = end_for_others(g);
  return go_on(this_machine(), last ? g : nullptr, l);
}

// Ends g, on its own stack, up to the switch. All that is not most common is a tail call: no
// register is saved for it.
WEFT_NOINLINE ending end_fiber(fiber_core* g) noexcept {
  if (g->flags != 0 || g->entry != nullptr || g->refs.load(std::memory_order_acquire) != 1)
      [[unlikely]] {
    return end_slowly(g);
  }
  machine* m = machine_here();
  const leftovers l(g);
  g->state.store(fiber_state::dead, std::memory_order_relaxed);
  processor* p = rt_enter_quick(m);
  if (p == nullptr) [[unlikely]]
    return go_on(m, g, l);
  if (p->runnext != nullptr) return go_on_to_runnext(m, p, g, l);
  if (!p->queue.empty_here() || !p->fibers.has_room() || !p->spend()) [[unlikely]] {
    rt_exit(m);
    return go_on(m, g, l);
  }
  bump(p->finished);
  p->fibers.put(g);
  fiber_core* next = nullptr;
  if (!p->fresh.try_pop<membarrier_sync>(next)) [[unlikely]]
    return go_on_after_contest(m, p, l);
  if (next == nullptr || !can_start_here(next, l)) [[unlikely]]
    return leave_stack(m, p, next, l);
  prefetch_start(p->fresh.after_pop());
  start_here(m, next, l);
  rt_exit(m);
  return {next, nullptr};
}

// A fresh fiber's side of a switch; see switch_to().
WEFT_NOINLINE void land(switch_frame* left, fiber_core* g) noexcept {
#if WEFT_TSAN
  __tsan_acquire(g->m.load(std::memory_order_relaxed));
  destroy_left_behind(reinterpret_cast<fiber_core*>(left));
#endif
  reinterpret_cast<fiber_core*>(left)->m.store(nullptr, std::memory_order_release);
  g->m.load(std::memory_order_relaxed)->in_rt.store(0, std::memory_order_release);
}

}  // namespace

// Leaves a dying fiber for good.
[[noreturn]] WEFT_NO_SANITIZE WEFT_INLINE void leave_for_good(const ending& e) noexcept {
  auto* m = static_cast<machine*>(e.to->m.load(std::memory_order_relaxed));
#if WEFT_ASAN
  // null: the fake frames of this stack are freed
  __sanitizer_start_switch_fiber(nullptr, e.to->stack_lo, e.to->stack_size());
#endif
#if WEFT_TSAN
  void* to_context = e.to->tsan_fiber;
  __tsan_release(static_cast<machine_head*>(m));
  __tsan_switch_to_fiber(to_context, 1);
#endif
  switch_stack(&m->leaving.frame, &e.to->frame);
  __builtin_unreachable();
}

}  // namespace weft::inline v0::detail

// Called by weft_fiber_entry with the record left behind and the fiber's own. No catch, not
// noexcept: an exception of the user's must find no handler, so that its stack is kept.
extern "C" WEFT_NO_SANITIZE __attribute__((used)) void weft_fiber_main(
    weft::detail::switch_frame* left, weft::detail::fiber_core* g) {
  using namespace weft::detail;
#if WEFT_ASAN
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
  land(left, g);
  for (;;) {
    g->entry(g, entry_op::run);
    const ending e = end_fiber(g);
    if (e.next == nullptr) leave_for_good(e);
    g = e.next;
  }
}
