// SPDX-License-Identifier: Apache-2.0
// What does a select cost: parked over four channels, with one case ready, with none?
#include <array>
#include <optional>
#include <weft/weft.hpp>

#include "support.hpp"

namespace {

using value = std::optional<std::int64_t>;

/// One operation is a message from each of four senders.
void select_four(benchmark::State& state) {
  bench::in_runtime(state.range(0), [&state] {
    std::array<weft::chan<std::int64_t>, 4> c;
    for (auto& one : c) one = weft::make_chan<std::int64_t>();
    bench::measure(
        state,
        [&c](std::int64_t n) {
          for (const auto& one : c) {
            weft::go([&one, n] {
              for (std::int64_t i = 0; i < n; ++i) one.send(i);
            });
          }
          std::int64_t sum = 0;
          const auto take = [&sum](value v) { sum += *v; };
          for (std::int64_t i = 0; i < 4 * n; ++i) {
            (void)weft::select(weft::on_recv(c[0], take), weft::on_recv(c[1], take),
                               weft::on_recv(c[2], take), weft::on_recv(c[3], take));
          }
          benchmark::DoNotOptimize(sum);
        },
        4);
  });
}
WEFT_BENCH_1P_2P(select_four);

/// One case ready, one not, otherwise; the ready channel is filled again in each operation.
void select_ready(benchmark::State& state) {
  bench::in_runtime(state.range(0), [&state] {
    const auto full = weft::make_chan<std::int64_t>(1);
    const auto empty = weft::make_chan<std::int64_t>(1);
    full.send(7);
    bench::measure(state, [&](std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) {
        (void)weft::select(weft::on_recv(full, [&full](value v) { full.send(*v); }),
                           weft::on_recv(empty, [](value) {}), weft::otherwise([] {}));
      }
    });
  });
}
WEFT_BENCH_1P(select_ready);

void select_nothing_ready(benchmark::State& state) {
  bench::in_runtime(state.range(0), [&state] {
    const auto empty = weft::make_chan<std::int64_t>();
    std::int64_t missed = 0;
    bench::measure(state, [&](std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) {
        (void)weft::select(weft::on_recv(empty, [](value) {}),
                           weft::otherwise([&missed] { ++missed; }));
      }
    });
    benchmark::DoNotOptimize(missed);
  });
}
WEFT_BENCH_1P(select_nothing_ready);

}  // namespace
