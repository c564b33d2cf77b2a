// SPDX-License-Identifier: Apache-2.0
// A file of its own: inlined into others, the compiler would see operator new meet free().
#include "tests/chan/heap_count.hpp"

#include <cstddef>
#include <cstdlib>
#include <new>

namespace weft_test {

std::atomic<long> heap_blocks{0};

namespace {

void* heap_try(std::size_t n, std::size_t align) noexcept {
  heap_blocks.fetch_add(1, std::memory_order_relaxed);
  void* p = nullptr;
  if (::posix_memalign(&p, align < sizeof(void*) ? sizeof(void*) : align, n == 0 ? 1 : n) != 0) {
    return nullptr;
  }
  return p;
}

void* heap_take(std::size_t n, std::size_t align) {
  void* p = heap_try(n, align);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

}  // namespace
}  // namespace weft_test

// All forms: a sanitizer's own do not call one another, as the standard library's do.
#define WEFT_COUNTED_NEW(name)                                                                     \
  void* name(std::size_t n) { return weft_test::heap_take(n, 16); }                                \
  void* name(std::size_t n, std::align_val_t a) {                                                  \
    return weft_test::heap_take(n, static_cast<std::size_t>(a));                                   \
  }                                                                                                \
  void* name(std::size_t n, const std::nothrow_t&) noexcept { return weft_test::heap_try(n, 16); } \
  void* name(std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {                  \
    return weft_test::heap_try(n, static_cast<std::size_t>(a));                                    \
  }
#define WEFT_COUNTED_DELETE(name)                                              \
  void name(void* p) noexcept { std::free(p); }                                \
  void name(void* p, std::size_t) noexcept { std::free(p); }                   \
  void name(void* p, std::align_val_t) noexcept { std::free(p); }              \
  void name(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); } \
  void name(void* p, const std::nothrow_t&) noexcept { std::free(p); }         \
  void name(void* p, std::align_val_t, const std::nothrow_t&) noexcept { std::free(p); }

WEFT_COUNTED_NEW(operator new)
WEFT_COUNTED_NEW(operator new[])
WEFT_COUNTED_DELETE(operator delete)
WEFT_COUNTED_DELETE(operator delete[])
