// SPDX-License-Identifier: Apache-2.0
// The io_uring poller: one ring a P, touched by the P's owner only, apart from the blocking call of
// wait(), which uses nothing but the ring's descriptor.
//
// Only one-shot POLL_ADDs (and their removals) go in: the kernel never holds a pointer of ours.
// COOP_TASKRUN, not DEFER_TASKRUN: completions of a ring whose submitter is stuck in user code must
// still appear, to whoever owns the P then. The completion work of an entry is done by the thread
// that submitted it, so the eventfd's poll is armed anew when the P has changed hands: otherwise
// its wake-up could wait for the old thread's next tick.
//
// The ring is made at the first arm(): until then the P sleeps on its eventfd alone.
#pragma once

#include <memory>
#include <system_error>

#include "netpoll/uring_abi.hpp"
#include "netpoll/wake_event.hpp"
#include "sched/poller.hpp"

namespace weft::inline v0::detail {

/// What this kernel's io_uring can do, found by trying.
struct uring_support {
  int error = 0;                  // errno of the attempt; 0: usable
  const char* missing = nullptr;  // a needed feature that is not there (error is EOPNOTSUPP)
  unsigned flags = 0;             // for io_uring_setup
  unsigned features = 0;
};

/// Tries to make a ring, dropping optional flags that the kernel does not know.
[[nodiscard]] uring_support probe_uring() noexcept;

class uring_poller final : public poller {
 public:
  explicit uring_poller(const uring_support& support) noexcept : support_(support) {}
  ~uring_poller() override;

  /// errno of the construction, 0 if it is usable.
  [[nodiscard]] int error() const noexcept { return wake_.error(); }

  std::error_code arm(int fd, unsigned direction, std::uint64_t key) noexcept override;
  void disarm(int fd, unsigned direction, std::uint64_t key) noexcept override;
  [[nodiscard]] bool disarm_all() noexcept override;
  [[nodiscard]] fiber_list poll() noexcept override;
  void prepare_wait() noexcept override;
  void wait(std::int64_t timeout_ns) noexcept override;
  [[nodiscard]] bool has_completions() const noexcept override;
  void wake() noexcept override { wake_.wake(); }
  [[nodiscard]] std::uint32_t armed() const noexcept override {
    return armed_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] const char* name() const noexcept override { return "io_uring"; }

  /// How often the completion queue was too small (the kernel keeps what does not fit).
  [[nodiscard]] std::uint64_t overflows() const noexcept { return overflows_; }

 private:
  [[nodiscard]] std::error_code open_ring() noexcept;
  [[nodiscard]] io_uring_sqe* next_entry() noexcept;
  void submit_and_flush() noexcept;
  void reap(fiber_list& ready) noexcept;
  void remove_poll(std::uint64_t key) noexcept;
  [[nodiscard]] bool arm_event() noexcept;
  [[nodiscard]] unsigned publish_entries() noexcept;
  [[nodiscard]] unsigned ring_flags() const noexcept;

  const uring_support support_;
  wake_event wake_;
  // Owner only.
  io_uring ring_{};
  bool open_ = false;
  bool event_armed_ = false;
  bool can_disarm_all_ = true;     // as far as we know
  std::uint32_t event_round_ = 0;  // tells a stale notification of the eventfd from the present one
  std::uint64_t event_thread_ = 0;  // who submitted it
  std::uint64_t overflows_ = 0;
  std::atomic<std::uint32_t> armed_{0};  // written by the owner, read by anybody
};

}  // namespace weft::inline v0::detail
