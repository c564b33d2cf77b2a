// SPDX-License-Identifier: Apache-2.0
// What goes into a queue under the explorer, and who got it: each item once, with all that was
// written before it went in.
#pragma once

#include <array>
#include <cstddef>

#include "tests/model/atomic.hpp"

namespace weft_model {

struct item {
  plain<int> body{0};
};

template <std::size_t N>
struct books {
  std::array<item, N> items;
  std::array<int, N> taken{};

  item* write(int i) {
    items[static_cast<std::size_t>(i)].body.set(10 + i);
    return &items[static_cast<std::size_t>(i)];
  }
  void take(item* got) {
    if (got == nullptr) return;
    const auto i = static_cast<std::size_t>(got - items.data());
    check(i < items.size(), "something else came out");
    check(got->body.get() == 10 + static_cast<int>(i), "what was written before is not there");
    check(++taken[i] == 1, "taken twice");
  }
  void all_taken() const {
    for (const int n : taken) check(n == 1, "lost");
  }
};

}  // namespace weft_model
