// SPDX-License-Identifier: Apache-2.0
// Stacks as text: walked by frame pointers within a stack's bounds, named through dladdr.
// Allocates nothing (C++ names stay mangled where a demangler would need memory: see print_frames).
#pragma once

#include <cstddef>
#include <cstdint>

#include <weft/detail/fiber_core.hpp>

namespace weft::inline v0::detail {

struct frames {
  static constexpr std::size_t max = 64;
  std::uintptr_t pc[max];
  std::size_t count = 0;
};

/// A fiber's state in a dump's words.
[[nodiscard]] const char* to_string(fiber_state s) noexcept;

/// The frames of a parked fiber. It must not run meanwhile.
void walk_parked(const fiber_core* g, frames* out) noexcept;

/// The frames of a fiber that was interrupted at pc with this frame pointer. Async-signal-safe.
void walk_from(const fiber_core* g, std::uintptr_t pc, std::uintptr_t fp, frames* out) noexcept;

/// The caller's own frames, by the unwinder (needs no frame pointers), at most up to the fiber's
/// entry.
void walk_self(frames* out) noexcept;

/// Writes one "name\n\tmodule+0x..." pair a frame to standard error, as Go lays it out. With
/// `demangle` C++ names are made readable, which may allocate: not in a signal handler.
void print_frames(const frames& f, bool demangle) noexcept;

/// The same through the log sink, with readable names. Not in a signal handler.
void log_frames(const frames& f) noexcept;

/// "fiber N [chan receive]:" and its stack, "created by ..." with the creation site.
void print_fiber(fiber_core* g, bool is_self, bool demangle) noexcept;

}  // namespace weft::inline v0::detail
