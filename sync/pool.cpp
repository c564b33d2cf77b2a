// SPDX-License-Identifier: Apache-2.0
// The core of pool<T>. Where an object is:
//   with somebody        node->site says which line of the user's took it
//   in the cache of a P  two chains of objects (Bonwick and Adams, "Magazines and vmem", USENIX
//                        2001): the one in use, and a full spare one, so that whole chains go to
//                        the shared list and come back without a walk; and `old`, see below
//   in the shared list   full chains, and single ones of plain threads and fibers without a P
//
// Generations, as the victim cache of Go's sync.Pool: when one ends, what is `old` is destroyed,
// and what lies in the caches becomes `old`. A take looks into `old` when there is nothing else, so
// an object in use comes back to the young side, and one that nobody wanted for a whole generation
// goes. There is no collector to set the pace: whoever finds on a slow path that the time is up
// ends the generation, for all Ps. That goes for what retired Ps have left behind, too: nobody
// takes from it, so it is gone two generations later.
//
// Who may touch a P's cache: see cache_gate.hpp. Lock order: gate, then `lock` (rank 4). Objects
// are destroyed with neither held, as that is user code. `registry` is never taken with either.
// Nobody on a fast path executes a locked instruction.
#include <weft/detail/pool_core.hpp>

#include <sched.h>

#include <array>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include <weft/detail/fatal.hpp>
#include <weft/detail/spin_lock.hpp>
#include <weft/detail/timer_node.hpp>
#include "runtime/debug.hpp"
#include "runtime/ledger.hpp"
#include "sched/idle.hpp"
#include "sched/machine.hpp"
#include "sync/cache_gate.hpp"

namespace weft::inline v0::detail {
namespace {

// Long enough that the shared list is seldom seen, short enough that an idle P holds little.
constexpr std::uint32_t chain_length = 32;
// A P that gives as many as it takes sees no slow path; it looks at the clock (20 ns) once in so
// many takes.
constexpr std::uint32_t takes_a_look = 256;

struct alignas(cache_line) pool_cache {
  cache_gate<native_sync> gate;
  std::uint32_t count = 0;  // from head on
  std::uint32_t takes_left = takes_a_look;
  pool_node* head = nullptr;
  pool_node* spare = nullptr;  // chain_length of them, or null
  pool_node* old = nullptr;
  bool is_shut = false;  // cleaner only: one that is made after shut_gates() is not
};

pool_node* concat(pool_node* front, pool_node* back) noexcept {
  if (front == nullptr) return back;
  pool_node* last = front;
  while (last->next != nullptr) last = last->next;
  last->next = back;
  return front;
}

pool_node* pop(pool_node*& list) noexcept {
  pool_node* n = list;
  if (n != nullptr) list = n->next;
  return n;
}

}  // namespace

struct pool_core_impl {
  pool_core* const core;
  const pool_core::operations* const ops;
  const std::int64_t idle_timeout;

  // One for each P that has given something; made by its owner, freed with the core.
  std::array<std::atomic<pool_cache*>, max_procs> caches{};
  std::atomic<bool> any_cache{false};

  alignas(cache_line) spin_lock lock;  // rank 4; guards the shared list and `closed`
  pool_node* chains = nullptr;         // by next_chain
  pool_node* loose = nullptr;
  std::uint32_t loose_count = 0;
  pool_node* old_chains = nullptr;
  pool_node* old_loose = nullptr;
  std::atomic<bool> closed{false};

  std::atomic<std::int64_t> next_age;
  std::atomic<bool> ageing{false};  // somebody shuts gates; for ever once closed

  mutable std::mutex registry;  // guards what follows; not a spin lock: a walker may allocate
  pool_node* all = nullptr;
  std::uint64_t created = 0;
  std::uint64_t destroyed = 0;
  bool orphaned = false;  // closed with objects out: the last one ends the core

  struct source : ledger_source {
    pool_core_impl* pool = nullptr;
  } accounts;

  pool_core_impl(pool_core* c, const pool_core::operations* o, std::int64_t timeout, bool counted)
      : core(c),
        ops(o),
        idle_timeout(timeout),
        next_age(timeout > 0 ? deadline_after(timeout) : never) {
    if (!counted) return;
    accounts.walk = &walk;
    accounts.pool = this;
    ledger_link(&accounts);
  }
  pool_core_impl(const pool_core_impl&) = delete;
  pool_core_impl& operator=(const pool_core_impl&) = delete;
  ~pool_core_impl() {
    if (accounts.pool != nullptr) ledger_unlink(&accounts);
    for (const auto& c : caches) delete c.load(std::memory_order_relaxed);
  }

