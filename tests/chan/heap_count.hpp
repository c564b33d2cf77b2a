// SPDX-License-Identifier: Apache-2.0
// Counts what goes to the heap: heap_count.cpp replaces the global operator new of the whole test
// program, the library's calls included.
#pragma once

#include <atomic>

namespace weft_test {

extern std::atomic<long> heap_blocks;

/// How many blocks `fn` takes from the heap, whoever takes them meanwhile.
template <class F>
long heap_blocks_of(F&& fn) {
  const long before = heap_blocks;
  fn();
  return heap_blocks - before;
}

}  // namespace weft_test
