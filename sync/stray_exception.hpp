// SPDX-License-Identifier: Apache-2.0
// What becomes of an exception that a user's function threw where nobody waits for its outcome.
#pragma once

#include <exception>

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

/// Gives it to the panic handler, as not fatal; without one, a line goes to the log: `who`, what it
/// said, and the line of the user's that started the function.
void report_stray_exception(const char* who, const void* site,
                            const std::exception_ptr& exception) noexcept;

}  // namespace weft::inline v0::detail
