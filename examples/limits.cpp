// SPDX-License-Identifier: Apache-2.0
// Bounds: word counts of some texts. Each text is a task of a worker_pool, its words live in an
// arena that the next text uses again, and a budget bounds the fibers that the sum takes.
#include <array>
#include <atomic>
#include <cstdio>
#include <memory_resource>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <weft/weft.hpp>

namespace {

constexpr std::array<std::string_view, 4> texts = {
    "the quick brown fox jumps over the lazy dog",
    "do not communicate by sharing memory",
    "share memory by communicating",
    "the bigger the interface the weaker the abstraction",
};

std::size_t distinct_words(std::string_view text, weft::arena& memory) {
  std::pmr::unordered_map<std::string_view, int> count(&memory);
  while (!text.empty()) {
    const std::size_t end = text.find(' ');
    ++count[text.substr(0, end)];
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return count.size();
}

}  // namespace

int main() {
  return weft::run([] {
    weft::pool<weft::arena> arenas({.reset = [](weft::arena& a) { a.reset(); }});
    weft::worker_pool workers({.max_workers = 2, .queue = 8});
    std::vector<weft::future<std::size_t>> counts;
    for (const std::string_view text : texts) {
      auto f = workers.async([&arenas, text] { return distinct_words(text, *arenas.get()); });
      if (!f) return 1;
      counts.push_back(std::move(*f));
    }
    std::atomic<std::size_t> sum{0};
    weft::budget helpers(2, weft::budget::adaptive);  // a third one runs right here
    for (auto& count : counts) {
      if (!helpers.go([&sum, &count] { sum += count.get(); })) return 1;
    }
    helpers.wait();
    std::printf("%zu distinct words in %zu texts\n", sum.load(), texts.size());
    return sum == 8 + 6 + 4 + 5 ? 0 : 1;
  });
}
