// SPDX-License-Identifier: Apache-2.0
// The system calls the ground stands on, in one place (the seam for fault injection). Each returns
// what the kernel said; callers decide.
#pragma once

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>

#include <weft/detail/config.hpp>

#ifndef MADV_POPULATE_READ  // Linux 5.14
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_GUARD_INSTALL  // Linux 6.13; missing in Debian 12's headers
#define MADV_GUARD_INSTALL 102
#endif

namespace weft::inline v0::detail::os {

/// Sleeps while *word == expected, at most until the absolute CLOCK_MONOTONIC deadline (ns; < 0:
/// for ever). Spurious returns happen. Keeps errno.
inline void futex_wait(const std::atomic<std::uint32_t>* word, std::uint32_t expected,
                       std::int64_t deadline_ns = -1) noexcept {
  const int saved = errno;
  timespec ts{};
  if (deadline_ns >= 0) {
    ts.tv_sec = deadline_ns / 1'000'000'000;
    ts.tv_nsec = deadline_ns % 1'000'000'000;
  }
  ::syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected, deadline_ns >= 0 ? &ts : nullptr,
            nullptr, FUTEX_BITSET_MATCH_ANY);
  errno = saved;
}

/// Wakes up to n sleepers. The word may be gone already: the kernel then answers EFAULT, or wakes a
/// stranger for nothing, and both are harmless.
inline void futex_wake(const std::atomic<std::uint32_t>* word, int n = 1) noexcept {
  const int saved = errno;
  ::syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, nullptr, nullptr, 0);
  errno = saved;
}

inline void* map_anonymous(std::size_t size, int extra_flags = 0) noexcept {
  void* p = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | extra_flags,
                   -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}

/// The unit in which the kernel takes and gives memory: 4 KiB on x86-64; 4, 16 or 64 KiB on
/// aarch64.
[[nodiscard]] inline std::size_t page_size() noexcept {
#if defined(__x86_64__)
  return 4096;
#else
  return static_cast<std::size_t>(::getpagesize());
#endif
}

inline pid_t thread_id() noexcept { return static_cast<pid_t>(::syscall(SYS_gettid)); }

}  // namespace weft::inline v0::detail::os
