// SPDX-License-Identifier: Apache-2.0
// WEFT_DEBUG=schedtrace=X[,scheddetail=1]: a line on the scheduler every X ms, in Go's words
// (runtime/proc.go, schedtrace). Read by sysmon without stopping anybody: the figures of one line
// are not of one instant.
#pragma once

#include <cstdint>

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

class runtime_state;

class sched_trace {
 public:
  sched_trace() noexcept;
  /// When the next line is due, ns; `never` without WEFT_DEBUG=schedtrace.
  [[nodiscard]] std::int64_t due() const noexcept { return due_; }
  /// Prints a line if one is due.
  void look(const runtime_state* rt, std::int64_t now) noexcept;

 private:
  std::int64_t period_ = 0;
  std::int64_t start_ = 0;
  std::int64_t due_;
  bool detailed_ = false;
};

}  // namespace weft::inline v0::detail
