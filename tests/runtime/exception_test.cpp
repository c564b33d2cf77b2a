// SPDX-License-Identifier: Apache-2.0
// C++ exception state belongs to the fiber: blocking inside a catch block and during unwinding is
// legal, on whatever thread the fiber goes on.
#include <gtest/gtest.h>

#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include <weft/fiber.hpp>
#include <weft/run.hpp>

namespace {

template <class F>
void in_many_fibers(int n, F fn) {
  weft::run([&] {
    std::vector<weft::fiber> fibers;
    for (int i = 0; i < n; ++i) fibers.push_back(weft::spawn([&fn, i] { fn(i); }));
    for (auto& f : fibers) f.join();
  });
}

TEST(Exceptions, BlockingInsideACatchBlockKeepsTheCurrentException) {
  in_many_fibers(16, [](int i) {
    for (int r = 0; r < 20; ++r) {
      const std::string text = std::to_string(i) + "/" + std::to_string(r);
      try {
        throw std::runtime_error(text);
      } catch (const std::exception&) {
        weft::yield();
        try {
          std::rethrow_exception(std::current_exception());
        } catch (const std::exception& again) {
          weft::yield();
          EXPECT_EQ(again.what(), text);
        }
        try {
          throw;
        } catch (const std::exception& rethrown) {
          EXPECT_EQ(rethrown.what(), text);
        }
      }
      EXPECT_EQ(std::current_exception(), nullptr);
    }
  });
}

TEST(Exceptions, BlockingWhileUnwindingKeepsTheCount) {
  struct yields_in_destructor {
    int expected;
    ~yields_in_destructor() {
      EXPECT_EQ(std::uncaught_exceptions(), expected);
      weft::yield();
      EXPECT_EQ(std::uncaught_exceptions(), expected);
    }
  };
  in_many_fibers(16, [](int i) {
    for (int r = 0; r < 20; ++r) {
      try {
        const yields_in_destructor d{1};
        if (i % 2 == 0) throw i;
        throw std::runtime_error("odd");
      } catch (int n) {
        EXPECT_EQ(n, i);
      } catch (const std::runtime_error& e) {
        EXPECT_STREQ(e.what(), "odd");
      }
      EXPECT_EQ(std::uncaught_exceptions(), 0);
    }
  });
}

TEST(Exceptions, AnExceptionOfAnAsyncFiberReachesItsFuture) {
  weft::run([] {
    auto f = weft::async([]() -> int { throw std::out_of_range("far"); });
    EXPECT_THROW(static_cast<void>(f.get()), std::out_of_range);
  });
}

TEST(Exceptions, AnExceptionOfTheMainFiberIsRethrownByRun) {
  EXPECT_THROW(weft::run([] { throw std::domain_error("main"); }), std::domain_error);
  EXPECT_EQ(weft::run([] { return 5; }), 5);
}

}  // namespace
