// SPDX-License-Identifier: Apache-2.0
#include "runtime/asymmetric_barrier.hpp"

#include <mutex>

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
  if (membarrier_available) {
    ::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
  } else {
    full_fence();
  }
}

}  // namespace weft::inline v0::detail
