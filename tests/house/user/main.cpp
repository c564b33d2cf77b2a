// SPDX-License-Identifier: Apache-2.0
// A user's first program: fibers, a channel, a select, a group to wait for. Says ok.
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <optional>
#include <weft/weft.hpp>

static_assert(WEFT_VERSION >= 100, "the header says which version it is");

namespace {

int sum_of_squares(int workers, int items) {
  auto jobs = weft::make_chan<int>();
  auto results = weft::make_chan<int>(16);
  weft::wait_group group;
  for (int w = 0; w < workers; ++w) {
    group.go([&] {
      for (int job : jobs) results.send(job * job);
    });
  }
  weft::go([=] {
    for (int i = 1; i <= items; ++i) jobs.send(i);
    jobs.close();
  });
  weft::go([&] {
    group.wait();
    results.close();
  });
  int sum = 0;
  bool open = true;
  while (open) {
    const std::size_t taken = weft::select(weft::on_recv(results,
                                                         [&](std::optional<int> square) {
                                                           if (square) {
                                                             sum += *square;
                                                           } else {
                                                             open = false;
                                                           }
                                                         }),
                                           weft::on_timeout(std::chrono::seconds(30), [&] {
                                             sum = -1;
                                             open = false;
                                           }));
    if (taken > 1) return -2;
  }
  return sum;
}

}  // namespace

int main() {
  return weft::run([] {
    if (weft::leak::snapshot().total() < 1) return 2;  // the main fiber, for one
    const int sum = sum_of_squares(4, 100);
    std::puts(sum == 338350 ? "ok" : "wrong sum");
    return sum == 338350 ? 0 : 1;
  });
}
