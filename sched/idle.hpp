// SPDX-License-Identifier: Apache-2.0
// Sleeping and waking of workers, and why no wake-up is lost.
//
// A submitter publishes work (a queue's release store), passes a light barrier, and then looks:
// nobody spins and some P is idle -> wake one. A worker that stops looking publishes that (takes
// itself out of the spinning count, puts its P's bit up), passes a heavy barrier, and then looks at
// all queues, its timers and its mailbox once more. By the barrier pairing (asymmetric_barrier.hpp)
// the submitter sees the bit, or the worker sees the work.
// A spinner that finds work while being the last one does the same before it runs it: whoever
// skipped a wake-up because of it is seen by its recheck (stop_spinning).
// wake_one counts the spinner-to-be *before* it looks for an idle P, and looks again after taking
// the count back: a submitter that skipped on seeing the count is covered by the second look.
//
// The idle bit is the one arbiter of an idle P: whoever takes it down owns what happens next.
//   the sleeper itself (its timer or I/O came)   owner = its tag
//   wake_one                                     owner = owner_woken, then wake(); a sleeper moves
//                                                owner_woken to its tag by CAS
//   an M without a P (after a blocking call)     owner = its tag, then wake() for the old sleeper,
//                                                which finds the P gone and joins the pool
// A sleeper leaves `sleepers` first and reads bit and owner afterwards; a waker writes owner_woken
// first and reads `sleepers` afterwards (both sequentially consistent): no woken P is left with
// nobody, and if there is no sleeper at all the waker starts another M for it.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

namespace weft::inline v0::detail {

class runtime_state;
struct processor;
struct machine;

inline constexpr int max_procs = 256;

/// The set of idle Ps. All operations sequentially consistent: they are rare and carry the
/// protocol.
class idle_set {
 public:
  void put(int i) noexcept { word(i).fetch_or(bit(i)); }

  /// True for the one caller that took the bit down.
  [[nodiscard]] bool take(int i) noexcept { return (word(i).fetch_and(~bit(i)) & bit(i)) != 0; }

  /// Takes any; -1 when there is none.
  [[nodiscard]] int take_any() noexcept {
    for (std::size_t w = 0; w < words_.size(); ++w) {
      for (std::uint64_t seen = words_[w].load(); seen != 0; seen = words_[w].load()) {
        const int i = static_cast<int>(w * 64) + std::countr_zero(seen);
        if (take(i)) return i;
      }
    }
    return -1;
  }

  /// A hint on the hot path: two loads for up to 64 Ps are enough, so the other words are only
  /// looked at when they exist.
  [[nodiscard]] bool any() const noexcept {
    for (std::size_t w = 0; w < used_; ++w) {
      if (words_[w].load(std::memory_order_relaxed) != 0) return true;
    }
    return false;
  }

  [[nodiscard]] int count() const noexcept {
    int n = 0;
    for (const auto& w : words_) n += std::popcount(w.load());
    return n;
  }

  void set_procs(int n) noexcept { used_ = static_cast<std::size_t>(n + 63) / 64; }

 private:
  [[nodiscard]] std::atomic<std::uint64_t>& word(int i) noexcept {
    return words_[static_cast<std::size_t>(i) / 64];
  }
  [[nodiscard]] static std::uint64_t bit(int i) noexcept { return std::uint64_t{1} << (i % 64); }

  std::array<std::atomic<std::uint64_t>, max_procs / 64> words_{};
  std::size_t used_ = 1;
};

/// After publishing work: wakes a worker iff a P is idle and nobody spins. Any thread.
void wake_if_idle(runtime_state* rt) noexcept;

/// Wakes one without the first look.
void wake_one(runtime_state* rt) noexcept;

/// Sleeps with the M's P given up until there may be something to do. In a runtime section with a
/// P; on return the M has a P again (true), or not (false).
[[nodiscard]] bool sleep_idle(machine* m) noexcept;

/// Ends m's spinning. found: it goes on to run something.
void stop_spinning(machine* m, bool found) noexcept;

/// For an M without a P: takes an idle one. In a runtime section.
[[nodiscard]] bool acquire_idle_processor(machine* m) noexcept;

/// Work that any P could run.
[[nodiscard]] bool work_anywhere(runtime_state* rt) noexcept;

}  // namespace weft::inline v0::detail
