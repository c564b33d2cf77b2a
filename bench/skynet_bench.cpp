// SPDX-License-Identifier: Apache-2.0
// What does a tree of fibers cost that pass sums up through channels? One operation is a 10-ary
// tree of 10,000 leaves; an item is a leaf.
#include <weft/weft.hpp>

#include "support.hpp"

namespace {

constexpr std::int64_t leaves_per_tree = 10'000;
using channel = weft::channel<std::int64_t, 0>;

void node(const channel& up, std::int64_t first, std::int64_t leaves) {
  if (leaves == 1) {
    up.send(first);
    return;
  }
  channel down;
  for (std::int64_t i = 0; i < 10; ++i) {
    weft::go([&down, first = first + i * (leaves / 10), leaves = leaves / 10] {
      node(down, first, leaves);
    });
  }
  std::int64_t sum = 0;
  for (int i = 0; i < 10; ++i) sum += down.recv().value();
  up.send(sum);
}

void skynet(benchmark::State& state) {
  bench::measure_in_runtime(
      state,
      [](std::int64_t n) {
        for (std::int64_t i = 0; i < n; ++i) {
          channel root;
          weft::go([&root] { node(root, 0, leaves_per_tree); });
          benchmark::DoNotOptimize(root.recv());
        }
      },
      leaves_per_tree);
}
WEFT_BENCH_1P_2P(skynet);

}  // namespace
