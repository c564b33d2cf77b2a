// SPDX-License-Identifier: Apache-2.0
// How I/O code asks a P's poller for a notification, from anywhere. A fiber on a worker arms on the
// P it runs on, at once; a fiber without a P and a plain thread hand the request to a worker.
#pragma once

#include <atomic>
#include <cstdint>

#include "sched/poller.hpp"

namespace weft::inline v0::detail {

/// A request on its way to another worker. Embedded in type-stable memory (one for each direction
/// of a poll_desc, one more for disarming); `queued` is true from hand-over until it was carried
/// out, and the owner must not reuse it before.
struct io_request {
  io_request* next = nullptr;
  int fd = -1;
  unsigned direction = 0;
  std::uint64_t key = 0;
  bool is_arm = true;
  std::atomic<bool> queued{false};
};

/// Arms (fd, direction, key). Returns the number of the P whose poller got (or will get) it, or an
/// error of the kernel. A failure after a hand-over is reported by firing the key at once (a
/// spurious readiness, which the caller's system call then explains). `rt` may be null for "the
/// caller's, else the default runtime"; errc::no_runtime without any.
[[nodiscard]] int io_arm(runtime_state* rt, int fd, unsigned direction, std::uint64_t key,
                         io_request* request, std::error_code& error) noexcept;

/// Takes it back from the poller of P number `p`; a request only. Never fails.
void io_disarm(runtime_state* rt, int p, int fd, unsigned direction, std::uint64_t key,
               io_request* request) noexcept;

/// The runtime that the calling fiber belongs to, else the default one, else null.
[[nodiscard]] runtime_state* current_runtime() noexcept;

}  // namespace weft::inline v0::detail
