// SPDX-License-Identifier: Apache-2.0
// The CPU quota that cgroups put on this process.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace weft::inline v0::detail {

/// The text of a file, of which only the first line is looked at; empty if there is none.
using line_reader = std::function<std::string(const std::string& path)>;

/// The tightest quota, in cores, from the process's own group up to the root of what it sees, of
/// cgroup v2 and of v1's cpu controller; 0: none. Ancestors count: a container's limit often sits
/// above the process's own group. The texts are those of /proc/self/cgroup and mountinfo.
[[nodiscard]] double cgroup_quota(std::string_view groups, std::string_view mounts,
                                  const line_reader& first_line);

/// Of this process, now. Throws when a file that is there cannot be read for want of descriptors or
/// memory: that is not the same as no quota.
[[nodiscard]] double cgroup_quota();

}  // namespace weft::inline v0::detail
