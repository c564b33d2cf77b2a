// SPDX-License-Identifier: Apache-2.0
// The counting allocator, see alloc_count.hpp. Forwards to glibc's __libc_* names, which exist for
// exactly this, so there is no dlsym and no start-up order to get wrong.
#include "alloc_count.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <new>

extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* p, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
void __libc_free(void* p);
}

namespace {

struct alignas(64) counter {
  std::atomic<std::uint64_t> value{0};
  void add() noexcept { value.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t get() const noexcept { return value.load(std::memory_order_relaxed); }
};

constinit counter mallocs;
constinit counter news;
constinit counter mmaps;
constinit counter frees;

void* aligned(std::size_t alignment, std::size_t size) noexcept {
  mallocs.add();
  return __libc_memalign(alignment, size);
}

void* checked(void* p) {
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

}  // namespace

namespace bench {

alloc_counts alloc_counts_now() noexcept {
  return {.mallocs = mallocs.get(), .news = news.get(), .mmaps = mmaps.get(), .frees = frees.get()};
}

}  // namespace bench

extern "C" {

void* malloc(std::size_t size) noexcept {
  mallocs.add();
  return __libc_malloc(size);
}

void* calloc(std::size_t count, std::size_t size) noexcept {
  mallocs.add();
  return __libc_calloc(count, size);
}

void* realloc(void* p, std::size_t size) noexcept {
  mallocs.add();
  return __libc_realloc(p, size);
}

void* memalign(std::size_t alignment, std::size_t size) noexcept {
  return aligned(alignment, size);
}

void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  return aligned(alignment, size);
}

int posix_memalign(void** out, std::size_t alignment, std::size_t size) noexcept {
  if (alignment < sizeof(void*) || (alignment & (alignment - 1)) != 0) return EINVAL;
  void* p = aligned(alignment, size);
  if (p == nullptr) return ENOMEM;
  *out = p;
  return 0;
}

void free(void* p) noexcept {
  if (p != nullptr) frees.add();
  __libc_free(p);
}

void* mmap(void* at, std::size_t size, int protection, int flags, int fd, off_t offset) noexcept {
  mmaps.add();
  // syscall() returns the address as a long, and -1 with errno set is MAP_FAILED.
  return reinterpret_cast<void*>(::syscall(SYS_mmap, at, size, protection, flags, fd, offset));
}

void* mmap64(void* at, std::size_t size, int protection, int flags, int fd, off_t offset) noexcept {
  return mmap(at, size, protection, flags, fd, offset);
}

}  // extern "C"

// The array, nothrow and sized forms of the standard library all end in these.
void* operator new(std::size_t size) {
  news.add();
  return checked(__libc_malloc(size == 0 ? 1 : size));
}

void* operator new(std::size_t size, std::align_val_t alignment) {
  news.add();
  return checked(__libc_memalign(static_cast<std::size_t>(alignment), size));
}

void operator delete(void* p) noexcept { free(p); }
void operator delete(void* p, std::size_t) noexcept { free(p); }
void operator delete(void* p, std::align_val_t) noexcept { free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { free(p); }
