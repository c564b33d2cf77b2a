// SPDX-License-Identifier: Apache-2.0
#include <weft/detail/spin_lock.hpp>

#include "runtime/back_off.hpp"

namespace weft::inline v0::detail {

void spin_lock::lock_slow() noexcept {
  for (unsigned round = 0;; ++round) {
    if (word_.load(std::memory_order_relaxed) == 0 &&
        word_.exchange(1, std::memory_order_acquire) == 0) {
      return;
    }
    back_off(round);
  }
}

}  // namespace weft::inline v0::detail
