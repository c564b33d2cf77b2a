// SPDX-License-Identifier: Apache-2.0
// The hand-off protocol: how an M makes sure, without a locked instruction, that the P it holds is
// still its own, while sysmon may take it away.
//
//   M:       in_rt = 1 (plain store); light barrier; read p->owner; equal to tag? -> go on
//   sysmon:  CAS owner tag -> tag|request; heavy barrier; read in_rt; 0? CAS tag|request -> claimed
//
// Exclusion: suppose sysmon's last CAS succeeds while M is in a section whose check read `tag`.
// That read precedes the request in modification order; the heavy barrier orders every access of M
// before or after itself; a read after it would have seen the request, so the read, and in_rt = 1
// before it, are before the barrier and visible to sysmon's load. It read 0, so a later in_rt = 0:
// that section had ended, and the release/acquire pair on in_rt orders its accesses before the
// take. A new section, whose in_rt = 1 sysmon did not see, is after the barrier and sees the
// request; the two CAS on the same word then decide. A tag carries the number of the acquisition,
// so it never comes back.
// An announced blocking call needs none of it: owner says so, and whoever moves it by CAS has it.
//
// tests/model/handoff_model_test.cpp tries every interleaving on this very code.
#pragma once

#include <atomic>
#include <cstdint>

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

// What processor::owner holds; see processor.hpp.
inline constexpr std::uint64_t owner_idle = 0;
inline constexpr std::uint64_t owner_claimed = 1;
inline constexpr std::uint64_t owner_woken = 3;
inline constexpr std::uint64_t owner_request = 2;
inline constexpr std::uint64_t owner_blocking = 4;
inline constexpr std::uint64_t owner_retired = 5;
inline constexpr std::uint64_t owner_flags = 7;  // tags are multiples of 8 and at least 8
inline constexpr std::uint64_t owner_never = 7;  // the tag of nobody: no owner is ever that

/// M: opens a section. False: see handoff_reenter.
template <class Sync, class Flag, class Owner>
[[nodiscard]] WEFT_INLINE bool handoff_enter(Flag& in_rt, const Owner& owner,
                                             std::uint64_t tag) noexcept {
  in_rt.store(1, std::memory_order_relaxed);
  Sync::light_barrier();  // pairs with the heavy barrier of handoff_ask
  return owner.load(std::memory_order_relaxed) == tag;
}

/// M: ends it.
template <class Flag>
WEFT_INLINE void handoff_leave(Flag& in_rt) noexcept {
  in_rt.store(0, std::memory_order_release);  // pairs with the acquire load of handoff_ask
}

enum class reentry : std::uint8_t {
  kept,       ///< sysmon had asked for it; it stays ours
  unblocked,  ///< our announced blocking call is over
  lost,       ///< somebody else has it
};

/// M, in a section that found something else than its tag. in_rt stays 1 throughout.
template <class Owner>
[[nodiscard]] reentry handoff_reenter(Owner& owner, std::uint64_t tag) noexcept {
  std::uint64_t expected = tag | owner_request;
  if (owner.compare_exchange_strong(expected, tag)) return reentry::kept;
  expected = tag | owner_blocking;
  if (owner.compare_exchange_strong(expected, tag)) return reentry::unblocked;
  return reentry::lost;
}

/// sysmon: asks the M that `seen` names for its P. False: not now; it is in a section, and will see
/// the request at its next one, or the P has changed hands.
template <class Sync, class Owner, class Flag>
[[nodiscard]] bool handoff_ask(Owner& owner, std::uint64_t seen, const Flag& in_rt) noexcept {
  const std::uint64_t tag = seen & ~owner_flags;
  std::uint64_t expected = tag;
  if ((seen & owner_request) == 0 &&
      !owner.compare_exchange_strong(expected, tag | owner_request)) {
    return false;
  }
  Sync::heavy_barrier();
  return in_rt.load(std::memory_order_acquire) == 0;
}

/// sysmon, after handoff_ask: true if the P is ours (owner_claimed).
template <class Owner>
[[nodiscard]] bool handoff_take(Owner& owner, std::uint64_t seen) noexcept {
  std::uint64_t expected = (seen & ~owner_flags) | owner_request;
  return owner.compare_exchange_strong(expected, owner_claimed);
}

/// M, in a section: says that it is about to block.
template <class Owner>
void handoff_announce(Owner& owner, std::uint64_t tag) noexcept {
  owner.store(tag | owner_blocking);
}

/// sysmon: takes the P of an announced blocking call.
template <class Owner>
[[nodiscard]] bool handoff_take_blocking(Owner& owner, std::uint64_t seen) noexcept {
  return owner.compare_exchange_strong(seen, owner_claimed);
}

}  // namespace weft::inline v0::detail
