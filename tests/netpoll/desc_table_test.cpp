// SPDX-License-Identifier: Apache-2.0
// Records of descriptors: how long a number stays open, when a slot comes back.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <vector>

#include "netpoll/poll_desc.hpp"

namespace {

using namespace weft::detail;

TEST(DescTableTest, TheLastUserClosesTheNumber) {
  poll_desc* d = desc_open(::dup(0), true, false, nullptr);
  const int fd = d->fd;
  ASSERT_TRUE(desc_use(d));
  desc_close(d, false);
  EXPECT_GE(::fcntl(fd, F_GETFD), 0) << "an operation is under way";
  EXPECT_FALSE(desc_use(d)) << "no new one may begin";
  desc_unuse(d);
  EXPECT_LT(::fcntl(fd, F_GETFD), 0);
  desc_drop_handle(d);
}

TEST(DescTableTest, AFreedSlotComesBackWithAnotherGeneration) {
  poll_desc* d = desc_open(-1, false, false, nullptr);
  const std::uint32_t slot = d->slot;
  const std::uint64_t key = d->key(read_side);
  desc_close(d, false);
  desc_drop_handle(d);
  std::vector<poll_desc*> taken;
  poll_desc* again = nullptr;
  while (again == nullptr) {
    taken.push_back(desc_open(-1, false, false, nullptr));
    if (taken.back()->slot == slot) again = taken.back();
    ASSERT_LT(taken.size(), 10'000U);
  }
  EXPECT_EQ(again, d) << "the same memory";
  EXPECT_NE(again->key(read_side), key);
  for (poll_desc* t : taken) {
    desc_close(t, false);
    desc_drop_handle(t);
  }
}

TEST(DescTableTest, ASlotWithARequestOnItsWayIsNotReused) {
  poll_desc* d = desc_open(-1, false, false, nullptr);
  d->side[read_side].disarm_request.queued.store(true);
  desc_close(d, false);
  desc_drop_handle(d);
  std::vector<poll_desc*> taken;
  for (int i = 0; i < 300; ++i) {
    taken.push_back(desc_open(-1, false, false, nullptr));
    EXPECT_NE(taken.back(), d);
  }
  d->side[read_side].disarm_request.queued.store(false);
  for (poll_desc* t : taken) {
    desc_close(t, false);
    desc_drop_handle(t);
  }
}

}  // namespace
