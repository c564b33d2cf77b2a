// SPDX-License-Identifier: Apache-2.0
// Who may touch the cache that something keeps for one P: the owner of the P inside a runtime
// section, and, rarely, somebody who has shut the gate before it. The owner pays no locked
// instruction; it never waits either, but goes elsewhere while the gate is shut.
//
//   owner (in a runtime section):  busy = 1; light barrier; shut? -> busy = 0, elsewhere
//   cleaner (one at a time):       shut = 1; heavy barrier; busy == 0? -> the cache is the
//   cleaner's
//                                  until it opens the gate
//
// Exclusion: if the cleaner reads busy == 0 after its heavy barrier, then an owner whose busy = 1
// it did not see stored that after the barrier, and so sees shut. A section that had ended before
// is ordered before the cleaner by the release of leave(), one that follows open() is ordered after
// it by the acquire in enter(). That two owners of one P are never inside at once, and are ordered
// among themselves, is the P's own protocol (sched/handoff.hpp).
// A P that retires, or goes back for another runtime to use, has nobody inside its gates then, and
// leaves its caches where they are: cleaners get them, until an owner comes again.
// tests/model/cache_gate_model_test.cpp tries every interleaving on this very code.
#pragma once

#include <atomic>
#include <cstdint>

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

template <class Sync>
class cache_gate {
 public:
  /// Owner. False: shut; go elsewhere. Barrier: native_sync, or membarrier_sync where it is known
  /// to be enough.
  template <class Barrier>
  [[nodiscard]] WEFT_INLINE bool enter() noexcept {
    busy_.store(1, std::memory_order_relaxed);
    Barrier::light_barrier();  // pairs with the heavy barrier between shut() and is_free()
    if (shut_.load(std::memory_order_acquire) == 0) [[likely]]  // acquire: pairs with open()
      return true;
    leave();  // release here too: it hides the store of the section before
    return false;
  }
  WEFT_INLINE void leave() noexcept {
    busy_.store(0, std::memory_order_release);  // pairs with is_free()
  }

  /// Cleaner: then one heavy barrier for all gates that it has shut.
  void shut() noexcept { shut_.store(1, std::memory_order_relaxed); }
  /// Cleaner, after the barrier: the cache is its own until open(). False: the owner is inside.
  [[nodiscard]] bool is_free() const noexcept { return busy_.load(std::memory_order_acquire) == 0; }
  void open() noexcept { shut_.store(0, std::memory_order_release); }

 private:
  typename Sync::template atomic<std::uint32_t> busy_{0};
  typename Sync::template atomic<std::uint32_t> shut_{0};
};

}  // namespace weft::inline v0::detail
