// SPDX-License-Identifier: Apache-2.0
// Fails a test that leaves anything alive: fibers, timers, contexts, connections, descriptors.
#pragma once

#include <dirent.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>

#include <weft/weft.hpp>

namespace weft_test {

[[nodiscard]] inline std::size_t open_descriptors() {
  std::size_t n = 0;
  DIR* const d = ::opendir("/proc/self/fd");
  if (d == nullptr) return 0;
  while (::readdir(d) != nullptr) ++n;
  ::closedir(d);
  return n;
}

/// Compares the accounts at its end with those at its start. A fiber's last instructions come after
/// whatever one can wait for, so the comparison is repeated for a while.
class accounts_guard {
 public:
  accounts_guard() : before_(weft::stats().live) {
    // What the runtime opens once and keeps (rings, epoll, wake-ups) is opened by now or early on.
    descriptors_ = open_descriptors();
  }
  accounts_guard(const accounts_guard&) = delete;
  accounts_guard& operator=(const accounts_guard&) = delete;
  ~accounts_guard() {
    for (int i = 0; i < 2000 && !(weft::stats().live == before_); ++i) {
      (void)weft::sleep_for(std::chrono::milliseconds(1));
    }
    const weft::accounts after = weft::stats().live;
    EXPECT_EQ(after.fibers, before_.fibers);
    EXPECT_EQ(after.channels, before_.channels);
    EXPECT_EQ(after.timers, before_.timers);
    EXPECT_EQ(after.contexts, before_.contexts);
    EXPECT_EQ(after.connections, before_.connections);
    EXPECT_LE(open_descriptors(), descriptors_ + kept_by_the_runtime);
  }

 private:
  // A ring and a wake-up for each worker that the test was the first to start.
  static constexpr std::size_t kept_by_the_runtime = 80;

  weft::accounts before_;
  std::size_t descriptors_ = 0;
};

}  // namespace weft_test
