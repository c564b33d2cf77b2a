// SPDX-License-Identifier: Apache-2.0
#include "sched/cgroup.hpp"

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>
#include <system_error>
#include <vector>

namespace weft::inline v0::detail {
namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

bool lists(std::string_view list, std::string_view name) {
  for (const std::string_view part : split(list, ',')) {
    if (part == name) return true;
  }
  return false;
}

// mountinfo writes blanks, tabs, newlines and backslashes of a path as \ooo.
std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    int code = 0;
    const char* at = text.data() + i;
    const bool escaped = *at == '\\' && i + 3 < text.size() &&
                         std::from_chars(at + 1, at + 4, code, 8).ptr == at + 4;
    out += escaped ? static_cast<char>(code) : *at;
    if (escaped) i += 3;
  }
  return out;
}

// Where a hierarchy is mounted, and which of its groups shows there as the top.
struct hierarchy {
  std::string root;
  std::string point;
};

// "36 25 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw": optional fields before the dash.
std::optional<hierarchy> hierarchy_in(std::string_view line, bool is_v2) {
  const std::size_t dash = line.find(" - ");
  if (dash == std::string_view::npos) return std::nullopt;
  const auto mount = split(line.substr(0, dash), ' ');
  const auto filesystem = split(line.substr(dash + 3), ' ');
  if (mount.size() < 5 || filesystem.size() < 3) return std::nullopt;
  const bool found =
      is_v2 ? filesystem[0] == "cgroup2" : filesystem[0] == "cgroup" && lists(filesystem[2], "cpu");
  if (!found) return std::nullopt;
  return hierarchy{unescaped(mount[3]), unescaped(mount[4])};
}

std::optional<hierarchy> find_hierarchy(std::string_view mounts, bool is_v2) {
  for (const std::string_view line : split(mounts, '\n')) {
    if (auto found = hierarchy_in(line, is_v2)) return found;
  }
  return std::nullopt;
}

// "0::/a/b" for v2, "4:cpu,cpuacct:/a/b" for v1.
std::optional<std::string_view> group_of(std::string_view groups, bool is_v2) {
  for (const std::string_view line : split(groups, '\n')) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    if (is_v2 ? controllers.empty() : lists(controllers, "cpu")) return line.substr(second + 1);
  }
  return std::nullopt;
}

// The group as a path below the mount point, "" for the top. A group outside of what is mounted
// ("/../x": another namespace's) counts as the top.
std::string path_below(const hierarchy& h, std::string_view group) {
  const std::string root = h.root == "/" ? "" : h.root;
  if (group == "/" || group == root || !group.starts_with(root + "/") || group.starts_with("/.."))
    return {};
  return std::string(group.substr(root.size()));
}

double cores(long long quota, long long period) {
  return quota > 0 && period > 0 ? static_cast<double>(quota) / static_cast<double>(period) : 0;
}

double quota_at(const std::string& directory, bool is_v2, const line_reader& first_line) {
  long long quota = 0;
  long long period = 0;
  if (is_v2) {
    const std::string text = first_line(directory + "/cpu.max");  // "max 100000": no limit
    return std::sscanf(text.c_str(), "%lld %lld", &quota, &period) == 2 ? cores(quota, period) : 0;
  }
  const std::string limit = first_line(directory + "/cpu.cfs_quota_us");  // -1: no limit
  const std::string every = first_line(directory + "/cpu.cfs_period_us");
  if (std::sscanf(limit.c_str(), "%lld", &quota) != 1) return 0;
  if (std::sscanf(every.c_str(), "%lld", &period) != 1) return 0;
  return cores(quota, period);
}

double tighter(double a, double b) { return a == 0 || (b != 0 && b < a) ? b : a; }

double quota_in(std::string_view groups, std::string_view mounts, bool is_v2,
                const line_reader& first_line) {
  const auto h = find_hierarchy(mounts, is_v2);
  const auto group = group_of(groups, is_v2);
  if (!h || !group) return 0;
  double least = 0;
  for (std::string path = path_below(*h, *group);; path.resize(path.rfind('/'))) {
    least = tighter(least, quota_at(h->point + path, is_v2, first_line));
    if (path.empty()) return least;
  }
}

std::string read_all(const char* path) {
  std::string out;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> f(std::fopen(path, "re"), &std::fclose);
  if (f == nullptr) {
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
      throw std::system_error(errno, std::system_category(), path);
    }
    return out;
  }
  char buffer[4096];
  for (std::size_t n = 0; (n = std::fread(buffer, 1, sizeof(buffer), f.get())) > 0;) {
    out.append(buffer, n);
  }
  return out;
}

}  // namespace

double cgroup_quota(std::string_view groups, std::string_view mounts,
                    const line_reader& first_line) {
  return tighter(quota_in(groups, mounts, true, first_line),
                 quota_in(groups, mounts, false, first_line));
}

double cgroup_quota() {
  return cgroup_quota(read_all("/proc/self/cgroup"), read_all("/proc/self/mountinfo"),
                      [](const std::string& path) { return read_all(path.c_str()); });
}

}  // namespace weft::inline v0::detail
