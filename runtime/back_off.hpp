// SPDX-License-Identifier: Apache-2.0
// How a lock waits for its holder: spin_lock and biased_lock do it in the same way.
#pragma once

namespace weft::inline v0::detail {

/// In a loop that looks whether the lock is free; `round` counts from 0. Keeps errno.
void back_off(unsigned round) noexcept;

}  // namespace weft::inline v0::detail
