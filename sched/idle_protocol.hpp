// SPDX-License-Identifier: Apache-2.0
// Sleeping and waking of workers, and why no wake-up is lost.
//
// A submitter publishes work (a queue's release store), passes a light barrier, and then looks:
// nobody spins and some P is idle -> wake one. A worker that stops looking publishes that (takes
// itself out of the spinning count, puts its P's bit up), passes a heavy barrier, and then looks at
// all queues, its timers and its mailbox once more. By the barrier pairing (asymmetric_barrier.hpp)
// the submitter sees the bit, or the worker sees the work. With more Ps than cores, or without
// membarrier, both barriers are fences (runtime_state::use_fences); the pairing is the same.
// "All queues" has one exception: a lone fiber that has not run yet, while the one that started it
// runs on (processor::has_stealable_fresh). Nobody is woken for it then. Its owner makes up for
// that when it leaves without taking it (next_local), and sysmon when it does not leave. A spinner
// that finds work while being the last one does the same before it runs it: whoever skipped a
// wake-up because of it is seen by its recheck (stop_spinning). wake_one counts the spinner-to-be
// *before* it looks for an idle P, and looks again after taking the count back: a submitter that
// skipped on seeing the count is covered by the second look.
//
// The idle bit is the one arbiter of an idle P: whoever takes it down owns what happens next.
//   the sleeper itself (its timer or I/O came)   owner = its tag
//   wake_one                                     owner = owner_woken, then wake(); a sleeper moves
//                                                owner_woken to its tag by CAS
//   an M without a P (after a blocking call)     owner = its tag, then wake() for the old sleeper,
//                                                which finds the P gone and joins the pool
// A sleeper leaves `sleepers` first and reads bit and owner afterwards; a waker writes owner_woken
// first and reads `sleepers` afterwards (both sequentially consistent): no woken P is left with
// nobody, and if there is no sleeper at all the waker starts another M for it.
//
// All of it happens inside a runtime section, on sysmon's thread, or while the caller counts in
// runtime_state::external: conservation_watch.hpp, which looks for lost wake-ups, relies on that.
//
// A template over the World it runs in: the library's (idle.cpp), or the explorer's small one
// (tests/model/idle_model_test.cpp), which tries every interleaving on this very code.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

#include <weft/detail/relaxed.hpp>
#include "sched/handoff.hpp"

namespace weft::inline v0::detail {

/// The set of idle Ps. All operations sequentially consistent: they are rare and carry the
/// protocol.
template <class Sync, std::size_t Words>
class basic_idle_set {
 public:
  void put(int i) noexcept { word(i).fetch_or(bit(i)); }

  /// True for the one caller that took the bit down.
  [[nodiscard]] bool take(int i) noexcept { return (word(i).fetch_and(~bit(i)) & bit(i)) != 0; }

  /// Takes any; -1 when there is none.
  [[nodiscard]] int take_any() noexcept {
    const std::size_t used = used_;
    for (std::size_t w = 0; w < used; ++w) {
      for (std::uint64_t seen = words_[w].load(); seen != 0; seen = words_[w].load()) {
        const int i = static_cast<int>(w * 64) + std::countr_zero(seen);
        if (take(i)) return i;
      }
    }
    return -1;
  }

  /// A hint on the hot path.
  [[nodiscard]] bool any() const noexcept {
    const std::size_t used = used_;
    if (used == 1) [[likely]]
      return words_[0].load(std::memory_order_relaxed) != 0;
    for (std::size_t w = 0; w < used; ++w) {
      if (words_[w].load(std::memory_order_relaxed) != 0) return true;
    }
    return false;
  }

  [[nodiscard]] int count() const noexcept {
    int n = 0;
    const std::size_t used = used_;
    for (std::size_t w = 0; w < used; ++w) n += std::popcount(words_[w].load());
    return n;
  }

  /// A hint: is the bit of i up? (Acquire, of what the P's owner did before put().)
  [[nodiscard]] bool has(int i) const noexcept {
    return (words_[static_cast<std::size_t>(i) / 64].load(std::memory_order_acquire) & bit(i)) != 0;
  }

  /// How many Ps there are from here on; before the first put() of a new one, never fewer.
  void set_procs(int n) noexcept { used_ = static_cast<std::size_t>(n + 63) / 64; }

 private:
  [[nodiscard]] auto& word(int i) noexcept { return words_[static_cast<std::size_t>(i) / 64]; }
  [[nodiscard]] static std::uint64_t bit(int i) noexcept { return std::uint64_t{1} << (i % 64); }

  std::array<typename Sync::template atomic<std::uint64_t>, Words> words_{};
  relaxed<std::size_t> used_{1};  // words; ordered by the bits in them
};

/// World: runtime, processor, machine; light_barrier(rt), heavy_barrier(rt), relax;
/// work_anywhere(rt), own_work(m), stopping(rt), start_machine(rt, p, spinning), adopt(m, p),
/// new_tag(m), set_tag(m, tag), wake(p).
template <class World>
struct idle_protocol {
  using runtime = typename World::runtime;
  using processor = typename World::processor;
  using machine = typename World::machine;

