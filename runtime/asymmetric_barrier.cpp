// SPDX-License-Identifier: Apache-2.0
#include "runtime/asymmetric_barrier.hpp"

#include <cerrno>
#include <mutex>

#include <weft/detail/fatal.hpp>

#include "runtime/debug.hpp"
#include "runtime/os.hpp"

namespace weft::inline v0::detail {

bool membarrier_available = false;

void asymmetric_barrier_init() noexcept {
  static std::once_flag once;
  std::call_once(once, [] {
    if (debug_option_int("membarrier", 1) == 0) return;
    membarrier_available =
        ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
  });
}

void heavy_barrier() noexcept {
  if (!membarrier_available) {
    full_fence();
    return;
  }
  // It may lack memory for a moment; anything else would leave two threads in one critical section.
  const int saved_errno = errno;
  while (::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0) {
    if (errno != ENOMEM && errno != EINTR && errno != EAGAIN)
      fatal("membarrier is refused all of a sudden");
  }
  errno = saved_errno;
}

}  // namespace weft::inline v0::detail
