// SPDX-License-Identifier: Apache-2.0
// Awkward types of value: move-only, throwing copies, over-aligned, large, empty; through every
// kind of channel and every way of passing.
#include <weft/chan.hpp>

#include <gtest/gtest.h>

#include <array>
#include <weft/context.hpp>
#include <weft/select.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::make_chan;

class ChanValues : public both_worlds {};
WEFT_BOTH_WORLDS(ChanValues);

template <class T>
int value_of(const T& v) {
  if constexpr (requires { v.values; }) {
    for (const int x : v.values) EXPECT_EQ(x, v.values[0]);
    return v.values[0];
  } else if constexpr (requires { *v; }) {
    return *v;
  } else {
    return v.value;
  }
}

template <class T>
T make(int v) {
  if constexpr (std::is_same_v<T, move_only>) {
    return std::make_unique<int>(v);
  } else {
    return T(v);
  }
}

/// n values through c by one sender and one receiver, the receiver using all forms in turn.
template <class T>
void pump(const weft::chan<T>& c, bool fibers, int n) {
  crew others(fibers);
  others.start([=] {
    for (int i = 0; i < n; ++i) {
      if (i % 3 == 0) {
        c.send(make<T>(i));
      } else if (i % 3 == 1) {
        (void)weft::select(weft::on_send(c, make<T>(i)), weft::on_timeout(30s, [] { FAIL(); }));
      } else {
        EXPECT_TRUE(c.send_for(30s, make<T>(i)));
      }
    }
    c.close();
  });
  int next = 0;
  for (bool more = true; more;) {
    const auto take = [&](const auto& v) {
      more = v.has_value();
      if (more) {
        EXPECT_EQ(value_of(*v), next++);
      }
    };
    if (next % 3 == 0) {
      take(c.recv());
    } else if (next % 3 == 1) {
      (void)weft::select(weft::on_recv(c, take), weft::on_timeout(30s, [] { FAIL(); }));
    } else {
      take(c.recv(weft::background()));
    }
  }
  EXPECT_EQ(next, n);
}

template <class T>
void pump_all(bool fibers) {
  const int n = scaled(300);
  pump(make_chan<T>(), fibers, n);
  pump(make_chan<T>(1), fibers, n);
  pump(make_chan<T>(7), fibers, n);
  pump(make_chan<T>(weft::unbounded), fibers, n);
  weft::channel<T, 3> local;
  pump(weft::chan<T>(local), fibers, n);
}

TEST_P(ChanValues, MoveOnly) {
  run([] { pump_all<move_only>(in_fibers()); });
}
TEST_P(ChanValues, OverAligned) {
  run([] { pump_all<over_aligned>(in_fibers()); });
}
TEST_P(ChanValues, Large) {
  run([] { pump_all<large>(in_fibers()); });
}
TEST_P(ChanValues, CountedComesOutEven) {
  run([] { pump_all<counted>(in_fibers()); });
  EXPECT_EQ(counted::alive, 0);
}

// Sizes that the core copies in its own way.
template <std::size_t N>
struct bytes {
  std::array<unsigned char, N> b;
};

template <std::size_t N>
void bytes_arrive() {
  auto c = make_chan<bytes<N>>(2);
  bytes<N> v;
  for (std::size_t i = 0; i < N; ++i) v.b[i] = static_cast<unsigned char>(3 * i + 1);
  c.send(v);
  c.send(v);
  EXPECT_EQ(c.recv()->b, v.b);
  EXPECT_EQ(c.recv()->b, v.b);
}

TEST(ChanValuesBySize, EverySizeArrives) {
  (void)weft::run(weft::options{}, [] {
    bytes_arrive<1>();
    bytes_arrive<3>();
    bytes_arrive<4>();
    bytes_arrive<8>();
    bytes_arrive<12>();
    bytes_arrive<16>();
    bytes_arrive<17>();
    bytes_arrive<100>();
  });
}

// Go's test/chan/zerosize.go.
TEST_P(ChanValues, UnitCarriesTheFactAlone) {
  run([] {
    auto c = make_chan<weft::unit>(2);
    c.send({});
    c.send(weft::unit{});
    EXPECT_FALSE(c.try_send({}));
    EXPECT_EQ(c.recv(), weft::unit{});
    EXPECT_TRUE(c.recv());
    auto r = make_chan<weft::unit>();
    crew others(in_fibers());
    others.start([=] { r.send({}); });
    EXPECT_TRUE(r.recv());
  });
}

TEST_P(ChanValues, AThrowingCopyLosesNothing) {
  run([] {
    auto c = make_chan<counted>(2);
    const counted v(5);
    counted::throw_on_copy = true;
    EXPECT_THROW(c.send(v), std::runtime_error);
    EXPECT_THROW((void)c.try_send(v), std::runtime_error);
    EXPECT_THROW((void)c.send(weft::background(), v), std::runtime_error);
    EXPECT_THROW((void)c.send_for(1ms, v), std::runtime_error);
    EXPECT_THROW((void)weft::select(weft::on_send(c, v), weft::otherwise()), std::runtime_error);
    EXPECT_EQ(c.len(), 0U);
    c.send(counted(6));  // moves do not copy
    counted::throw_on_copy = false;
    c.send(v);
    EXPECT_EQ(v.value, 5);
    EXPECT_EQ(c.recv()->value, 6);
    EXPECT_EQ(c.recv()->value, 5);
  });
  EXPECT_EQ(counted::alive, 0);
}

TEST_P(ChanValues, AnLvalueIsCopiedAnRvalueIsMoved) {
  run([] {
    auto c = make_chan<std::string>(4);
    std::string s = "a string longer than the small one";
    c.send(s);
    EXPECT_FALSE(s.empty());
    c.send(std::move(s));
    EXPECT_TRUE(s.empty());  // NOLINT: looked at on purpose
    EXPECT_EQ(c.recv(), c.recv());
    c.send("converted");
    EXPECT_EQ(c.recv(), "converted");
  });
}

TEST_P(ChanValues, ARefusedRvalueIsUntouched) {
  run([] {
    auto c = make_chan<counted>(1);
    c.send(counted(1));
    counted v(2);
    EXPECT_FALSE(c.try_send(std::move(v)));
    EXPECT_EQ(v.value, 2);
    EXPECT_FALSE(c.send_for(1ms, std::move(v)));
    EXPECT_EQ(v.value, 2);
    const std::size_t i =
        weft::select(weft::on_send(c, std::move(v)), weft::on_timeout(1ms), weft::on_timeout(9s));
    EXPECT_EQ(i, 1U);
    EXPECT_EQ(v.value, 2);
    (void)c.recv();
    EXPECT_TRUE(c.try_send(std::move(v)));
    EXPECT_EQ(v.value, counted::moved_from);
  });
  EXPECT_EQ(counted::alive, 0);
}

}  // namespace