  /// After publishing work.
  static WEFT_INLINE void wake_if_idle(runtime* rt) noexcept {
    World::light_barrier(rt);  // work was published before; pairs with the heavy one of give_up
    if (!rt->idle.any() || rt->spinning.load(std::memory_order_relaxed) != 0) return;
    wake_one(rt);
  }

  static void wake_one(runtime* rt) noexcept {
    do {
      int expected = 0;
      if (!rt->spinning.compare_exchange_strong(expected, 1)) return;  // a spinner will find it
      const int i = rt->idle.take_any();
      if (i >= 0) {
        processor* p = rt->procs[static_cast<std::size_t>(i)];
        p->woken_to_spin.store(true, std::memory_order_relaxed);
        p->owner.store(owner_woken);
        hand_to_sleeper(rt, p, true);
        return;
      }
      rt->spinning.fetch_sub(1);
    } while (rt->idle.count() != 0);  // in the one order, after the subtraction
  }

  /// p is owner_woken: a sleeper of its takes it, or a new M.
  static void hand_to_sleeper(runtime* rt, processor* p, bool spinning) noexcept {
    if (p->sleepers.load() > 0) {
      World::wake(p);
      return;
    }
    std::uint64_t woken = owner_woken;
    if (p->owner.compare_exchange_strong(woken, owner_claimed)) {
      World::start_machine(rt, p, spinning);
    }
  }

  /// m stops looking. found: it goes on to run something.
  static void stop_spinning(machine* m, bool found) noexcept {
    if (!m->spinning) return;
    m->spinning = false;
    runtime* rt = m->rt;
    if (rt->spinning.fetch_sub(1) != 1 || !found) return;
    // The last spinner: submitters have relied on it. See the file's top. If no P is idle, nobody
    // can be woken, and one that goes idle from here on looks after its own barrier; count() reads
    // after our decrement in the one order of all these operations.
    if (rt->idle.count() == 0) return;
    World::heavy_barrier(rt);
    if (rt->idle.any() && World::work_anywhere(rt)) wake_one(rt);
  }

  /// An M without a P takes an idle one.
  [[nodiscard]] static bool acquire(machine* m) noexcept {
    const int i = m->rt->idle.take_any();
    if (i < 0) return false;
    processor* p = m->rt->procs[static_cast<std::size_t>(i)];
    World::adopt(m, p);
    if (p->sleepers.load() > 0) World::wake(p);  // the old sleeper finds its P gone
    return true;
  }

  /// m offers its P and looks once more. True: there is something to do after all, and m spins.
  /// False: m is to sleep, and then settle().
  [[nodiscard]] static bool give_up(machine* m) noexcept {
    runtime* rt = m->rt;
    processor* p = m->p;
    stop_spinning(m, false);
    p->woken_to_spin.store(false, std::memory_order_relaxed);
    p->sleepers.fetch_add(1);
    p->owner.store(owner_idle);
    rt->idle.put(p->index);
    World::heavy_barrier(rt);
    if ((World::work_anywhere(rt) || World::own_work(m) || World::stopping(rt)) &&
        rt->idle.take(p->index)) {
      p->sleepers.fetch_sub(1);
      World::adopt(m, p);
      m->spinning = true;
      rt->spinning.fetch_add(1);
      return true;
    }
    // (If there is work but the bit is gone, somebody has woken us already: no sleep.)
    return false;
  }

  /// After the sleep: whose is the P now? False: m has none.
  [[nodiscard]] static bool settle(machine* m) noexcept {
    processor* p = m->p;
    p->sleepers.fetch_sub(1);
    bool mine = m->rt->idle.take(p->index);
    std::uint64_t o = p->owner.load();
    // Whoever took the bit is about to say what for, or puts it back (no thread to be had).
    while (!mine && o == owner_idle) {
      World::relax();
      mine = m->rt->idle.take(p->index);
      o = p->owner.load();
    }
    if (mine) {
      World::adopt(m, p);
    } else {
      const std::uint64_t tag = World::new_tag(m);
      if (o != owner_woken || !p->owner.compare_exchange_strong(o, tag)) {
        m->p = nullptr;
        // A wake-up meant for another sleeper of this P may have ended up here.
        if (p->sleepers.load() > 0) World::wake(p);
        return false;
      }
      World::set_tag(m, tag);
      p->running_on.store(m, std::memory_order_release);
      m->spinning = p->woken_to_spin.load(std::memory_order_relaxed);
    }
    if (p->sleepers.load() > 0) World::wake(p);  // flush out stale sleepers
    return true;
  }
};

}  // namespace weft::inline v0::detail
