// SPDX-License-Identifier: Apache-2.0
// Where weft's own messages go. weft prints nothing unless asked (WEFT_DEBUG) or dying.
#pragma once

#include <functional>
#include <string_view>

#include <weft/detail/config.hpp>

namespace weft::inline v0 {

/// Receives one line at a time, without newline, from any thread; it must not throw, and must not
/// call weft.
using log_sink = std::function<void(std::string_view)>;

/// Sets the sink; an empty one restores standard error.
WEFT_EXPORT void set_log_sink(log_sink sink);

}  // namespace weft::inline v0
