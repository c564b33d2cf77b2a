// SPDX-License-Identifier: Apache-2.0
// Merges two channels until both are closed; looks without waiting; gives up after a time; and
// selects over a list made at run time.
#include <chrono>
#include <cstdio>
#include <optional>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

using namespace std::chrono_literals;

namespace {

void count(const weft::send_chan<int>& out, int from) {
  for (int i = from; i < 10; i += 2) out.send(i);
}

}  // namespace

int main() {
  return weft::run([] {
    auto even = weft::make_chan<int>();
    auto odd = weft::make_chan<int>();
    weft::wait_group senders;
    for (const auto& [c, from] : {std::pair(even, 0), std::pair(odd, 1)}) {
      senders.go([c, from] {
        count(c, from);
        c.close();
      });
    }
    int sum = 0;
    while (even || odd) {  // a closed channel is always ready: made nil, its case never is
      (void)weft::select(
          weft::on_recv(even, [&](std::optional<int> n) { n ? void(sum += *n) : void(even = {}); }),
          weft::on_recv(odd, [&](std::optional<int> n) { n ? void(sum += *n) : void(odd = {}); }));
    }
    senders.wait();
    std::printf("sum: %d\n", sum);

    auto box = weft::make_chan<int>(1);
    for (int i = 0; i < 2; ++i) {
      (void)weft::select(weft::on_send(box, i, [&] { std::printf("sent %d\n", i); }),
                         weft::otherwise([&] { std::printf("no room for %d\n", i); }));
    }
    (void)weft::select(weft::on_send(box, 2), weft::on_timeout(1ms, [] { std::puts("gave up"); }));

    std::vector<weft::chan<int>> inputs{weft::make_chan<int>(), box, weft::make_chan<int>()};
    std::vector<std::optional<int>> values(inputs.size());
    std::vector<weft::select_case> cases;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      cases.push_back(weft::select_case::recv(inputs[i], values[i]));
    }
    const std::size_t taken = weft::select_any(cases);
    std::printf("case %zu: %d\n", taken, *values[taken]);
  });
}
