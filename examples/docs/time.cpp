// SPDX-License-Identifier: Apache-2.0
// A sleep, a timer that is stopped and set again, three ticks, a wait with an end, and a function
// that runs later.
#include <chrono>
#include <cstdio>

#include <weft/weft.hpp>

using namespace std::chrono_literals;

namespace {

const char* text(bool b) { return b ? "yes" : "no"; }

}  // namespace

int main() {
  return weft::run([] {
    const weft::time_point begun = weft::clock::now();
    weft::sleep_for(5ms);
    std::printf("slept 5 ms at least: %s\n", text(weft::clock::now() - begun >= 5ms));

    auto [ctx, cancel] = weft::with_timeout(weft::background(), 1ms);
    if (auto r = weft::sleep_for(ctx, 1h); !r) std::printf("%s\n", r.error().message().c_str());

    const weft::timer timer(1h);
    std::printf("stopped in time: %s\n", text(timer.stop()));
    std::printf("armed when set again: %s\n", text(timer.reset(1ms)));
    (void)timer.channel().recv();
    std::printf("stopped in time: %s\n", text(timer.stop()));

    weft::time_point before = weft::clock::now();
    const weft::ticker ticker(1ms);
    bool in_order = true;
    for (int i = 0; i < 3; ++i) {
      const weft::time_point tick = *ticker.channel().recv();
      in_order = in_order && before <= tick;
      before = tick;
    }
    std::printf("three ticks in order: %s\n", text(in_order));

    const weft::chan<int> silent;  // nil: nothing will ever come
    const auto end = weft::after(2ms);
    const std::size_t taken = weft::select(weft::on_recv(silent, [] {}), weft::on_recv(end, [] {}));
    std::printf("case %zu\n", taken);

    weft::latch ran(1);
    auto soon = weft::after_func(1ms, [&] { ran.count_down(); });
    auto never = weft::after_func(1h, [] { std::puts("too late"); });
    ran.wait();
    std::printf("prevented: %s, %s\n", text(soon.stop()), text(never.stop()));
  });
}
