// SPDX-License-Identifier: Apache-2.0
// What work costs on weft: time, and the allocations of the whole process (alloc_count.hpp). Only
// weft's program counts them: what a peer's heap does on its hot paths is the peer's own choice,
// and weft's promise is a plain zero.
//
// Law: counted from the object's construction to allocs_per() or report(). What a round prepares
// before that is not in it; what it needs once meanwhile (a thread, a look at /proc) is, and is a
// small part of an operation.
#pragma once

#include "alloc_count.hpp"
#include "compare/harness.hpp"

namespace bench {

class cost : public stopwatch {
 public:
  /// The row's own figure, and its `allocs`.
  void report(const job& j, std::int64_t ops, std::string_view unit) const {
    const double ns = ns_per(ops);
    report_allocs(j, ops);
    bench::report(j, ns, unit);
  }
  /// `allocs` alone, for rows whose figure is no time.
  void report_allocs(const job& j, std::int64_t ops) const {
    const std::uint64_t made = alloc_counts_now().allocations() - before_;
    bench::report(j, "allocs", static_cast<double>(made) / static_cast<double>(ops), "allocs/op");
  }

 private:
  std::uint64_t before_ = alloc_counts_now().allocations();
};

}  // namespace bench
