// SPDX-License-Identifier: Apache-2.0
#include "netpoll/epoll_poller.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "netpoll/poll_desc.hpp"

namespace weft::inline v0::detail {
namespace {

constexpr int batch = 128;  // events a system call

constexpr std::uint64_t record_of(std::uint64_t key) noexcept { return key & ~std::uint64_t{1}; }

}  // namespace

epoll_poller::~epoll_poller() {
  if (epoll_fd_ >= 0) ::close(epoll_fd_);
}

std::error_code epoll_poller::open_epoll() noexcept {
  epoll_fd_ = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd_ < 0) return {errno, std::system_category()};
  return {};
}

std::error_code epoll_poller::reserve(int fd) noexcept {
  const auto index = static_cast<std::size_t>(fd);
  if (index < registrations_.size()) return {};
  try {
    registrations_.resize(std::max(index + 1, registrations_.size() * 2));
    return {};
  } catch (const std::bad_alloc&) {
    return {ENOMEM, std::system_category()};
  }
}

// errno of epoll_ctl, 0 if it went well.
int epoll_poller::control(int operation, int fd, const registration& r) noexcept {
  ::epoll_event event{};
  event.events = EPOLLONESHOT | ((r.directions & poll_read) != 0 ? EPOLLIN | EPOLLRDHUP : 0U) |
                 ((r.directions & poll_write) != 0 ? EPOLLOUT : 0U);
  event.data.fd = fd;
  return ::epoll_ctl(epoll_fd_, operation, fd, &event) == 0 ? 0 : errno;
}

int epoll_poller::change(int fd, const registration& r) noexcept {
  const int error = control(EPOLL_CTL_MOD, fd, r);
  return error == ENOENT ? control(EPOLL_CTL_ADD, fd, r) : error;
}

std::error_code epoll_poller::arm(int fd, unsigned direction, std::uint64_t key) noexcept {
  if (epoll_fd_ < 0) {
    if (auto error = open_epoll()) return error;
  }
  if (fd < 0) return {EBADF, std::system_category()};
  if (auto error = reserve(fd)) return error;
  const key_use use(key, key_use::while_closing::no);
  if (!use.valid()) return {};  // closed on the way here; nobody waits
  registration& r = registrations_[static_cast<std::size_t>(fd)];
  if (r.record != record_of(key)) {
    // The number meant another descriptor before; what was armed for it died with it.
    set_armed(armed() - static_cast<std::uint32_t>(__builtin_popcount(r.directions)));
    r = {.record = record_of(key), .directions = 0};
  }
  const unsigned before = r.directions;
  r.directions |= direction;
  const int error = change(fd, r);
  if (error == EPERM) {  // regular files and directories: always ready, as poll(2) says
    r.directions = before;
    try {
      always_ready_.push_back(key);
    } catch (const std::bad_alloc&) {
      return {ENOMEM, std::system_category()};
    }
    return {};
  }
  if (error != 0) {
    r.directions = before;
    return {error, std::system_category()};
  }
  if (before != r.directions) set_armed(armed() + 1);
  return {};
}

void epoll_poller::disarm(int fd, unsigned direction, std::uint64_t key) noexcept {
  if (fd < 0 || static_cast<std::size_t>(fd) >= registrations_.size()) return;
  registration& r = registrations_[static_cast<std::size_t>(fd)];
  if (r.record != record_of(key) || (r.directions & direction) == 0) return;
  r.directions &= ~direction;
  set_armed(armed() - 1);
  // Once the number is closed the kernel has dropped the registration.
  if (const key_use use(key, key_use::while_closing::yes); use.valid()) {
    static_cast<void>(control(r.directions == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD, fd, r));
  }
  // As with io_uring, a notification taken back counts as fired: whoever waits looks again.
  try {
    always_ready_.push_back(key);
  } catch (const std::bad_alloc&) {
    return;  // nobody waits on a closed descriptor
  }
}

bool epoll_poller::disarm_all() noexcept {
  try {
    always_ready_.reserve(always_ready_.size() + armed());
  } catch (const std::bad_alloc&) {
    return true;  // the caller asks again
  }
  for (std::size_t fd = 0; fd < registrations_.size(); ++fd) {
    const registration r = registrations_[fd];
    for (const unsigned side : {read_side, write_side}) {
      if ((r.directions & direction_of(side)) == 0) continue;
      disarm(static_cast<int>(fd), direction_of(side), r.record | side);
    }
  }
  return true;
}

bool epoll_poller::has_completions() const noexcept {
  if (wake_.pending() || !always_ready_.empty()) return true;
  if (armed() == 0) return false;
  // Only the kernel knows: a look costs 0.2 us, less than an epoll_wait in vain.
  ::pollfd look{epoll_fd_, POLLIN, 0};
  return ::poll(&look, 1, 0) > 0;
}

void epoll_poller::fire(int fd, unsigned directions, fiber_list& ready) noexcept {
  registration& r = registrations_[static_cast<std::size_t>(fd)];
  directions &= r.directions;
  if (directions == 0) return;
  r.directions &= ~directions;
  set_armed(armed() - static_cast<std::uint32_t>(__builtin_popcount(directions)));
  // ONESHOT has disabled both directions: the other one goes on, unless the descriptor is closed
  // (its waiters have been told by that).
  if (r.directions != 0) {
    const key_use use(r.record, key_use::while_closing::no);
    if (use.valid()) static_cast<void>(control(EPOLL_CTL_MOD, fd, r));
  }
  if ((directions & poll_read) != 0) poll_fire(r.record | read_side, ready);
  if ((directions & poll_write) != 0) poll_fire(r.record | write_side, ready);
}

fiber_list epoll_poller::poll() noexcept {
  fiber_list ready;
  if (wake_.pending()) static_cast<void>(wake_.drain());
  for (const std::uint64_t key : always_ready_) poll_fire(key, ready);
  always_ready_.clear();
  if (epoll_fd_ < 0) return ready;
  ::epoll_event events[batch];
  for (;;) {
    const int n = ::epoll_wait(epoll_fd_, events, batch, 0);
    for (int i = 0; i < n; ++i) {
      const std::uint32_t seen = events[i].events;
      const bool broken = (seen & (EPOLLERR | EPOLLHUP)) != 0;
      fire(events[i].data.fd,
           (broken || (seen & (EPOLLIN | EPOLLRDHUP)) != 0 ? poll_read : 0U) |
               (broken || (seen & EPOLLOUT) != 0 ? poll_write : 0U),
           ready);
    }
    if (n < batch) return ready;
  }
}

void epoll_poller::prepare_wait() noexcept {
  sleep_ticket& ticket = this_sleep_ticket();
  ticket = {
      .sequence = wake_.ticket(), .kernel_fd = epoll_fd_, .to_submit = 0, .event_armed = true};
}

void epoll_poller::wait(std::int64_t timeout_ns) noexcept {
  const sleep_ticket ticket = this_sleep_ticket();
  if (wake_.enter(ticket.sequence)) sleep_on(wake_.fd(), ticket.kernel_fd, timeout_ns);
  wake_.leave();
}

}  // namespace weft::inline v0::detail
