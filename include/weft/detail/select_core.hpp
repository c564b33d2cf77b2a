// SPDX-License-Identifier: Apache-2.0
// The untyped half of select: a list of cases in the caller's storage, an attempt that either takes
// one at once or publishes a waiter for each, and the clearing up after the wake-up. select.hpp
// puts types and handlers on it.
//
// A record is the caller's except while it is published; then its waiter belongs to the lock of the
// channel or context it names. No record is linked anywhere when select_start has returned true or
// select_finish has returned.
#pragma once

#include <cstddef>
#include <cstdint>

#include <weft/detail/cancel_node.hpp>
#include <weft/detail/chan_core.hpp>
#include <weft/detail/config.hpp>
#include <weft/detail/waiter.hpp>

namespace weft::inline v0::detail {

enum class case_kind : std::uint8_t {
  nil,            ///< never ready
  recv,           ///< w.slot: raw storage for a T
  recv_optional,  ///< w.slot: std::optional<T>, emptied by select
  send,           ///< w.slot: the T to move from
  done,           ///< w.owner: a cancel_node
  timeout,        ///< timeout_ns
  otherwise,
};

struct select_record {
  waiter w;  // owner and slot are set when the case is made, the rest by select
  std::int64_t timeout_ns = 0;
  std::uint32_t poll_at = 0;  // k-th element of the random order over all cases
  std::uint32_t lock_at = 0;  // k-th element of the order by address
  case_kind kind = case_kind::nil;

  void set_channel(case_kind k, chan_core* c, void* slot) noexcept {
    kind = c == nullptr ? case_kind::nil : k;
    w.owner = c;
    w.slot = slot;
  }
  void set_done(cancel_node* n) noexcept {
    kind = n == nullptr ? case_kind::nil : case_kind::done;
    w.owner = n;
  }
};

struct select_frame {
  select_frame(select_record* first, std::size_t n) noexcept
      : cases(first), count(static_cast<std::uint32_t>(n)) {}
  select_frame(const select_frame&) = delete;
  select_frame& operator=(const select_frame&) = delete;
  ~select_frame() {}

  static constexpr std::uint32_t none = 0xffff'ffff;

  select_record* cases;
  std::uint32_t count;
  std::uint32_t active = 0;  // cases that name a channel or context
  std::uint32_t chosen = none;
  std::uint32_t timeout_case = none;  // the one with the nearest deadline
  std::uint32_t otherwise_case = none;
  bool ok = true;  // of the chosen case: false = the channel is closed
  fiber_core* g = nullptr;
  union {
    wake_extras extras;  // alive between start and finish if timeout_case != none
  };
};

/// True: a case was taken at once, see `chosen` and `ok`. False: park_wait(f->g), select_finish(f).
/// Throws bad_alloc if an unbounded channel cannot grow; nothing has happened then.
[[nodiscard]] WEFT_EXPORT bool select_start(select_frame* f);

/// After the park: which case it was, and takes the other waiters back.
WEFT_EXPORT void select_finish(select_frame* f) noexcept;

WEFT_INLINE void run_select(select_frame& f) {
  if (!select_start(launder_ptr(&f))) {
    park_wait(f.g);
    select_finish(launder_ptr(&f));
  }
}

}  // namespace weft::inline v0::detail
