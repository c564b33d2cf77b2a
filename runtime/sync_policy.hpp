// SPDX-License-Identifier: Apache-2.0
// What lock-free code of the library is written against: a template parameter Sync that says what
// an atomic and a barrier are. native_sync in the library; in the tests an explorer that tries
// every interleaving and every stale read (tests/model/).
#pragma once

#include <atomic>

#include <weft/detail/config.hpp>
#include <weft/detail/spin_lock.hpp>
#include "runtime/asymmetric_barrier.hpp"

namespace weft::inline v0::detail {

struct native_sync {
  template <class T>
  using atomic = std::atomic<T>;
  using lock_type = spin_lock;
  static WEFT_INLINE void light_barrier() noexcept { detail::light_barrier(); }
  static void heavy_barrier() noexcept { detail::heavy_barrier(); }
  static WEFT_INLINE void relax() noexcept { cpu_relax(); }
};

/// The same where it is known that membarrier is there.
struct membarrier_sync : native_sync {
  static WEFT_INLINE void light_barrier() noexcept {
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
};

}  // namespace weft::inline v0::detail
