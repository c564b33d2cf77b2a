// SPDX-License-Identifier: Apache-2.0
// A group whose first error ends the rest; a supervisor, whose errors do not; two futures; a loop
// on all workers.
#include <atomic>
#include <cstdio>
#include <numeric>
#include <stdexcept>
#include <system_error>
#include <vector>

#include <weft/weft.hpp>

namespace {

weft::result<void> fetch(const weft::context& ctx, int part) {
  if (part == 2) return weft::failure(std::make_error_code(std::errc::connection_refused));
  weft::channel<int> answer;  // which never comes
  if (auto r = answer.recv(ctx); !r) return weft::failure(r.error());
  return {};
}

}  // namespace

int main() {
  return weft::run([] {
    weft::task_group parts;
    std::atomic<int> ended_early = 0;
    for (int part = 1; part <= 3; ++part) {
      parts.go([&, part](const weft::context& ctx) {
        auto r = fetch(ctx, part);
        if (!r && r.error() == weft::errc::canceled) ++ended_early;
        return r;
      });
    }
    const std::error_code error = parts.wait();
    std::printf("parts: %s, %d ended early\n", error.message().c_str(), ended_early.load());

    weft::supervisor jobs;
    std::atomic<int> done = 0;
    jobs.go([] { return std::make_error_code(std::errc::io_error); });
    for (int i = 0; i < 3; ++i) jobs.go([&] { ++done; });
    const std::error_code first = jobs.wait();
    std::printf("jobs: %s, %d done\n", first.message().c_str(), done.load());

    auto answer = weft::async([] { return 6 * 7; });
    auto nothing = weft::async([]() -> int { throw std::runtime_error("no such question"); });
    std::printf("answer: %d\n", answer.get());
    try {
      std::printf("nothing: %d\n", nothing.get());
    } catch (const std::runtime_error& e) {
      std::printf("nothing: %s\n", e.what());
    }

    std::vector<long> squares(1000);
    weft::parallel_for(0, 1000, [&](int i) { squares[i] = long{i} * i; });
    std::printf("squares: %ld\n", std::accumulate(squares.begin(), squares.end(), 0L));
  });
}
