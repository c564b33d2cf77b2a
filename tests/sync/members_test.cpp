// SPDX-License-Identifier: Apache-2.0
// What needs no argument may be a member of an aggregate, which makes its members from {}: without
// a warning, and it still knows the line. {} in place of an argument means the options.
#include <gtest/gtest.h>

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <memory_resource>
#include <string>
#include <type_traits>

#include <weft/arena.hpp>
#include <weft/chan.hpp>
#include <weft/circuit_breaker.hpp>
#include <weft/fiber.hpp>
#include <weft/leak.hpp>
#include <weft/pool.hpp>
#include <weft/retry.hpp>
#include <weft/run.hpp>
#include <weft/worker_pool.hpp>

namespace {

template <class T>
concept made_from_nothing =
    std::default_initializable<T> && requires(void (*f)(const T&)) { f({}); };
static_assert(made_from_nothing<weft::arena> && made_from_nothing<weft::pool<std::string>>);
static_assert(made_from_nothing<weft::worker_pool> && made_from_nothing<weft::circuit_breaker>);
static_assert(made_from_nothing<weft::backoff> && made_from_nothing<weft::runtime>);
static_assert(made_from_nothing<weft::leak::guard>);
static_assert(std::is_nothrow_default_constructible_v<weft::arena>);

// Options do not turn into what they are for.
static_assert(!std::is_convertible_v<weft::arena_options, weft::arena>);
static_assert(!std::is_convertible_v<weft::options, weft::runtime>);
static_assert(!std::is_convertible_v<weft::worker_pool_options, weft::worker_pool>);
static_assert(!std::is_convertible_v<weft::circuit_options, weft::circuit_breaker>);
static_assert(!std::is_convertible_v<weft::pool_options<int>, weft::pool<int>>);

struct request_scope {
  weft::arena memory;
  weft::pool<std::string> strings;
  weft::circuit_breaker breaker;
  weft::backoff pauses;
  weft::worker_pool workers;
};

TEST(Members, OfAnAggregateAreMadeFromNothing) {
  weft::run([] {
    const auto before = weft::leak::snapshot();
    const auto line = static_cast<std::uint32_t>(__LINE__) + 1;
    request_scope s{};
    const std::pmr::string text("longer than what a string keeps in itself", &s.memory);
    EXPECT_GE(s.memory.stats().used, text.size());
    EXPECT_TRUE(s.strings.get()->empty());
    EXPECT_EQ(s.breaker.run([] { return 1; }), 1);
    EXPECT_EQ(s.pauses.ceiling(), weft::retry_options{}.initial);
    auto go_on = weft::make_chan<weft::unit>();
    EXPECT_TRUE(s.workers.submit([go_on] { static_cast<void>(go_on.recv()); }));
    const auto d = weft::leak::diff(before);
    EXPECT_TRUE(std::any_of(d.rows.begin(), d.rows.end(), [&](const weft::leak::row& r) {
      return r.kind == "fiber" && r.line == line &&
             r.file.find("members_test.cpp") != std::string::npos;
    })) << "the worker is not in the accounts by the line that made its pool";
    go_on.close();
    s.workers.drain();
  });
}

TEST(Members, ARuntimeMayBeOne) {
  struct program {
    weft::runtime rt;
  };
  program p{};
  EXPECT_EQ(p.rt.async([] { return 1; }).get(), 1);
}

TEST(Members, EmptyBracesInPlaceOfAnArgumentAreOptions) {
  weft::run([] {
    weft::worker_pool workers{{}};
    EXPECT_TRUE(workers.submit([] {}));
    weft::circuit_breaker breaker{{}};
    EXPECT_EQ(breaker.state(), weft::circuit_state::closed);
    weft::pool<int> numbers{{}};
    EXPECT_EQ(*numbers.get(), 0);
  });
}

}  // namespace
