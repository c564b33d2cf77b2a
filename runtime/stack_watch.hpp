// SPDX-License-Identifier: Apache-2.0
// A look at the stack of each fiber that ends: is its canary there (stacks without a guard), and
// how much of it has been used (WEFT_DEBUG=stacks), by the line that made the fiber.
//
// Use is what is in memory: stacks are reused, so for the figure to be this fiber's own, all that
// lies below the last frames goes back to the kernel when a fiber ends. Exact to a page, whatever
// was written, as long as the kernel swaps nothing out. Costs two system calls and some page faults
// a fiber, and quick paths are not taken; a process that is not watched pays nothing: the fiber's
// flag (fiber_is_watched) is one of those that the end of a fiber looks at together.
#pragma once

#include <cstddef>
#include <cstdint>

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

/// Set once, before any worker exists: each fiber gets fiber_is_watched.
extern bool stacks_are_watched __attribute__((visibility("hidden")));
/// The same for the figures.
extern bool stack_use_is_measured __attribute__((visibility("hidden")));
void stack_watch_init() noexcept;

/// A fiber of this site has done with its stack. in_use: it is the stack of the caller.
void look_at_stack(const void* site, int stack_class, char* lo, bool in_use) noexcept;

struct stack_use {
  const void* site;
  int stack_class;
  std::uint64_t fibers;
  std::uint32_t most;  // bytes
};
/// Calls visit(row, context) for each site and class of which a fiber has ended.
void stack_use_visit(void (*visit)(const stack_use&, void*), void* context);

/// The bytes from the lowest page in memory to the high end.
[[nodiscard]] std::uint32_t bytes_in_memory(int stack_class, const char* lo) noexcept;

}  // namespace weft::inline v0::detail
