// SPDX-License-Identifier: Apache-2.0
// What the scheduler does for modules above it without knowing them: each runtime has one slot in
// which ctx/ keeps the root context. When the main fiber returns, the runtime calls `cancel`; when
// the runtime has ended, `destroy`. And whoever may outlive a runtime can note which one it was.
#pragma once

#include <cstdint>

#include <weft/detail/config.hpp>
#include <weft/detail/spin_lock.hpp>

namespace weft::inline v0::detail {

class runtime_state;

struct root_slot {
  spin_lock lock;  // guards the pointers; the runtime calls them outside it
  void* context = nullptr;
  void (*cancel)(void* context) = nullptr;
  void (*destroy)(void* context) = nullptr;
};

/// Of the calling fiber's runtime, else of the default one; null without any.
[[nodiscard]] WEFT_EXPORT root_slot* current_root_slot() noexcept;

/// Which runtime somebody is, or was, a fiber of; a plain thread of none.
struct runtime_mark {
  const runtime_state* rt = nullptr;
  std::uint64_t serial = 0;
};
/// The caller's.
[[nodiscard]] WEFT_EXPORT runtime_mark current_runtime_mark() noexcept;
/// What its fibers were at will not go on.
[[nodiscard]] WEFT_EXPORT bool has_ended(const runtime_mark& mark) noexcept;

}  // namespace weft::inline v0::detail
