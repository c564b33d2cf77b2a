// SPDX-License-Identifier: Apache-2.0
// How much of their stacks fibers have used, by the line that started them: what to give as
// fiber_options::stack_size. Measured under WEFT_DEBUG=stacks=1 only, which also logs the table at
// the end of a runtime.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include <weft/detail/config.hpp>

namespace weft::inline v0::diag {

/// The fibers that one line has started with stacks of one size, and that have ended or are parked.
struct stack_use_row {
  std::string file;
  std::uint32_t line = 0;
  std::string function;
  std::uint64_t fibers = 0;
  std::size_t high_water = 0;   ///< bytes, the most that one of them has used, in whole pages
  std::size_t stack_size = 0;   ///< what they had, as fiber_options::stack_size counts
  std::size_t enough_size = 0;  ///< the smallest stack_size that holds a quarter more than that
};

/// Of the process so far, by file and line. Of the fibers that live, those count that are parked at
/// this moment, in the caller's (or the default) runtime; all that a runtime ends with do in its
/// end. Empty unless the process runs under WEFT_DEBUG=stacks=1. From any thread.
[[nodiscard]] WEFT_EXPORT std::vector<stack_use_row> stack_use();

/// "12 KiB of 64 KiB (16 KiB are enough): 100 fibers of app.cpp:88 (worker)" a line.
WEFT_EXPORT std::ostream& operator<<(std::ostream& os, const stack_use_row& row);

}  // namespace weft::inline v0::diag
