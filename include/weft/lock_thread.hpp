// SPDX-License-Identifier: Apache-2.0
// Keeps a fiber on one thread, for libraries that are bound to the thread that has opened them.
#pragma once

#include <weft/detail/config.hpp>

namespace weft::inline v0 {

/// While it lives, the fiber that has made it runs on this thread only, and no other fiber does. As
/// Go's runtime.LockOSThread. Scopes nest. Made on a plain thread it does nothing. To be destroyed
/// by the fiber that has made it. May throw std::bad_alloc. The process ends if no thread can be
/// had for the other fibers (those of waiting locked ones do not count against
/// options.max_threads).
///
/// The price: when such a fiber parks, its thread sleeps, and waking it takes a hand-over from
/// another thread (some 10 us instead of some 10 ns).
class [[nodiscard]] lock_thread {
 public:
  WEFT_EXPORT lock_thread();
  WEFT_EXPORT ~lock_thread();
  lock_thread(const lock_thread&) = delete;
  lock_thread& operator=(const lock_thread&) = delete;
};

}  // namespace weft::inline v0
