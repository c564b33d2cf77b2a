// SPDX-License-Identifier: Apache-2.0
// weft::errc among the errors of others: equal to the std::errc that means the same, and to no
// other, as an enumerator as well as as an error_code.
#include <weft/error.hpp>

#include <gtest/gtest.h>

#include <array>
#include <stdexcept>
#include <system_error>
#include <type_traits>

namespace {

using weft::errc;

struct twin {
  errc ours;
  std::errc theirs;
};
constexpr std::array twins{
    twin{errc::canceled, std::errc::operation_canceled},
    twin{errc::deadline_exceeded, std::errc::timed_out},
    twin{errc::quota_exceeded, std::errc::no_buffer_space},
    twin{errc::invalid_argument, std::errc::invalid_argument},
    twin{errc::unsupported, std::errc::operation_not_supported},
    twin{errc::message_too_long, std::errc::message_size},
    twin{errc::protocol_error, std::errc::protocol_error},
};
constexpr std::array without_twin{errc::closed, errc::no_runtime, errc::queue_full,
                                  errc::already_running, errc::circuit_open};

static_assert(std::is_error_code_enum_v<errc>);
static_assert(std::is_base_of_v<std::logic_error, weft::logic_error>);
static_assert(std::is_base_of_v<weft::logic_error, weft::closed_channel>);

TEST(Error, AnErrcEqualsItsTwinInStdAndNoOther) {
  for (const twin& one : twins) {
    const std::error_code code = one.ours;
    for (const twin& other : twins) {
      const bool same = one.ours == other.ours;
      EXPECT_EQ(one.ours == other.theirs, same);
      EXPECT_EQ(other.theirs == one.ours, same);
      EXPECT_EQ(one.ours != other.theirs, !same);
      EXPECT_EQ(code == other.theirs, same);
      EXPECT_EQ(code == other.ours, same);
    }
  }
}

TEST(Error, AnErrcWithoutATwinEqualsNothingInStd) {
  for (const errc e : without_twin) {
    for (const twin& t : twins) {
      EXPECT_FALSE(e == t.theirs);
      EXPECT_FALSE(std::error_code(e) == t.theirs);
    }
  }
}

}  // namespace
