// SPDX-License-Identifier: Apache-2.0
#include <weft/detail/spin_lock.hpp>

#include <sched.h>
#include <time.h>

#include <cerrno>

namespace weft::inline v0::detail {

void spin_lock::lock_slow() noexcept {
  // ~100 pauses cover a holder that is running (sections are < 50 ns); after that it has most
  // likely been preempted: give it the core, and if even that does not help (a real-time caller
  // over a normal holder), sleep.
  const int saved_errno = errno;
  for (unsigned round = 0;; ++round) {
    for (int i = 0; i < 100; ++i) {
      if (word_.load(std::memory_order_relaxed) == 0 &&
          word_.exchange(1, std::memory_order_acquire) == 0) {
        errno = saved_errno;
        return;
      }
      cpu_relax();
    }
    if (round < 64) {
      ::sched_yield();
    } else {
      const timespec ts{0, 50'000};
      ::nanosleep(&ts, nullptr);
    }
  }
}

}  // namespace weft::inline v0::detail
