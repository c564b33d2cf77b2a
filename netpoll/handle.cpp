// SPDX-License-Identifier: Apache-2.0
#include <weft/net/handle.hpp>

#include "netpoll/poll_desc.hpp"

namespace weft::inline v0::detail {

fd_handle::fd_handle(const fd_handle& other) noexcept : desc_(other.desc_) {
  if (desc_ != nullptr) desc_add_handle(desc_);
}

fd_handle::~fd_handle() {
  if (desc_ != nullptr) desc_drop_handle(desc_);
}

int fd_handle::native_handle() const noexcept {
  if (desc_ == nullptr) return -1;
  desc_->lock.lock();
  const int fd = desc_->closing ? -1 : desc_->fd;
  desc_->lock.unlock();
  return fd;
}

bool fd_handle::is_open() const noexcept { return native_handle() >= 0; }

void fd_handle::close() const noexcept {
  if (desc_ != nullptr) desc_close(desc_, false);
}

void fd_handle::set_deadline_ns(bool read, bool write, std::int64_t when) const noexcept {
  if (desc_ == nullptr) return;
  desc_set_deadline(desc_, (read ? poll_read : 0U) | (write ? poll_write : 0U), when);
}

}  // namespace weft::inline v0::detail
