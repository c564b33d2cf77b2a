// SPDX-License-Identifier: Apache-2.0
// How many Ps by default: the cores that affinity allows, or fewer if a cgroup quota says so.
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>

#include "sched/runtime_state.hpp"

namespace weft::inline v0::detail {
namespace {

int affinity_count() noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

std::string read_line(const std::string& path) {
  std::string out;
  if (std::FILE* f = std::fopen(path.c_str(), "re")) {
    char buffer[512];
    if (std::fgets(buffer, sizeof(buffer), f) != nullptr) out = buffer;
    std::fclose(f);
  }
  while (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

// The process's cgroup v2 path below the mount point ("" when there is none).
std::string cgroup_path() {
  std::string path;
  if (std::FILE* f = std::fopen("/proc/self/cgroup", "re")) {
    char line[1024];
    while (std::fgets(line, sizeof(line), f) != nullptr) {
      if (std::strncmp(line, "0::", 3) == 0) {
        path = line + 3;
        while (!path.empty() && path.back() == '\n') path.pop_back();
      }
    }
    std::fclose(f);
  }
  return path;
}

// The tightest quota from here up to the root, in cores; 0 = none. Ancestors count: a container's
// limit often sits above the process's own group.
double quota_cores() {
  double least = 0;
  std::string path = cgroup_path();
  while (!path.empty()) {
    const std::string text = read_line("/sys/fs/cgroup" + path + "/cpu.max");
    long long quota = 0;
    long long period = 0;
    if (std::sscanf(text.c_str(), "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0) {
      const double cores = static_cast<double>(quota) / static_cast<double>(period);
      if (least == 0 || cores < least) least = cores;
    }
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos || path == "/") break;
    path.resize(slash == 0 ? (path.size() > 1 ? 1 : 0) : slash);
  }
  return least;
}

}  // namespace

int default_procs() noexcept {
  const int cores = affinity_count();
  double quota = 0;
  try {
    quota = quota_cores();
  } catch (...) {
    quota = 0;  // out of memory while reading a limit: go without it
  }
  if (quota <= 0) return std::min(cores, max_procs);
  return std::clamp(static_cast<int>(std::ceil(quota)), 1, std::min(cores, max_procs));
}

}  // namespace weft::inline v0::detail
