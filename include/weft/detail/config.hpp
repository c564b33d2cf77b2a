// SPDX-License-Identifier: Apache-2.0
// Compiler switches that every other header builds upon: export and inlining attributes, which
// sanitizer is on, and the two workarounds that the shape of our API needs.
#pragma once

#include <cstddef>
#include <cstdint>

#if !defined(__linux__) || !(defined(__x86_64__) || defined(__aarch64__))
#error "weft runs on Linux, on x86-64 and aarch64"
#endif

#define WEFT_EXPORT __attribute__((visibility("default")))
#define WEFT_INLINE __attribute__((always_inline)) inline
#define WEFT_NOINLINE __attribute__((noinline))

#if defined(__SANITIZE_ADDRESS__)
#define WEFT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEFT_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define WEFT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WEFT_TSAN 1
#endif
#endif
#ifndef WEFT_ASAN
#define WEFT_ASAN 0
#endif
#ifndef WEFT_TSAN
#define WEFT_TSAN 0
#endif

// Code that runs between two stacks must not be instrumented: a shadow call stack would be
// unbalanced there.
#if WEFT_TSAN
#define WEFT_NO_SANITIZE __attribute__((no_sanitize("thread")))
#elif WEFT_ASAN
#define WEFT_NO_SANITIZE __attribute__((no_sanitize("address")))
#else
#define WEFT_NO_SANITIZE
#endif

namespace weft::inline v0::detail {

/// Returns `p`, but the compiler no longer knows where it came from.
/// g++ 12 to 14 lose the escape of a pointer to a local that travels inside a struct through
/// forwarding wrappers (-fipa-modref) and then keep stale copies of the local. Every address of a
/// user's closure or value that enters the library passes through here.
template <class T>
[[nodiscard]] WEFT_INLINE T* launder_ptr(T* p) noexcept {
  asm volatile("" : "+r"(p) : : "memory");
  return p;
}

/// Tells the waiting core that it spins.
WEFT_INLINE void cpu_relax() noexcept {
#if defined(__x86_64__)
  asm volatile("pause" ::: "memory");
#else
  asm volatile("isb" ::: "memory");  // takes time, as pause does; yield is a nop on most cores
#endif
}

inline constexpr std::size_t cache_line = 64;

}  // namespace weft::inline v0::detail