  static void walk(ledger_source* self, void (*visit)(const ledger_row&, void*), void* context) {
    pool_core_impl& pool = *static_cast<source*>(self)->pool;
    const std::lock_guard<std::mutex> hold(pool.registry);
    for (const pool_node* n = pool.all; n != nullptr; n = n->all_next) {
      const void* site = n->site.load(std::memory_order_relaxed);
      if (site != nullptr) visit({account_kind::pool_object, site, 1, 1}, context);
    }
  }

  /// In a runtime section of p's owner.
  [[nodiscard]] WEFT_INLINE pool_cache* cache_of(const processor* p) const noexcept {
    if (p->serial >= max_procs) [[unlikely]]
      return nullptr;
    return caches[p->serial].load(std::memory_order_relaxed);  // written by p's owners only
  }

  // --- the shared list

  /// Lock held. A chain, or a part of one.
  pool_node* take_chain_locked(std::uint32_t& count) noexcept {
    for (pool_node** list : {&chains, &old_chains}) {
      if (pool_node* first = *list) {
        *list = first->next_chain;
        count = chain_length;
        return first;
      }
    }
    if (loose != nullptr) {
      count = loose_count;
      loose_count = 0;
      return std::exchange(loose, nullptr);
    }
    count = 1;
    pool_node* n = pop(old_loose);
    if (n != nullptr) n->next = nullptr;
    return n;
  }

  pool_node* take_shared() noexcept {
    lock.lock();
    pool_node* n = pop(loose);
    if (n != nullptr) {
      --loose_count;
    } else {
      n = take_chain_locked(loose_count);
      if (n == nullptr) {
        loose_count = 0;
      } else {
        loose = n->next;
        --loose_count;
      }
    }
    lock.unlock();
    return n;
  }

  /// False: the pool is closed.
  bool give_shared(pool_node* n) noexcept {
    lock.lock();
    const bool open = !closed.load(std::memory_order_relaxed);
    if (open) {
      n->next = loose;
      loose = n;
      if (++loose_count == chain_length) {
        n->next_chain = chains;
        chains = n;
        loose = nullptr;
        loose_count = 0;
      }
    }
    lock.unlock();
    return open;
  }

  // --- the cache of a P; its owner, inside the gate

  pool_node* take_cached(pool_cache* c) noexcept {
    if (c->head == nullptr && c->spare != nullptr) {
      c->head = std::exchange(c->spare, nullptr);
      c->count = chain_length;
    }
    if (pool_node* n = pop(c->head)) {
      --c->count;
      return n;
    }
    if (pool_node* n = pop(c->old)) return n;
    lock.lock();
    c->head = take_chain_locked(c->count);
    lock.unlock();
    pool_node* n = pop(c->head);
    c->count = n == nullptr ? 0 : c->count - 1;
    return n;
  }

  void give_cached(pool_cache* c, pool_node* n) noexcept {
    n->next = c->head;
    c->head = n;
    if (++c->count < chain_length) return;
    pool_node* full = std::exchange(c->spare, std::exchange(c->head, nullptr));
    c->count = 0;
    if (full == nullptr) return;
    lock.lock();
    full->next_chain = chains;
    chains = full;
    lock.unlock();
  }

  // --- generations

  /// Ends a generation if the time is up. Runs destructors of the user's: with nothing held.
  void look_at_clock() noexcept {
    std::int64_t due = next_age.load(std::memory_order_relaxed);
    if (due == never) return;
    const std::int64_t now = now_ns();
    if (now < due) return;
    // relaxed: only elects one of several that come at once.
    if (!next_age.compare_exchange_strong(due, deadline_after(idle_timeout),
                                          std::memory_order_relaxed)) {
      return;
    }
    age();
  }

  void age() noexcept {
    if (ageing.exchange(true, std::memory_order_acquire)) return;
    pool_node* gone = age_caches();
    lock.lock();
    pool_node* loose_gone = std::exchange(old_loose, std::exchange(loose, nullptr));
    pool_node* chains_gone = std::exchange(old_chains, std::exchange(chains, nullptr));
    loose_count = 0;
    lock.unlock();
    ageing.store(false, std::memory_order_release);  // pairs with the exchange above
    destroy_list(gone);
    destroy_list(loose_gone);
    destroy_chains(chains_gone);
  }

  pool_node* age_caches() noexcept {
    if (!any_cache.load(std::memory_order_acquire)) return nullptr;
    pool_node* gone = nullptr;
    shut_gates();
    for_each_shut([&gone](pool_cache* c) {
      if (c->gate.is_free()) {  // else it is in use at this very moment: next time
        gone = concat(std::exchange(c->old, nullptr), gone);
        c->old = concat(std::exchange(c->spare, nullptr), std::exchange(c->head, nullptr));
        c->count = 0;
      }
      c->is_shut = false;
      c->gate.open();
    });
    return gone;
  }

