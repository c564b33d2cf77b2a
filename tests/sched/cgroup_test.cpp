// SPDX-License-Identifier: Apache-2.0
// Which CPU quota a process has, by what the files of cgroup v1 and v2 say.
#include "sched/cgroup.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace {

using weft::detail::cgroup_quota;

// A machine that consists of these files.
class files {
 public:
  files(std::initializer_list<std::pair<const std::string, std::string>> all) : all_(all) {}
  double quota(const std::string& groups, const std::string& mounts) const {
    return cgroup_quota(groups, mounts, [this](const std::string& path) {
      const auto it = all_.find(path);
      return it == all_.end() ? std::string() : it->second;
    });
  }

 private:
  std::map<std::string, std::string> all_;
};

const std::string v2 =
    "22 1 0:21 / /proc rw,nosuid - proc proc rw\n"
    "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const std::string v1 =
    "31 24 0:27 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory\n"
    "32 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:6 - cgroup cgroup rw,cpu,cpuacct\n";

TEST(Cgroup, NoGroupsNoQuota) {
  EXPECT_EQ(files({}).quota("", ""), 0);
  EXPECT_EQ(files({}).quota("0::/a\n", v2), 0);
  EXPECT_EQ(files({{"/sys/fs/cgroup/a/cpu.max", "max 100000\n"}}).quota("0::/a\n", v2), 0);
}

TEST(Cgroup, TheOwnGroupsQuotaInCores) {
  EXPECT_EQ(files({{"/sys/fs/cgroup/a/cpu.max", "250000 100000\n"}}).quota("0::/a\n", v2), 2.5);
  EXPECT_EQ(files({{"/sys/fs/cgroup/cpu.max", "50000 100000\n"}}).quota("0::/\n", v2), 0.5);
}

TEST(Cgroup, TheTightestUpToTheRootCounts) {
  const files f({{"/sys/fs/cgroup/a/b/c/cpu.max", "400000 100000\n"},
                 {"/sys/fs/cgroup/a/b/cpu.max", "max 100000\n"},
                 {"/sys/fs/cgroup/a/cpu.max", "150000 100000\n"},
                 {"/sys/fs/cgroup/cpu.max", "800000 100000\n"}});
  EXPECT_EQ(f.quota("0::/a/b/c\n", v2), 1.5);
}

TEST(Cgroup, VersionOneHasTwoFiles) {
  const files f({{"/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "-1\n"},
                 {"/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n"},
                 {"/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "300000\n"},
                 {"/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"}});
  EXPECT_EQ(f.quota("9:memory:/x\n4:cpu,cpuacct:/a/b\n", v1), 3);
  EXPECT_EQ(f.quota("9:memory:/x\n5:cpuset:/a/b\n", v1), 0) << "cpuset is no quota";
}

TEST(Cgroup, BothVersionsAtOnceTheTighterCounts) {
  const files f({{"/sys/fs/cgroup/unified/a/cpu.max", "200000 100000\n"},
                 {"/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "100000\n"},
                 {"/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"}});
  const std::string unified = "33 24 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
  EXPECT_EQ(f.quota("4:cpu,cpuacct:/a\n0::/a\n", v1 + unified), 1);
}

// Without a namespace of its own a container sees its group's full path, and only its part mounted.
TEST(Cgroup, AContainersGroupIsTheTopOfWhatIsMounted) {
  const std::string mounted =
      "40 30 0:26 /docker/123 /sys/fs/cgroup ro,nosuid - cgroup2 cgroup2 rw\n";
  const files f({{"/sys/fs/cgroup/cpu.max", "200000 100000\n"},
                 {"/sys/fs/cgroup/inner/cpu.max", "100000 100000\n"}});
  EXPECT_EQ(f.quota("0::/docker/123\n", mounted), 2);
  EXPECT_EQ(f.quota("0::/docker/123/inner\n", mounted), 1);
  EXPECT_EQ(f.quota("0::/docker/1234\n", mounted), 2) << "not a prefix by path";
  EXPECT_EQ(f.quota("0::/../elsewhere\n", v2), 2) << "another namespace's";
}

TEST(Cgroup, PathsWithBlanksAreEscapedInMountinfo) {
  const std::string mounted = "40 30 0:26 / /mnt/c\\040g rw - cgroup2 cgroup2 rw\n";
  EXPECT_EQ(files({{"/mnt/c g/a/cpu.max", "100000 100000\n"}}).quota("0::/a\n", mounted), 1);
}

TEST(Cgroup, NonsenseIsNoQuota) {
  const files f({{"/sys/fs/cgroup/a/cpu.max", "lots\n"},
                 {"/sys/fs/cgroup/b/cpu.max", "100000 0\n"},
                 {"/sys/fs/cgroup/c/cpu.max", "-5 100000\n"}});
  for (const char* group : {"0::/a\n", "0::/b\n", "0::/c\n", "0::\n", "::\n", ":\n", "rubbish"}) {
    EXPECT_EQ(f.quota(group, v2), 0) << group;
  }
  EXPECT_EQ(f.quota("0::/a\n", "rubbish\n - \n1 2 3 - cgroup2 x y\n"), 0);
}

TEST(Cgroup, OursCanBeRead) { EXPECT_GE(cgroup_quota(), 0); }

}  // namespace
