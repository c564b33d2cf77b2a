// SPDX-License-Identifier: Apache-2.0
#include "runtime/ledger.hpp"

#include <gtest/gtest.h>

#include <source_location>
#include <string>
#include <thread>
#include <vector>

#include <weft/detail/spawn.hpp>

namespace {

using weft::detail::account_kind;

const void* here(std::source_location loc = std::source_location::current()) {
  return weft::detail::site_of(loc);
}

TEST(Ledger, CountsByKindAndSiteFromManyThreads) {
  const void* site = here();
  const auto before = weft::detail::ledger_live(account_kind::pool_object);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([site] {
      for (int i = 0; i < 10'000; ++i) {
        weft::detail::ledger_add(account_kind::pool_object, site);
        if (i % 2 == 0) weft::detail::ledger_remove(account_kind::pool_object, site);
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(weft::detail::ledger_live(account_kind::pool_object) - before, 20'000);
}

TEST(Ledger, NamesTheLine) {
  const void* site = here();
  const auto text = weft::detail::describe_site(site);
  EXPECT_NE(std::string(text.file).find("ledger_test.cpp"), std::string::npos);
  EXPECT_GT(text.line, 0U);
  EXPECT_EQ(weft::detail::describe_site(nullptr).line, 0U);
}

}  // namespace
