// SPDX-License-Identifier: Apache-2.0
// Counts every allocation of the process: the malloc family, operator new and mmap, by all threads.
// Linking alloc_count.cpp into a program replaces those functions there; nothing else is needed.
//
// Law: counters only grow, are relaxed, and say nothing about order; read them when the work that
// was counted is over. An operator new counts as one `news`, not as a malloc as well. Ring set-up
// inside liburing makes its own system calls and is not seen.
#pragma once

#include <cstdint>

namespace bench {

struct alloc_counts {
  std::uint64_t mallocs = 0;
  std::uint64_t news = 0;
  std::uint64_t mmaps = 0;
  std::uint64_t frees = 0;
  [[nodiscard]] std::uint64_t allocations() const noexcept { return mallocs + news + mmaps; }
};

[[nodiscard]] alloc_counts alloc_counts_now() noexcept;

}  // namespace bench
