// SPDX-License-Identifier: Apache-2.0
// Chunks: 64 MiB of address space, aligned to their size, so that the one an address lies in is
// found by arithmetic and one look (also in a signal handler). Stacks and slabs are cut out of
// them. The directory is a tree of two levels: 4 KiB of static data, and 32 KiB for each 512 GiB in
// which there is a chunk.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weft::inline v0::detail {

inline constexpr std::size_t chunk_bytes = 64U << 20;

/// Who cut a chunk up.
enum class chunk_use : std::uint8_t { none, stacks, slabs };

struct chunk_owner {
  chunk_use use = chunk_use::none;
  std::uint32_t index = 0;  // among those of this use
};

/// Zeroed, readable and writable, not reserved, never huge pages. Null when the kernel has no more
/// address space. Any thread; different chunks need no common lock.
[[nodiscard]] char* chunk_map(chunk_owner owner, const char* name) noexcept;

/// Gives it back. Nobody may look into it any more.
void chunk_unmap(char* base) noexcept;

/// The chunk that `address` lies in. Any thread, async-signal-safe.
[[nodiscard]] chunk_owner find_chunk(const void* address) noexcept;

[[nodiscard]] inline std::size_t offset_in_chunk(const void* address) noexcept {
  return reinterpret_cast<std::uintptr_t>(address) % chunk_bytes;
}

}  // namespace weft::inline v0::detail
