// SPDX-License-Identifier: Apache-2.0
// WEFT_DEBUG=stalls=10ms: says which fiber keeps a thread busy, or blocked, for that long without a
// call of weft's that switches, where it was started and where it is. Time in weft::blocking does
// not count. For sysmon, which looks; a signal (SIGURG, as Go's) makes the thread tell its stack,
// so a system call that is in progress may return EINTR. The walk is by frame pointers: the caller
// of a library function without one may be missing from it.
#pragma once

#include <cstdint>

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

class runtime_state;
struct machine;

class stall_watch {
 public:
  stall_watch() noexcept;
  [[nodiscard]] bool on() const noexcept { return limit_ > 0; }
  /// Reports each stall once, when it has lasted for the limit.
  void look(runtime_state* rt, std::int64_t now) noexcept;

 private:
  void look_at(const runtime_state* rt, machine* m, std::int64_t now) noexcept;

  std::int64_t limit_ = 0;
};

}  // namespace weft::inline v0::detail
