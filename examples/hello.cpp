// SPDX-License-Identifier: Apache-2.0
// weft on one screen: fibers, a channel, select and a context. Workers square numbers until the
// jobs run out or the time is up, whichever comes first.
#include <chrono>
#include <cstdio>
#include <optional>

#include <weft/weft.hpp>

using namespace std::chrono_literals;

int main() {
  return weft::run([] {
    auto [ctx, cancel] = weft::with_timeout(weft::background(), 2s);
    auto jobs = weft::make_chan<int>();
    auto squares = weft::make_chan<int>(16);

    weft::wait_group workers;
    for (int i = 0; i < 4; ++i) {
      workers.go([=] {
        for (int n : jobs) squares.send(n * n);
      });
    }
    weft::go([=] {
      for (int n = 1; n <= 100; ++n) jobs.send(n);
      jobs.close();
    });
    weft::go([&] {
      workers.wait();
      squares.close();
    });

    long sum = 0;
    for (bool more = true; more;) {
      (void)weft::select(
          weft::on_recv(squares,
                        [&](std::optional<int> s) { s ? void(sum += *s) : void(more = false); }),
          weft::on_done(ctx, [&] { more = false; }));
    }
    std::printf("1^2 + ... + 100^2 = %ld\n", sum);
    return sum == 338350 ? 0 : 1;
  });
}
