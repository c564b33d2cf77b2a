// SPDX-License-Identifier: Apache-2.0
// after_func(d, fn): a timer whose firing starts a fiber. `state` decides between running and
// stopping, by the handle or by the end of the runtime. The armed timer holds a reference, which
// whoever stops it gives back, or the fiber: after the run, or when it is abandoned before it has
// begun.
#include <utility>

#include <weft/detail/fatal.hpp>
#include <weft/detail/ledger.hpp>
#include <weft/time.hpp>
#include "chan/block_pool.hpp"

namespace weft::inline v0::detail {
namespace {

enum : std::uint32_t { armed, fired, stopped };

bool decide(timer_func* t, std::uint32_t what) noexcept {
  std::uint32_t expected = armed;
  return t->state.compare_exchange_strong(expected, what, std::memory_order_acq_rel);
}

void unref(timer_func* t) noexcept {
  if (t->refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  ledger_remove(account_kind::timer, t->site);
  t->destroy(t);
}

/// What the fiber runs; it holds the timer's reference.
class firing {
 public:
  explicit firing(timer_func* t) noexcept : t_(t) {}
  firing(firing&& o) noexcept : t_(std::exchange(o.t_, nullptr)) {}
  ~firing() {
    if (t_ == nullptr) return;
    static_cast<void>(timer_stop(t_));  // the heap may still be on its way out of fire()
    unref(t_);
  }
  void operator()() const { t_->run(t_); }

 private:
  timer_func* t_;
};

/// Under the heap's lock.
void fire(timer_node* n, std::int64_t /*now*/) noexcept {
  auto* t = static_cast<timer_func*>(n);
  if (!decide(t, fired)) return;
  firing f(t);  // out here: not destroyed under the lock on the way to fatal
  try {
    fiber_start(fiber_make(std::move(f), t->site, nullptr));
  } catch (...) {
    fatal("out of memory while starting an after_func");
  }
}

/// The runtime ends before it was due; under the heap's lock.
bool give_up(self_held_timer* held) noexcept {
  return decide(static_cast<timer_func*>(held), stopped);
}

void let_go(self_held_timer* held) noexcept { unref(static_cast<timer_func*>(held)); }

bool stop(void* self) noexcept {
  auto* t = static_cast<timer_func*>(self);
  if (!decide(t, stopped)) return false;
  static_cast<void>(timer_stop(t));  // a firing that came too late is over after this
  unref(t);
  return true;
}

void drop(void* self) noexcept { unref(static_cast<timer_func*>(self)); }

constexpr after_func_handle::operations operations{&stop, &drop};

}  // namespace

void* timer_func_alloc(std::size_t size, std::size_t align) { return block_alloc(size, align); }

void timer_func_free(void* p, std::size_t size, std::size_t align) noexcept {
  block_free(p, size, align);
}

after_func_handle timer_func_start(timer_func* t, std::int64_t when, const void* site) {
  t->site = site;
  t->timer_node::fire = &fire;
  t->give_up = &give_up;
  t->let_go = &let_go;
  t->refs.store(2, std::memory_order_relaxed);  // the handle's and the timer's
  ledger_add(account_kind::timer, site);
  after_func_handle handle(t, &operations);
  if (!timer_start(t, when)) throw no_runtime_error();  // the handle stops and frees
  return handle;
}

}  // namespace weft::inline v0::detail
