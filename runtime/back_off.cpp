// SPDX-License-Identifier: Apache-2.0
#include "runtime/back_off.hpp"

#include <sched.h>
#include <time.h>

#include <cerrno>

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

// ~100 pauses cover a holder that is running (sections are < 50 ns); after that it has most likely
// been preempted: give it the core, and if even that does not help (a real-time caller over a
// normal holder), sleep.
void back_off(unsigned round) noexcept {
  if (round % 100 != 99) {
    cpu_relax();
    return;
  }
  const int saved_errno = errno;
  if (round < 6400) {
    ::sched_yield();
  } else {
    const timespec ts{0, 50'000};
    ::nanosleep(&ts, nullptr);
  }
  errno = saved_errno;
}

}  // namespace weft::inline v0::detail
