// SPDX-License-Identifier: Apache-2.0
#include <weft/detail/random.hpp>

#include <sys/random.h>

#include <atomic>

#include "runtime/debug.hpp"

namespace weft::inline v0::detail {
namespace {

// 0 = not seeded yet. Only touched inside fast_rand, which is never inlined, so no caller keeps
// the thread_local address over a switch.
thread_local std::uint64_t rand_state = 0;

std::uint64_t first_seed() noexcept {
  static std::atomic<std::uint64_t> threads{0};
  const std::uint64_t nth = threads.fetch_add(1, std::memory_order_relaxed) + 1;
  std::uint64_t seed = static_cast<std::uint64_t>(debug_option_int("seed", 0));
  if (seed == 0) {
    if (::getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed)) seed = 0x2545F4914F6CDD1D;
  }
  seed ^= nth * 0x9E3779B97F4A7C15;
  return seed | 1;
}

}  // namespace

WEFT_NOINLINE std::uint32_t fast_rand(std::uint32_t n) noexcept {
  if (rand_state == 0) rand_state = first_seed();
  // xorshift64*, Vigna; then Lemire's multiply-shift into [0, n).
  rand_state ^= rand_state >> 12;
  rand_state ^= rand_state << 25;
  rand_state ^= rand_state >> 27;
  const auto r = static_cast<std::uint32_t>((rand_state * 0x2545F4914F6CDD1D) >> 32);
  return static_cast<std::uint32_t>((static_cast<std::uint64_t>(r) * n) >> 32);
}

}  // namespace weft::inline v0::detail
