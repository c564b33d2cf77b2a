// SPDX-License-Identifier: Apache-2.0
// Ps are recycled between runtimes and never freed: stray pointers to their timer heaps stay valid.
#include <atomic>
#include <cstdint>
#include <system_error>
#include <vector>

#include "sched/runtime_state.hpp"

namespace weft::inline v0::detail {
namespace {

spin_lock pool_lock;
std::vector<processor*>& pool() {
  static auto* all = new std::vector<processor*>;
  return *all;
}

processor* take_processor() {
  pool_lock.lock();
  processor* p = nullptr;
  if (!pool().empty()) {
    p = pool().back();
    pool().pop_back();
  }
  pool_lock.unlock();
  if (p != nullptr) return p;
  static std::atomic<std::uint32_t> serials{0};
  p = new processor;
  p->serial = serials.fetch_add(1, std::memory_order_relaxed);
  return p;
}

// What the last runtime left; but the serial number stays: it is the P's own.
void reset(processor* p) noexcept {
  p->owner.store(owner_claimed);
  p->running_on.store(nullptr);
  p->attention.store(false);
  p->lone_due.store(false);
  p->retired.store(false);
  p->sleepers.store(0);
  p->woken_to_spin.store(false);
  p->looks.store(0);
  p->has_io_requests.store(false);
  p->io_requests = nullptr;
  p->runnext = nullptr;
  p->note_told();  // of nothing: the ring is empty
  p->budget = 0;
  p->spin_limit = 8000;
  p->slept_out = false;
  p->alone = false;
  p->spawned.store(0);
  p->finished.store(0);
  p->steals.store(0);
  p->seen_tick = 0;
  p->seen_owner = 0;
}

}  // namespace

processor* make_processor(runtime_state* rt, int index) {
  processor* p = take_processor();
  reset(p);
  p->rt = rt;
  p->index = index;
  std::error_code error;
  p->io = make_poller(error);
  if (p->io == nullptr) {
    return_processor(p);
    throw std::system_error(error, "weft: netpoll");
  }
  return p;
}

void return_processor(processor* p) {
  p->fibers.flush();
  p->stacks.flush();
  p->io.reset();
  p->rt = nullptr;
  pool_lock.lock();
  pool().push_back(p);
  pool_lock.unlock();
}

}  // namespace weft::inline v0::detail