  void shut_gates() noexcept {
    for (auto& place : caches) {
      // acquire: pairs with give_to_processor
      if (pool_cache* c = place.load(std::memory_order_acquire)) {
        c->gate.shut();
        c->is_shut = true;
      }
    }
    heavy_barrier();
  }
  template <class F>
  void for_each_shut(F f) noexcept {
    for (auto& place : caches) {
      pool_cache* c = place.load(std::memory_order_acquire);
      if (c != nullptr && c->is_shut) f(c);
    }
  }

  // --- the end of objects

  void destroy_list(pool_node* list) noexcept {
    while (pool_node* n = pop(list)) destroy(n);
  }
  void destroy_chains(pool_node* chain) noexcept {
    while (chain != nullptr) {
      pool_node* next = chain->next_chain;
      destroy_list(chain);
      chain = next;
    }
  }

  void destroy(pool_node* n) noexcept {
    // Whoever destroys the last object of a closed pool ends the core: once n is off the list, and
    // not the last, nothing of the core is touched.
    const pool_core::operations* const how = ops;
    pool_core* const ended = core;
    registry.lock();
    (n->all_prev != nullptr ? n->all_prev->all_next : all) = n->all_next;
    if (n->all_next != nullptr) n->all_next->all_prev = n->all_prev;
    ++destroyed;
    const bool last = orphaned && all == nullptr;
    registry.unlock();
    how->destroy(n);
    if (last) how->dispose(ended);
  }

  // --- slow paths

  WEFT_NOINLINE pool_node* take_slowly(const void* site) noexcept {
    pool_node* n = nullptr;
    if (machine* m = this_machine()) {
      const rt_section section(m);
      pool_cache* c = section.p() == nullptr ? nullptr : cache_of(section.p());
      if (c != nullptr && c->gate.enter<native_sync>()) {
        c->takes_left = takes_a_look;
        n = take_cached(c);
        c->gate.leave();
      }
    }
    if (n == nullptr) n = take_shared();
    if (n != nullptr) n->site.store(site, std::memory_order_relaxed);
    look_at_clock();  // n is ours alone already
    return n;
  }

  // The last touch of the pool is the one that puts n there: it may be on its way out.
  WEFT_NOINLINE void give_slowly(pool_node* n) noexcept {
    if (!give_to_processor(n) && !give_shared(n)) destroy(n);
  }

  bool give_to_processor(pool_node* n) noexcept {
    machine* m = this_machine();
    if (m == nullptr || closed.load(std::memory_order_relaxed)) return false;
    std::unique_ptr<pool_cache> fresh;
    for (;;) {
      {
        const rt_section section(m);
        const processor* p = section.p();
        if (p == nullptr || p->serial >= max_procs) return false;
        pool_cache* c = cache_of(p);
        if (c == nullptr && fresh != nullptr) {
          if (!install(p, fresh.get())) return false;
          c = fresh.release();
        }
        if (c != nullptr) {
          if (!c->gate.enter<native_sync>()) return false;
          give_cached(c, n);
          c->gate.leave();
          return true;
        }
      }
      fresh.reset(new (std::nothrow) pool_cache);  // not in the section
      if (fresh == nullptr) return false;
    }
  }

  /// False: the pool is closed. Under the lock, so that close() either sees the cache or is seen.
  bool install(const processor* p, pool_cache* c) noexcept {
    lock.lock();
    const bool open = !closed.load(std::memory_order_relaxed);
    if (open) {
      // release: pairs with shut_gates
      caches[p->serial].store(c, std::memory_order_release);
      any_cache.store(true, std::memory_order_release);
    }
    lock.unlock();
    return open;
  }

  // --- the end of the pool

  struct holder {
    const void* site = nullptr;
    std::uint64_t objects = 0;
  };
  struct holders {
    std::array<holder, 8> by_site;
    std::uint64_t total = 0;

    void add(const void* site) noexcept {
      ++total;
      for (holder& h : by_site) {
        if (h.site != site && h.objects != 0) continue;
        h.site = site;
        ++h.objects;
        return;
      }
    }
    void report() const noexcept {
      log_format("weft: a pool was destroyed while %llu of its objects were out:",
                 static_cast<unsigned long long>(total));
      for (const holder& h : by_site) {
        if (h.objects == 0) continue;
        const site_text text = describe_site(h.site);
        log_format("  %llu taken at %s:%u (%s)", static_cast<unsigned long long>(h.objects),
                   text.file, text.line, text.function);
      }
    }
  };

