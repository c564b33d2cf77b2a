// SPDX-License-Identifier: Apache-2.0
// Scheduling randomness: select order, steal victims. Not for cryptography.
#pragma once

#include <cstdint>

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

/// Uniform in [0, n), n > 0. Per-thread state, seeded from WEFT_DEBUG=seed=N or the kernel.
[[nodiscard]] WEFT_EXPORT std::uint32_t fast_rand(std::uint32_t n) noexcept;

}  // namespace weft::inline v0::detail
