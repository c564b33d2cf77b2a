// SPDX-License-Identifier: Apache-2.0
// The same work three times: as a thread pool does it; with a fiber for each task; and from a plain
// thread, in a program that has a main loop of its own.
#include <array>
#include <atomic>
#include <cstdio>
#include <string_view>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

namespace {

constexpr std::array<std::string_view, 5> files = {"bolt", "heddle", "selvedge", "shed", "weft"};

std::size_t index_file(std::string_view name) { return name.size(); }

std::size_t with_a_pool() {
  weft::worker_pool pool({.max_workers = 2, .queue = 16});
  std::vector<weft::future<std::size_t>> sizes;
  for (const std::string_view name : files) {
    auto size = pool.async([name] { return index_file(name); });
    if (size) sizes.push_back(std::move(*size));  // else errc::closed or errc::no_runtime
  }
  std::size_t sum = 0;
  for (auto& size : sizes) sum += size.get();
  return sum;
}

std::size_t with_fibers() {
  std::atomic<std::size_t> sum = 0;
  weft::task_group tasks;
  tasks.set_limit(2);  // only if something must not be done more often than that at once
  for (const std::string_view name : files) {
    tasks.go([&sum, name] { sum += index_file(name); });
  }
  return tasks.wait() ? 0 : sum.load();
}

}  // namespace

int main() {
  (void)weft::run([] {
    std::printf("pool: %zu\n", with_a_pool());
    std::printf("fibers: %zu\n", with_fibers());
  });
  weft::runtime fibers({.procs = 2});
  auto size = fibers.async([] { return with_fibers(); });
  std::printf("from a thread: %zu\n", size.get());
}
