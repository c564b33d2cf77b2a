// SPDX-License-Identifier: Apache-2.0
// Counts what goes to the heap. Replaces the global operator new of the whole test program, the
// library's calls included: to be included in one source file of it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace weft_test {
inline std::atomic<long> heap_blocks{0};

inline void* heap_take(std::size_t n, std::size_t align) {
  heap_blocks.fetch_add(1, std::memory_order_relaxed);
  void* p = nullptr;
  if (::posix_memalign(&p, align < sizeof(void*) ? sizeof(void*) : align, n == 0 ? 1 : n) != 0) {
    throw std::bad_alloc();
  }
  return p;
}

/// How many blocks `fn` takes from the heap, whoever takes them meanwhile.
template <class F>
long heap_blocks_of(F&& fn) {
  const long before = heap_blocks;
  fn();
  return heap_blocks - before;
}
}  // namespace weft_test

// The array and nothrow forms call these.
void* operator new(std::size_t n) { return weft_test::heap_take(n, 16); }
void* operator new(std::size_t n, std::align_val_t a) {
  return weft_test::heap_take(n, static_cast<std::size_t>(a));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
