// SPDX-License-Identifier: Apache-2.0
// The epoll poller, for kernels and containers without io_uring. Same contract, same socket code.
//
// One epoll a P, one EPOLLONESHOT registration a descriptor. Both directions share it, so a table
// by descriptor number says what is armed and for whom; only the P's owner touches table and
// registrations. A descriptor's number may be closed and reused behind our back (the kernel then
// drops the registration): an event or disarm whose record is not the table's is ignored, and a
// registration is only ever *added* by arm(), whose caller holds the number open.
//
// wait() only looks (ppoll on the epoll and the eventfd): events are taken by poll(), by the owner.
#pragma once

#include <cstdint>
#include <memory>
#include <system_error>
#include <vector>

#include "netpoll/wake_event.hpp"
#include "sched/poller.hpp"

namespace weft::inline v0::detail {

class epoll_poller final : public poller {
 public:
  epoll_poller() noexcept = default;
  ~epoll_poller() override;

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
  [[nodiscard]] const char* name() const noexcept override { return "epoll"; }

 private:
  /// What is armed on a descriptor number.
  struct registration {
    std::uint64_t record = 0;  // the key without its side
    unsigned directions = 0;
  };

  [[nodiscard]] std::error_code open_epoll() noexcept;
  [[nodiscard]] std::error_code reserve(int fd) noexcept;
  [[nodiscard]] int control(int operation, int fd, const registration& r) noexcept;
  [[nodiscard]] int change(int fd, const registration& r) noexcept;
  void fire(int fd, unsigned directions, fiber_list& ready) noexcept;
  void set_armed(std::uint32_t n) noexcept { armed_.store(n, std::memory_order_relaxed); }

  wake_event wake_;
  // Owner only.
  int epoll_fd_ = -1;
  std::vector<registration> registrations_;  // by descriptor number
  std::vector<std::uint64_t> always_ready_;  // keys of files that epoll refuses
  std::atomic<std::uint32_t> armed_{0};      // written by the owner, read by anybody
};

}  // namespace weft::inline v0::detail
