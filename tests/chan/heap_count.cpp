// SPDX-License-Identifier: Apache-2.0
// A file of its own: inlined into others, the compiler would see operator new meet free().
#include "tests/chan/heap_count.hpp"

#include <cstddef>
#include <cstdlib>
#include <new>

namespace weft_test {

std::atomic<long> heap_blocks{0};

namespace {

void* heap_take(std::size_t n, std::size_t align) {
  heap_blocks.fetch_add(1, std::memory_order_relaxed);
  void* p = nullptr;
  if (::posix_memalign(&p, align < sizeof(void*) ? sizeof(void*) : align, n == 0 ? 1 : n) != 0) {
    throw std::bad_alloc();
  }
  return p;
}

}  // namespace
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
