// SPDX-License-Identifier: Apache-2.0
// The eventfd that ends a poller's wait(), and the proof that no wake-up is lost although the
// waiting thread has given its P away and another owner may poll meanwhile.
//
// A wake() adds 1 to `sequence`, then writes the eventfd. A sleeper takes a ticket (the sequence)
// while it owns the P, later adds itself to `sleepers`, compares the sequence with its ticket, and
// only then asks the kernel. The owner drains the eventfd, but not while anybody is a sleeper.
//   - A wake() before the comparison is seen by it: the sleeper returns at once.
//   - A wake() after the comparison finds the sleeper counted. Its write stays readable until the
//     sleeper has left, or an owner that looked at `sleepers` before the sleeper came drained it:
//     that owner looks again after its read and writes the eventfd anew.
// `sequence` and `sleepers` are sequentially consistent for this (sleeper: sleepers, sequence;
// waker and owner: sequence, sleepers).
#pragma once

#include <atomic>
#include <cstdint>

namespace weft::inline v0::detail {

class wake_event {
 public:
  /// See error().
  wake_event() noexcept;
  ~wake_event();
  wake_event(const wake_event&) = delete;
  wake_event& operator=(const wake_event&) = delete;

  [[nodiscard]] int fd() const noexcept { return fd_; }
  /// errno of the construction, 0 if it went well.
  [[nodiscard]] int error() const noexcept { return error_; }

  /// Any thread, async-signal-safe.
  void wake() noexcept;

  /// A wake() has not been drained. Owner.
  [[nodiscard]] bool pending() const noexcept {
    return pending_.load(std::memory_order_relaxed);  // a hint; the eventfd is the truth
  }
  /// Takes the wake-ups so far. False: a sleeper may still need them, so they stay. Owner.
  [[nodiscard]] bool drain() noexcept;

  [[nodiscard]] std::uint64_t ticket() const noexcept {
    return sequence_.load(std::memory_order_seq_cst);
  }
  /// Counts the caller as a sleeper; true if it may sleep. leave() in any case.
  [[nodiscard]] bool enter(std::uint64_t ticket) noexcept {
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    return sequence_.load(std::memory_order_seq_cst) == ticket;
  }
  void leave() noexcept { sleepers_.fetch_sub(1, std::memory_order_seq_cst); }

 private:
  const int fd_;
  const int error_;
  std::atomic<bool> pending_{false};
  std::atomic<std::uint64_t> sequence_{0};
  std::atomic<std::uint32_t> sleepers_{0};
};

/// What prepare_wait() leaves for the wait() of the same thread.
struct sleep_ticket {
  std::uint64_t sequence = 0;
  int kernel_fd = -1;      // ring or epoll; -1: only the eventfd
  unsigned to_submit = 0;  // entries of the submission queue
  bool event_armed = false;
};

/// The calling thread's. A worker does not switch fibers between prepare_wait() and wait().
[[nodiscard]] sleep_ticket& this_sleep_ticket() noexcept;

/// A number that only the calling thread ever has.
[[nodiscard]] std::uint64_t this_thread_number() noexcept;

/// Sleeps until one of the descriptors (-1: none) is readable, a signal, or the timeout.
void sleep_on(int fd, int other_fd, std::int64_t timeout_ns) noexcept;

}  // namespace weft::inline v0::detail
