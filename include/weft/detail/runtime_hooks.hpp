// SPDX-License-Identifier: Apache-2.0
// What the scheduler does for modules above it without knowing them: each runtime has one slot in
// which ctx/ keeps the root context. When the main fiber returns, the runtime calls `cancel`; when
// the runtime has ended, `destroy`.
#pragma once

#include <weft/detail/config.hpp>
#include <weft/detail/spin_lock.hpp>

namespace weft::inline v0::detail {

struct root_slot {
  spin_lock lock;  // guards the pointers; the runtime calls them outside it
  void* context = nullptr;
  void (*cancel)(void* context) = nullptr;
  void (*destroy)(void* context) = nullptr;
};

/// Of the calling fiber's runtime, else of the default one; null without any.
[[nodiscard]] WEFT_EXPORT root_slot* current_root_slot() noexcept;

}  // namespace weft::inline v0::detail
