// SPDX-License-Identifier: Apache-2.0
// Accounts by site: what is alive, what changed, and the guard that notices what outlives it.
#include <weft/leak.hpp>

#include <gtest/gtest.h>

#include <optional>
#include <sstream>
#include <string>

#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/fiber.hpp>
#include <weft/run.hpp>
#include <weft/stats.hpp>
#include <weft/time.hpp>

namespace {

const weft::leak::row* find(const weft::leak::accounts_snapshot& s, const std::string& kind) {
  for (const auto& r : s.rows) {
    if (r.kind == kind && r.file.find("leak_test.cpp") != std::string::npos) return &r;
  }
  return nullptr;
}

TEST(Leak, DiffNamesTheLineOfWhatIsLeft) {
  weft::run([] {
    const auto before = weft::leak::snapshot();
    auto c = weft::make_chan<int>();
    auto f = weft::spawn([c] { static_cast<void>(c.recv()); });
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    const auto d = weft::leak::diff(before);
    ASSERT_NE(find(d, "channel"), nullptr);
    ASSERT_NE(find(d, "fiber"), nullptr);
    ASSERT_NE(find(d, "context"), nullptr);
    EXPECT_EQ(find(d, "fiber")->live, 1);
    std::int64_t sum = 0;
    for (const auto& r : d.rows) sum += r.live;
    EXPECT_EQ(d.total(), sum);
    std::ostringstream text;
    text << d;
    EXPECT_NE(text.str().find("leak_test.cpp:"), std::string::npos) << text.str();
    c.close();
    f.join();
  });
}

int reported = 0;
void count_report(const weft::leak::accounts_snapshot& s) { reported += s.total() > 0 ? 1 : 0; }

TEST(Leak, TheGuardReportsWhatOutlivesItAndNothingElse) {
  weft::run([] {
    std::optional<weft::chan<int>> outliving;
    {
      const weft::leak::guard g(&count_report);
      auto inside = weft::make_chan<int>(1);
      inside.send(1);
      weft::spawn([] { weft::yield(); }).join();
      while (weft::num_fibers() != 1) weft::yield();  // it has left, too
    }
    EXPECT_EQ(reported, 0);
    {
      const weft::leak::guard g(&count_report);
      outliving = weft::make_chan<int>(1);
    }
    EXPECT_EQ(reported, 1);
  });
}

TEST(Leak, StatsAreEqualBeforeAndAfterWorkThatLeavesNothing) {
  weft::run([] {
    const auto before = weft::stats();
    {
      auto c = weft::make_chan<int>(4);
      weft::timer t(std::chrono::hours(1));
      auto f = weft::spawn([c] { c.send(1); });
      EXPECT_EQ(c.recv(), 1);
      EXPECT_FALSE(weft::stats() == before);
      f.join();
    }
    while (weft::num_fibers() != 1) weft::yield();
    EXPECT_TRUE(weft::stats() == before) << weft::stats();
  });
}

}  // namespace
