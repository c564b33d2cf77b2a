// SPDX-License-Identifier: Apache-2.0
// Small blocks for channels, contexts and timers: fixed classes of 64 bytes to 512, from slabs over
// mmap, through a cache per thread, so that making and dropping one costs no malloc and no lock in
// steady state. Blocks are aligned to 64 bytes and go back to the pool, not to the system.
// A cache hands its surplus to a global list by batches: producers and consumers of blocks on
// different threads then share. Larger or more aligned blocks come from operator new.
// Under ASan every block is a malloc of its own, so that use after free is seen.
#pragma once

#include <cstddef>

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

/// `size` bytes, aligned to at least max(64, align). Throws bad_alloc.
[[nodiscard]] void* block_alloc(std::size_t size, std::size_t align = cache_line);

/// Gives a block back; size and align as they were asked for.
void block_free(void* p, std::size_t size, std::size_t align = cache_line) noexcept;

}  // namespace weft::inline v0::detail
