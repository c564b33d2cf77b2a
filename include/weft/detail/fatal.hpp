// SPDX-License-Identifier: Apache-2.0
// The end: for a broken runtime or a broken invariant, never for an expected failure.
#pragma once

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

/// Prints "fatal error: <message>", the calling fiber with its stack, and ends the process with
/// code 2 (with abort() under WEFT_DEBUG=abort=1). Allocates nothing. From any thread.
[[noreturn]] WEFT_EXPORT void fatal(const char* message) noexcept;

}  // namespace weft::inline v0::detail
