// SPDX-License-Identifier: Apache-2.0
// Fails a test that leaves anything alive: fibers, timers, contexts, connections, descriptors.
#pragma once

#include <dirent.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

#include <weft/weft.hpp>

namespace weft_test {

/// Files, sockets and pipes; not what the poller of each P opens once and keeps.
[[nodiscard]] inline std::size_t open_descriptors() {
  const std::string folder = "/proc/self/fd/";
  std::size_t n = 0;
  DIR* const d = ::opendir(folder.c_str());
  if (d == nullptr) return 0;
  while (const dirent* entry = ::readdir(d)) {
    char target[64];
    const auto size = ::readlink((folder + entry->d_name).c_str(), target, sizeof target);
    const bool is_ours =
        size > 0 &&
        !std::string_view(target, static_cast<std::size_t>(size)).starts_with("anon_inode:");
    if (is_ours) ++n;
  }
  ::closedir(d);
  return n;
}

/// Compares the accounts at its end with those at its start. A fiber's last instructions come after
/// whatever one can wait for, so the comparison is repeated for a while.
class accounts_guard {
 public:
  accounts_guard() : before_(weft::stats().live), descriptors_(open_descriptors()) {}
  accounts_guard(const accounts_guard&) = delete;
  accounts_guard& operator=(const accounts_guard&) = delete;
  ~accounts_guard() {
    for (int i = 0; i < 2000 && !(weft::stats().live == before_); ++i) {
      weft::sleep_for(std::chrono::milliseconds(1));
    }
    const weft::accounts after = weft::stats().live;
    EXPECT_EQ(after.fibers, before_.fibers);
    EXPECT_EQ(after.channels, before_.channels);
    EXPECT_EQ(after.timers, before_.timers);
    EXPECT_EQ(after.contexts, before_.contexts);
    EXPECT_EQ(after.connections, before_.connections);
    EXPECT_EQ(open_descriptors(), descriptors_);
  }

 private:
  weft::accounts before_;
  std::size_t descriptors_;
};

}  // namespace weft_test
