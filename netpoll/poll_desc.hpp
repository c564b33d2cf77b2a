// SPDX-License-Identifier: Apache-2.0
// The record behind every descriptor that weft waits on: who is in an operation, who waits, what is
// armed in a poller, the deadlines, and how often the descriptor is in use.
//
// Type-stable: records live in slabs that are never given back. A notification names slot,
// generation and side; a stale one finds another generation and is ignored.
//
// Everything is guarded by `lock` (rank 2) but the few fields marked otherwise. `call_lock` comes
// before the timer heaps' locks (rank 1) and is held over calls that start and stop deadline timers
// and over io_disarm, with `lock` never held: the pollers take it themselves, and
// poll_forget_runtime takes call_lock, so a runtime cannot end in the middle of such a call.
//
// Counts. `users`: operations under way, plus one until close. At zero the number goes back to the
// kernel, so it cannot mean another file to somebody in the middle of an operation. `handles`:
// objects that point here. When both are zero the slot is free.
//
// Sides (read, write) are independent. `busy` is the turn: one operation a side at a time, others
// queue in `turns`. The holder of the turn waits in `parked`.
//
// Why no readiness is lost: `armed` is set when a one-shot, level-triggered notification is on its
// way to a poller and cleared when it has fired. Whoever must wait and finds `armed` false arms,
// and the kernel looks at the present state then; whoever finds it true has a notification that
// will still fire. So nothing needs to be remembered between EAGAIN and the park (Go's `pdReady`
// serves its edge-triggered registration). An armed notification whose waiter has left (deadline,
// context) stays: the next waiter uses it.
#pragma once

#include <atomic>
#include <cstdint>
#include <system_error>

#include <weft/detail/cancel_node.hpp>
#include <weft/detail/park.hpp>
#include <weft/detail/timer_node.hpp>
#include <weft/detail/waiter.hpp>

#include "sched/io.hpp"
#include "sched/poller.hpp"

namespace weft::inline v0::detail {

inline constexpr unsigned read_side = 0;
inline constexpr unsigned write_side = 1;

/// What a waker of a side tells in waiter::index.
enum class fd_wake : std::uint32_t { ready = 1, turn, deadline, closed };

struct fd_timer : timer_node {
  poll_desc* desc = nullptr;
  unsigned side = 0;
};

struct fd_side {
  wait_queue parked;  // the turn's holder, waiting for readiness
  wait_queue turns;   // operations waiting for their turn
  std::int64_t deadline = never;
  fd_timer timer;  // started and stopped under call_lock
  const runtime_state* holder =
      nullptr;  // runtime of the fiber whose turn it is; null for a thread
  bool busy = false;
  bool armed = false;
  bool arm_first = false;  // the turn's holder's: the last count was short, so probing is in vain
  int armed_p = -1;        // where; -1 until io_arm has answered
  runtime_state* armed_rt = nullptr;
  io_request arm_request;
  io_request disarm_request;
};

struct poll_desc : waitable {
  // Fixed while the slot is taken.
  int fd = -1;
  std::uint32_t slot = 0;
  bool owns_fd = false;
  bool is_socket = false;
  bool no_delay = false;  // listener: accepted connections get TCP_NODELAY (inherited)
  const void* site = nullptr;

  std::uint32_t generation = 1;
  std::uint32_t users = 0;
  std::uint32_t handles = 0;
  bool closing = false;
  bool finished = false;  // the last user has left
  fd_side side[2];

  spin_lock call_lock;
  poll_desc* next_free = nullptr;  // under the table's lock

  [[nodiscard]] std::uint64_t key(unsigned s) const noexcept {
    return std::uint64_t{slot} << 32 | std::uint64_t{generation} << 1 | s;
  }
};

/// The direction bit (poll_read, poll_write) of a side.
[[nodiscard]] constexpr unsigned direction_of(unsigned side) noexcept { return 1U << side; }

/// A record for `fd`: users 1, handles 1. Null: no memory.
[[nodiscard]] poll_desc* desc_open(int fd, bool owns_fd, bool is_socket, const void* site) noexcept;

/// Marks it closed, wakes everybody, takes armed notifications back; the last user closes the
/// number. `settle`: return only when the kernel has let go of the armed reads (at most 100 ms).
/// Idempotent.
void desc_close(poll_desc* d, bool settle) noexcept;

/// Takes the armed notification of a closed descriptor's side back, if its poller is known by now.
/// call_lock held; by somebody who is a user.
void desc_disarm_locked(poll_desc* d, unsigned side) noexcept;

void desc_add_handle(poll_desc* d) noexcept;
void desc_drop_handle(poll_desc* d) noexcept;

/// Use without a turn (shutdown, getsockname...): keeps the number valid.
[[nodiscard]] bool desc_use(poll_desc* d) noexcept;
void desc_unuse(poll_desc* d) noexcept;

/// Sets the deadline of the sides in `directions` (poll_read | poll_write).
void desc_set_deadline(poll_desc* d, unsigned directions, std::int64_t when) noexcept;

/// False if the key is stale or its descriptor closed (then nothing may be armed for it).
[[nodiscard]] bool desc_may_arm(std::uint64_t key) noexcept;

/// Use by key, for pollers whose system calls name the number: keeps it valid meanwhile.
class key_use {
 public:
  enum class while_closing : bool { no, yes };

  key_use(std::uint64_t key, while_closing allowed) noexcept;
  ~key_use() {
    if (desc_ != nullptr) desc_unuse(desc_);
  }
  key_use(const key_use&) = delete;
  key_use& operator=(const key_use&) = delete;
  [[nodiscard]] bool valid() const noexcept { return desc_ != nullptr; }

 private:
  poll_desc* desc_ = nullptr;
};

/// Records that are in use, for tests.
[[nodiscard]] std::uint32_t desc_live() noexcept;

/// A turn on one side of a descriptor, for the length of an operation. Lives in the caller's frame.
class fd_turn {
 public:
  /// Waits for the turn; see error().
  fd_turn(poll_desc* d, unsigned side, cancel_node* ctx) noexcept;
  ~fd_turn();
  fd_turn(const fd_turn&) = delete;
  fd_turn& operator=(const fd_turn&) = delete;

  /// Set if there is no turn: closed, deadline_exceeded, the context's error.
  [[nodiscard]] std::error_code error() const noexcept { return error_; }

  /// Waits until the side is ready. Errors as above, errc::no_runtime, the kernel's.
  [[nodiscard]] std::error_code wait_ready() noexcept;

  /// Waits for `ns` instead; errors as above. (Back-off after a failed accept.)
  [[nodiscard]] std::error_code pause(std::int64_t ns) noexcept;

  [[nodiscard]] int fd() const noexcept { return desc_->fd; }
  [[nodiscard]] fd_side& side() const noexcept { return desc_->side[side_]; }

 private:
  [[nodiscard]] std::error_code acquire() noexcept;
  [[nodiscard]] std::error_code wait_turn(fiber_core* g) noexcept;
  [[nodiscard]] std::error_code wait(std::int64_t until, bool for_readiness) noexcept;

  poll_desc* desc_;
  unsigned side_;
  cancel_node* ctx_;
  std::error_code error_;
};

}  // namespace weft::inline v0::detail
