// SPDX-License-Identifier: Apache-2.0
// What a process holds, in the form in which httpd shows it and the demo compares it. Plain values.
#pragma once

#include <dirent.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include <weft/weft.hpp>

namespace demo {

/// Open descriptors of a process: files, sockets, pipes. Those of the poller (a ring or epoll a P,
/// made when that P first waits, and its wake-up) belong to the runtime for good and do not count.
/// -1 if it cannot be told.
[[nodiscard]] inline std::int64_t count_descriptors(const std::string& process = "self") {
  const std::string folder = "/proc/" + process + "/fd/";
  DIR* const d = ::opendir(folder.c_str());
  if (d == nullptr) return -1;
  std::int64_t n = 0;
  while (const dirent* entry = ::readdir(d)) {
    char target[64];
    const auto size = ::readlink((folder + entry->d_name).c_str(), target, sizeof target);
    if (size > 0 &&
        !std::string_view(target, static_cast<std::size_t>(size)).starts_with("anon_inode:")) {
      ++n;
    }
  }
  ::closedir(d);
  return process == "self" ? n - 1 : n;  // without the directory itself
}

struct accounts {
  std::int64_t fibers = 0;
  std::int64_t channels = 0;
  std::int64_t timers = 0;
  std::int64_t contexts = 0;
  std::int64_t connections = 0;
  std::int64_t descriptors = 0;

  [[nodiscard]] bool operator==(const accounts&) const = default;

  [[nodiscard]] static accounts now() {
    const weft::accounts live = weft::stats().live;
    return {live.fibers,   live.channels,    live.timers + live.tickers,
            live.contexts, live.connections, count_descriptors()};
  }

  /// Now, or within two seconds, as soon as nothing is left beside `before`: fibers end a moment
  /// after the last thing that one can wait for.
  [[nodiscard]] static accounts settled(const accounts& before) {
    accounts a = now();
    for (int i = 0; i < 200 && a != before; ++i) {
      weft::sleep_for(std::chrono::milliseconds(10));
      a = now();
    }
    return a;
  }

  [[nodiscard]] accounts minus(const accounts& b) const {
    return {fibers - b.fibers,     channels - b.channels,       timers - b.timers,
            contexts - b.contexts, connections - b.connections, descriptors - b.descriptors};
  }

  [[nodiscard]] std::string to_text() const {
    return "fibers " + std::to_string(fibers) + ", channels " + std::to_string(channels) +
           ", timers " + std::to_string(timers) + ", contexts " + std::to_string(contexts) +
           ", connections " + std::to_string(connections) + ", fds " + std::to_string(descriptors);
  }
};

}  // namespace demo
