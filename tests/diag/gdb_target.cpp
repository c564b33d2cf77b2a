// SPDX-License-Identifier: Apache-2.0
// Something for a debugger to look at: a fiber parked three calls deep, then a stop.
#include <csignal>
#include <cstdio>

#include <weft/chan.hpp>
#include <weft/fiber.hpp>
#include <weft/run.hpp>

namespace {

int sink = 0;

__attribute__((noinline)) void innermost_wait(const weft::chan<int>& c) {
  sink += c.recv().value_or(0);
}
__attribute__((noinline)) void middle_wait(const weft::chan<int>& c) {
  innermost_wait(c);
  ++sink;
}

}  // namespace

int main() {
  return weft::run(weft::options{.procs = 1}, [] {
    auto c = weft::make_chan<int>();
    auto f = weft::spawn([&] { middle_wait(c); });
    while (weft::stats().waiting == 0) weft::yield();
    std::raise(SIGTRAP);  // the debugger has us here
    c.send(1);
    f.join();
    std::printf("sink=%d\n", sink);
  });
}
