// SPDX-License-Identifier: Apache-2.0
// How many Ps by default: the cores that affinity allows, or fewer if a cgroup quota says so.
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "sched/cgroup.hpp"
#include "sched/runtime_state.hpp"

namespace weft::inline v0::detail {
namespace {

int affinity_count() noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)));  // more than 1024 cores
}

}  // namespace

int default_procs(int fallback) noexcept {
  const int most = std::min(affinity_count(), max_procs);
  double quota = 0;
  try {
    quota = cgroup_quota();
  } catch (const std::exception&) {
    return std::min(fallback, most);
  }
  if (quota <= 0 || quota >= most) return most;
  return std::max(1, static_cast<int>(std::ceil(quota)));
}

}  // namespace weft::inline v0::detail
