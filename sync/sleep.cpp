// SPDX-License-Identifier: Apache-2.0
// Sleeping: a fiber on a timer in its own frame, a plain thread in the kernel.
#include <time.h>

#include <cerrno>

#include <weft/time.hpp>

namespace weft::inline v0::detail {
namespace {

void wake(timer_node* t, std::int64_t /*now*/) noexcept { ready(static_cast<sleep_node*>(t)->g); }

void sleep_in_kernel(std::int64_t until) noexcept {
  const timespec ts{.tv_sec = until / 1'000'000'000, .tv_nsec = until % 1'000'000'000};
  while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, nullptr) == EINTR) {
  }
}

}  // namespace

bool sleep_start(sleep_node* s, std::int64_t until) noexcept {
  if (until <= now_ns()) {
    checkpoint();
    return false;
  }
  fiber_core* g = s->g = current_fiber();
  if (g->is_thread()) {
    sleep_in_kernel(until);
    return false;
  }
  s->fire = &wake;
  park_begin(g, wait_reason::sleep, nullptr);
  if (!timer_start(s, until)) {  // no memory for the heap: late is better than never
    park_abort(g);
    sleep_in_kernel(until);
    return false;
  }
  return true;
}

result<void> sleep_until_ctx(cancel_node* node, std::int64_t until) {
  wake_extras extras(node, until);
  if (auto e = extras.check()) return failure(e);
  if (until <= now_ns()) {
    checkpoint();
    return {};
  }
  fiber_core* g = current_fiber();
  park_begin(g, wait_reason::sleep, nullptr);
  extras.arm(g);
  park_wait(g);
  extras.disarm();
  // The context's own deadline has the same error as ours: the clock tells them apart.
  if (now_ns() >= until) return {};
  return failure(extras.error());
}

}  // namespace weft::inline v0::detail
