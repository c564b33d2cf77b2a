// SPDX-License-Identifier: Apache-2.0
// A store-load barrier of which the frequent side pays nothing: light() on the hot side is a
// compiler barrier, heavy() on the rare side makes every running thread of the process execute a
// full barrier (membarrier(2), PRIVATE_EXPEDITED, 0.3-0.8 us).
//
// Pairing: a hot thread does {store A; light(); load B}, a rare one {store B; heavy(); load A}. At
// least one of them sees the other's store. Where the kernel refuses membarrier (old, or seccomp)
// both are sequentially consistent fences; decided once at start.
#pragma once

#include <atomic>

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

extern bool membarrier_available
    __attribute__((visibility("hidden")));  // set once, before any worker exists

/// Registers the process with the kernel. Idempotent.
void asymmetric_barrier_init() noexcept;

/// A sequentially consistent fence, in assembly because -fsanitize=thread refuses the standard one
/// (what a fence orders is published through atomics anyway; it serves liveness only).
WEFT_INLINE void full_fence() noexcept {
#if defined(__x86_64__)
  asm volatile("lock orl $0, (%%rsp)" ::: "memory", "cc");  // 5.5 ns; mfence takes 20
#else
  asm volatile("dmb ish" ::: "memory");
#endif
}

WEFT_INLINE void light_barrier() noexcept {
  if (membarrier_available) [[likely]] {
    std::atomic_signal_fence(std::memory_order_seq_cst);
  } else {
    full_fence();
  }
}

void heavy_barrier() noexcept;

}  // namespace weft::inline v0::detail
