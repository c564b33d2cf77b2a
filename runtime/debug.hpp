// SPDX-License-Identifier: Apache-2.0
// WEFT_DEBUG=key=value,key=value and the one place through which weft prints.
#pragma once

#include <cstdint>

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

/// The value of `key` in WEFT_DEBUG ("1" for a key without one), or null. The environment is read
/// once a process.
[[nodiscard]] const char* debug_option(const char* key) noexcept;

/// The same as a number; `fallback` when absent or not a number.
[[nodiscard]] std::int64_t debug_option_int(const char* key, std::int64_t fallback) noexcept;

/// "10ms", "500us", "2s", "1ns"; a number without a unit is ms. -1 if it is none of these.
[[nodiscard]] std::int64_t parse_duration_ns(const char* text) noexcept;

/// A switch that the sanitizer presets turn on; WEFT_DEBUG=key=0|1 overrides.
[[nodiscard]] bool debug_switch(const char* key) noexcept;

/// Hands one line (without newline) to the log sink; to standard error when none is set.
void log_line(const char* text) noexcept;

/// printf form, at most 500 characters.
void log_format(const char* format, ...) noexcept __attribute__((format(printf, 1, 2)));

/// Writes straight to standard error, for messages of a dying process. Async-signal-safe.
void write_error(const char* text) noexcept;
void write_error_u64(std::uint64_t value) noexcept;
void write_error_hex(std::uint64_t value) noexcept;

}  // namespace weft::inline v0::detail
