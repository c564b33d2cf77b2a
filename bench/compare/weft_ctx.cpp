// SPDX-License-Identifier: Apache-2.0
// The workloads of contexts and of timers that are made and dropped, on weft.
#include <chrono>
#include <vector>
#include <weft/weft.hpp>

#include "compare/weft_cost.hpp"
#include "compare/weft_workloads.hpp"

namespace bench {

void ctx_cancel(const job& j) {
  std::int64_t done = 0;
  const cost spent;
  for (std::int64_t i = 0; i < j.n; ++i) {
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    cancel();
    if (ctx.err()) ++done;
  }
  spent.report(j, j.n, "ns/op");
  expect(j, done == j.n, "contexts cancelled");
}

void ctx_cancel_child(const job& j) {
  auto [parent, stop] = weft::with_cancel(weft::background());
  std::int64_t done = 0;
  const cost spent;
  for (std::int64_t i = 0; i < j.n; ++i) {
    auto [ctx, cancel] = weft::with_cancel(parent);
    cancel();
    if (ctx.err()) ++done;
  }
  spent.report(j, j.n, "ns/op");
  expect(j, done == j.n && !parent.err(), "contexts cancelled");
}

void ctx_timeout(const job& j) {
  std::int64_t done = 0;
  const cost spent;
  for (std::int64_t i = 0; i < j.n; ++i) {
    auto [ctx, cancel] = weft::with_timeout(weft::background(), std::chrono::hours(1));
    cancel();
    if (ctx.err()) ++done;
  }
  spent.report(j, j.n, "ns/op");
  expect(j, done == j.n, "contexts cancelled");
}

void ctx_tree(const job& j) {
  auto [parent, cancel] = weft::with_cancel(weft::background());
  std::vector<decltype(weft::with_cancel(parent))> children;
  children.reserve(static_cast<std::size_t>(j.n));
  for (std::int64_t i = 0; i < j.n; ++i) children.push_back(weft::with_cancel(parent));
  const cost spent;
  cancel();
  spent.report(j, j.n, "ns/child");
  for (const auto& [child, stop] : children) expect(j, bool{child.err()}, "child not cancelled");
}

void after_func(const job& j) {
  std::int64_t stopped = 0;
  const cost spent;
  for (std::int64_t i = 0; i < j.n; ++i) {
    auto t = weft::after_func(std::chrono::hours(1), [] {});
    if (t.stop()) ++stopped;
  }
  spent.report(j, j.n, "ns/op");
  expect(j, stopped == j.n, "timers stopped");
}

}  // namespace bench
