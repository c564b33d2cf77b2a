// SPDX-License-Identifier: Apache-2.0
#include "netpoll/wake_event.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

wake_event::wake_event() noexcept
    : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)), error_(fd_ >= 0 ? 0 : errno) {}

wake_event::~wake_event() {
  if (fd_ >= 0) ::close(fd_);
}

void wake_event::wake() noexcept {
  const int saved = errno;
  sequence_.fetch_add(1, std::memory_order_seq_cst);
  const std::uint64_t one = 1;
  // Before the write, too: whom it wakes may look at once, and would leave a readable eventfd alone
  // until this thread has its core again.
  pending_.store(true, std::memory_order_relaxed);
  // EAGAIN: the counter is at its limit, so it is readable. EINTR does not happen: it never blocks.
  static_cast<void>(!::write(fd_, &one, sizeof(one)));
  // After the write: a drain between the two leaves `pending` set in vain, never a readable eventfd
  // without it. release: pairs with nothing but keeps it behind the write.
  pending_.store(true, std::memory_order_release);
  errno = saved;
}

bool wake_event::drain() noexcept {
  if (sleepers_.load(std::memory_order_seq_cst) != 0) return false;
  pending_.store(false, std::memory_order_relaxed);
  std::uint64_t count = 0;
  static_cast<void>(!::read(fd_, &count, sizeof(count)));
  if (sleepers_.load(std::memory_order_seq_cst) == 0) return true;
  const std::uint64_t one = 1;
  static_cast<void>(!::write(fd_, &one, sizeof(one)));
  pending_.store(true, std::memory_order_release);
  return false;
}

WEFT_NOINLINE sleep_ticket& this_sleep_ticket() noexcept {
  thread_local sleep_ticket ticket;
  return ticket;
}

WEFT_NOINLINE std::uint64_t this_thread_number() noexcept {
  static std::atomic<std::uint64_t> last{0};
  thread_local const std::uint64_t number = last.fetch_add(1, std::memory_order_relaxed) + 1;
  return number;
}

void sleep_on(int fd, int other_fd, std::int64_t timeout_ns) noexcept {
  ::pollfd fds[2] = {{fd, POLLIN, 0}, {other_fd, POLLIN, 0}};  // the kernel skips negative ones
  ::timespec ts{};
  if (timeout_ns >= 0) {
    ts.tv_sec = timeout_ns / 1'000'000'000;
    ts.tv_nsec = timeout_ns % 1'000'000'000;
  }
  static_cast<void>(::ppoll(fds, 2, timeout_ns >= 0 ? &ts : nullptr, nullptr));
}

}  // namespace weft::inline v0::detail
