// SPDX-License-Identifier: Apache-2.0
#include "sched/io.hpp"

#include <weft/error.hpp>
#include "sched/runtime_state.hpp"

namespace weft::inline v0::detail {
namespace {

// Hands a request to p's owner and makes sure that it looks. (A retired P has nothing armed that
// could be taken back, and P 0, to which others arm, does not retire.)
void hand_over(runtime_state* rt, processor* p, io_request* r) noexcept {
  p->io_lock.lock();
  if (p->retired.load(std::memory_order_relaxed)) {
    p->io_lock.unlock();
    return;
  }
  r->queued.store(true, std::memory_order_relaxed);
  r->next = p->io_requests;
  p->io_requests = r;
  p->has_io_requests.store(true, std::memory_order_release);
  p->io_lock.unlock();
  p->attention.store(true, std::memory_order_relaxed);
  wake_processor(rt, p);
}

void fill(io_request* r, int fd, unsigned direction, std::uint64_t key, bool is_arm) noexcept {
  r->fd = fd;
  r->direction = direction;
  r->key = key;
  r->is_arm = is_arm;
}

}  // namespace

runtime_state* current_runtime() noexcept {
  machine* m = this_machine();
  return m != nullptr ? m->rt : default_runtime();
}

int io_arm(runtime_state* rt, int fd, unsigned direction, std::uint64_t key, io_request* request,
           std::error_code& error) noexcept {
  error.clear();
  if (machine* m = this_machine(); m != nullptr && (rt == nullptr || m->rt == rt)) {
    const rt_section section(m);
    if (processor* p = section.p()) {
      error = p->io->arm(fd, direction, key);
      return error ? -1 : p->index;
    }
  }
  const runtime_hold hold;
  rt = hold.get();
  if (rt == nullptr) {
    error = make_error_code(errc::no_runtime);
    return -1;
  }
  processor* p = rt->procs.front();
  fill(request, fd, direction, key, true);
  hand_over(rt, p, request);
  return p->index;
}

void io_disarm(runtime_state* rt, int index, int fd, unsigned direction, std::uint64_t key,
               io_request* request) noexcept {
  if (rt == nullptr) rt = current_runtime();
  if (rt == nullptr || index < 0 || static_cast<std::size_t>(index) >= rt->procs.size()) return;
  processor* p = rt->procs[static_cast<std::size_t>(index)];
  if (machine* m = this_machine(); m != nullptr && m->rt == rt) {
    const rt_section section(m);
    if (section.p() == p) {
      p->io->disarm(fd, direction, key);
      return;
    }
  }
  rt->external.fetch_add(1);
  fill(request, fd, direction, key, false);
  hand_over(rt, p, request);
  rt->external.fetch_sub(1);
}

void drain_io_requests(processor* p, fiber_list* ready_list) noexcept {
  p->io_lock.lock();
  io_request* r = p->io_requests;
  p->io_requests = nullptr;
  p->has_io_requests.store(false, std::memory_order_relaxed);
  p->io_lock.unlock();
  // Oldest first: an arm may be followed by its disarm.
  io_request* ordered = nullptr;
  while (r != nullptr) {
    io_request* next = r->next;
    r->next = ordered;
    ordered = r;
    r = next;
  }
  while (ordered != nullptr) {
    io_request* next = ordered->next;
    if (ordered->is_arm) {
      if (p->io->arm(ordered->fd, ordered->direction, ordered->key)) {
        poll_fire(ordered->key, *ready_list);  // the caller's system call will say what is wrong
      }
    } else {
      p->io->disarm(ordered->fd, ordered->direction, ordered->key);
    }
    // Last touch: the record may be reused at once.
    ordered->queued.store(false, std::memory_order_release);
    ordered = next;
  }
}

}  // namespace weft::inline v0::detail