  // Others may give objects back meanwhile: none is to be left where nobody will look again.
  void close() noexcept {
    while (ageing.exchange(true, std::memory_order_acquire)) ::sched_yield();
    lock.lock();
    closed.store(true, std::memory_order_relaxed);  // from here on no new cache, nothing `loose`
    lock.unlock();
    pool_node* gone = empty_caches();  // and then no chains either: they come out of caches
    lock.lock();
    pool_node* chain = std::exchange(chains, nullptr);
    pool_node* old_chain = std::exchange(old_chains, nullptr);
    gone = concat(std::exchange(loose, nullptr), gone);
    gone = concat(std::exchange(old_loose, nullptr), gone);
    lock.unlock();
    destroy_list(gone);
    destroy_chains(chain);
    destroy_chains(old_chain);
    holders left;
    registry.lock();
    for (const pool_node* n = all; n != nullptr; n = n->all_next) {
      left.add(n->site.load(std::memory_order_relaxed));
    }
    orphaned = left.total != 0;
    registry.unlock();
    if (left.total == 0) {
      ops->dispose(core);
    } else {
      left.report();  // (the core may be gone)
    }
  }

  /// For good: the gates stay shut.
  pool_node* empty_caches() noexcept {
    if (!any_cache.load(std::memory_order_acquire)) return nullptr;
    pool_node* gone = nullptr;
    shut_gates();
    for_each_shut([&gone](pool_cache* c) {
      while (!c->gate.is_free()) ::sched_yield();  // somebody gives an object back
      gone = concat(std::exchange(c->old, nullptr), gone);
      gone = concat(std::exchange(c->spare, nullptr), gone);
      gone = concat(std::exchange(c->head, nullptr), gone);
      c->count = 0;
    });
    return gone;
  }
};

pool_core::pool_core(const operations* ops, std::int64_t idle_timeout_ns, bool counted)
    : impl_(new pool_core_impl(this, ops, idle_timeout_ns, counted)) {}

pool_core::~pool_core() { delete impl_; }

// Locked instructions: none.
WEFT_NOINLINE pool_node* pool_core::take(const void* site) noexcept {
  if (machine* m = machine_here()) [[likely]] {
    if (const processor* p = rt_enter_quick(m)) [[likely]] {
      pool_cache* c = impl_->cache_of(p);
      if (c != nullptr && c->gate.enter<membarrier_sync>()) [[likely]] {
        pool_node* n = c->head;
        if (n != nullptr && c->takes_left != 0) [[likely]] {
          --c->takes_left;
          c->head = n->next;
          --c->count;
          c->gate.leave();
          rt_exit(m);
          n->site.store(site, std::memory_order_relaxed);
          return n;
        }
        c->gate.leave();
      }
      rt_exit(m);
    }
  }
  return impl_->take_slowly(site);
}

void pool_core::adopt(pool_node* n, const void* site) noexcept {
  n->site.store(site, std::memory_order_relaxed);
  const std::lock_guard<std::mutex> hold(impl_->registry);
  n->all_prev = nullptr;
  n->all_next = impl_->all;
  if (impl_->all != nullptr) impl_->all->all_prev = n;
  impl_->all = n;
  ++impl_->created;
}

// Locked instructions: none.
WEFT_NOINLINE void pool_core::give(pool_node* n) noexcept {
  n->site.store(nullptr, std::memory_order_relaxed);
  if (machine* m = machine_here()) [[likely]] {
    if (const processor* p = rt_enter_quick(m)) [[likely]] {
      pool_cache* c = impl_->cache_of(p);
      if (c != nullptr && c->gate.enter<membarrier_sync>()) [[likely]] {
        if (c->count + 1 < chain_length) [[likely]] {
          n->next = c->head;
          c->head = n;
          ++c->count;
          c->gate.leave();
          rt_exit(m);
          return;
        }
        c->gate.leave();
      }
      rt_exit(m);
    }
  }
  impl_->give_slowly(n);
}

void pool_core::discard(pool_node* n) noexcept { impl_->destroy(n); }

void pool_core::age() noexcept { impl_->age(); }

void pool_core::close() noexcept { impl_->close(); }

bool pool_core::closed() const noexcept { return impl_->closed.load(std::memory_order_relaxed); }

pool_counts pool_core::counts() const noexcept {
  pool_counts c;
  const std::lock_guard<std::mutex> hold(impl_->registry);
  c.created = impl_->created;
  c.destroyed = impl_->destroyed;
  for (const pool_node* n = impl_->all; n != nullptr; n = n->all_next) {
    if (n->site.load(std::memory_order_relaxed) != nullptr) ++c.out;
  }
  return c;
}

void report_not_out() noexcept { fatal("weft::pool: an object was put back twice"); }

void report_reset_failure() noexcept {
  log_format("weft: a pool's reset function threw; the object was destroyed");
}

}  // namespace weft::inline v0::detail
