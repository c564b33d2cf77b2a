// SPDX-License-Identifier: Apache-2.0
// Whether an M is to take the fresh fibers of another P: when that P does not come to the oldest of
// them soon. A batch of short ones is done before another core has helped; it would only interrupt
// (a steal is a membarrier, and each fiber a few cache misses). The oldest of a tree of fibers
// stands there for long.
//
// An M has its eye on one P at a time, and keeps it there for as long as that one's oldest stays:
// to look at several in turn would start the time anew with each. The M's own thread only.
#pragma once

#include <cstdint>

#include "sched/processor.hpp"

namespace weft::inline v0::detail {

class sighting {
 public:
  static constexpr std::int64_t ripe_ns = 50'000;
  static constexpr std::int64_t ripe_beside_long_ns = 20'000;  // p dispatches nothing meanwhile

  /// For p, which has something to steal. `mine`: the M's own P.
  [[nodiscard]] bool is_ripe(const processor* p, const processor* mine, std::int64_t now) noexcept {
    if (p_ != p && p_ != mine && is_still_there()) return false;
    if (p_ != p || mark_ != p->fresh.mark()) {
      p_ = p;
      mark_ = p->fresh.mark();
      ticks_ = p->ticks();
      since_ = now;
      return false;
    }
    return now - since_ >= (ticks_ == p->ticks() ? ripe_beside_long_ns : ripe_ns);
  }

 private:
  [[nodiscard]] bool is_still_there() const noexcept {
    return p_ != nullptr && mark_ == p_->fresh.mark() && p_->has_stealable_fresh();
  }

  const processor* p_ = nullptr;
  std::uint64_t mark_ = 0;
  std::uint32_t ticks_ = 0;
  std::int64_t since_ = 0;
};

}  // namespace weft::inline v0::detail
