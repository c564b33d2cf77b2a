// SPDX-License-Identifier: Apache-2.0
// Whole programs made of channels, after Go's test/chan: fifo, goroutines, sieve1, sieve2, powser1,
// doubleselect, nonblock.
#include <gtest/gtest.h>

#include <numeric>
#include <queue>
#include <vector>
#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/fiber.hpp>
#include <weft/run.hpp>
#include <weft/select.hpp>
#include <weft/wait_group.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::chan;
using weft::make_chan;
using weft::recv_chan;
using weft::send_chan;

void in_run(const std::function<void()>& body) {
  (void)weft::run(weft::options{.drain = 10s},
                  body);  // links of a chain may still be on their way out
}

// fifo.go: buffered, unbuffered, and a daisy chain in which each link compares and passes on.
TEST(GoChanPrograms, Fifo) {
  in_run([] {
    for (const std::size_t cap : {0U, 10U}) {
      auto c = make_chan<int>(cap);
      weft::go([=] {
        for (int i = 0; i < 10; ++i) c.send(i);
        c.close();
      });
      int next = 0;
      for (const int v : c) EXPECT_EQ(v, next++);
      EXPECT_EQ(next, 10);
    }
    auto in = make_chan<int>();
    const auto start = in;
    auto c = make_chan<int>();
    for (int i = 0; i < 10; ++i) {
      auto out = make_chan<int>();
      weft::go([=] {
        (void)in.recv();
        EXPECT_EQ(c.recv(), i);
        out.send(1);
      });
      in = out;
    }
    start.send(0);
    for (int i = 0; i < 10; ++i) c.send(i);
    EXPECT_TRUE(in.recv().has_value());
  });
}

// goroutines.go: 10,000 fibers in a chain.
TEST(GoChanPrograms, ALongChainOfFibers) {
  in_run([] {
    const int n = scaled(10000);
    const auto leftmost = make_chan<int>();
    auto right = leftmost;
    for (int i = 0; i < n; ++i) {
      const auto left = right;
      right = make_chan<int>();
      weft::go([=, in = recv_chan<int>(right), out = send_chan<int>(left)] {
        out.send(1 + *in.recv());
      });
    }
    weft::go([in = send_chan<int>(right)] { in.send(0); });
    EXPECT_EQ(leftmost.recv(), n);
  });
}

// sieve1.go
TEST(GoChanPrograms, PrimeSieve) {
  in_run([] {
    const int count = scaled(300);
    auto done = make_chan<weft::unit>();
    auto generate = [=](send_chan<int> out) {
      for (int i = 2;; ++i) {
        if (weft::select(weft::on_send(out, i), weft::on_recv(done, [] {})) == 1) return;
      }
    };
    weft::wait_group all;
    auto ch = make_chan<int>();
    all.go([=, out = send_chan<int>(ch)] { generate(out); });
    int last = 0;
    std::vector<int> primes;
    for (int i = 0; i < count; ++i) {
      last = *ch.recv();
      primes.push_back(last);
      auto next = make_chan<int>();
      all.go([=, in = recv_chan<int>(ch), out = send_chan<int>(next), prime = last] {
        for (;;) {
          int v = 0;
          if (weft::select(weft::on_recv(in, [&](std::optional<int> x) { v = *x; }),
                           weft::on_recv(done, [] {})) == 1) {
            return;
          }
          if (v % prime == 0) continue;
          if (weft::select(weft::on_send(out, v), weft::on_recv(done, [] {})) == 1) return;
        }
      });
      ch = next;
    }
    for (std::size_t i = 0; i < primes.size(); ++i) {
      for (std::size_t k = 0; k < i; ++k) ASSERT_NE(primes[i] % primes[k], 0);
    }
    EXPECT_EQ(primes.front(), 2);
    done.close();
    all.wait();
  });
}

// sieve2.go's heart: a proxy whose buffer grows, a nil channel turning a case off.
TEST(GoChanPrograms, AGrowingProxyKeepsOrder) {
  in_run([] {
    auto in = make_chan<int>();
    auto out = make_chan<int>();
    weft::go([=]() mutable {
      std::queue<int> pending;
      bool open = true;
      while (open || !pending.empty()) {
        const chan<int> to = pending.empty() ? chan<int>() : out;
        const chan<int> from = open ? in : chan<int>();
        int head = pending.empty() ? 0 : pending.front();
        (void)weft::select(weft::on_send(to, head, [&] { pending.pop(); }),
                           weft::on_recv(from, [&](std::optional<int> v) {
                             if (v) {
                               pending.push(*v);
                             } else {
                               open = false;
                             }
                           }));
      }
      out.close();
    });
    const int n = scaled(2000);
    for (int i = 0; i < n; ++i) in.send(i);  // the proxy takes all of them
    in.close();
    int next = 0;
    for (const int v : out) EXPECT_EQ(v, next++);
    EXPECT_EQ(next, n);
  });
}

// powser1.go: demand channels, a split stream, power series arithmetic. Coefficients in a field
// with exact arithmetic (integers modulo a prime). The streams are endless; a context ends them.
class series {
 public:
  static constexpr std::int64_t mod = 1'000'003;

  struct stream {
    chan<weft::unit> demand = make_chan<weft::unit>();
    chan<std::int64_t> data = make_chan<std::int64_t>();
  };

  ~series() {
    cancel_();
    fibers_.wait();
  }

  std::int64_t get(const stream& s) {
    check(s.demand.send(ctx_, {}).has_value());
    const auto v = s.data.recv(ctx_);
    check(v.has_value());
    return *v;
  }

  stream constant(std::int64_t v) {
    return make([=, this](const stream& s) { put(s, v); });
  }
  stream scale(std::int64_t k, stream a) {
    return make([=, this](const stream& s) {
      demanded(s);
      give(s, k * get(a));
    });
  }
  stream add(stream a, stream b) {
    return make([=, this](const stream& s) {
      demanded(s);
      give(s, get(a) + get(b));
    });
  }
  /// Two readers of one stream, who may be any distance apart.
  std::pair<stream, stream> split(stream in) {
    stream a;
    stream b;
    start([=, this] {
      std::queue<std::int64_t> for_a;
      std::queue<std::int64_t> for_b;
      const auto serve = [&](const stream& s, auto& mine, auto& other) {
        if (mine.empty()) {
          const std::int64_t v = get(in);
          mine.push(v);
          other.push(v);
        }
        give(s, mine.front());
        mine.pop();
      };
      for (;;) {
        (void)weft::select(weft::on_recv(a.demand, [&] { serve(a, for_a, for_b); }),
                           weft::on_recv(b.demand, [&] { serve(b, for_b, for_a); }),
                           weft::on_done(ctx_, [&] { check(false); }));
      }
    });
    return {a, b};
  }
  /// a * b by the recurrence on first terms: (f + xF)(g + xG) = fg + x(fG + gF + xFG).
  stream multiply(stream a, stream b) {
    stream s;
    start([=, this] {
      demanded(s);
      const std::int64_t f = get(a);
      const std::int64_t g = get(b);
      give(s, f * g);
      const auto [f1, f2] = split(a);
      const auto [g1, g2] = split(b);
      const stream fg = add(scale(f, g1), scale(g, f1));
      demanded(s);
      give(s, get(fg));
      const stream rest = multiply(f2, g2);
      for (;;) {
        demanded(s);
        give(s, get(fg) + get(rest));
      }
    });
    return s;
  }

 private:
  struct ended {};

  static void check(bool going_on) {
    if (!going_on) throw ended();
  }
  void demanded(const stream& s) { check(s.demand.recv(ctx_).has_value()); }
  void give(const stream& s, std::int64_t v) { check(s.data.send(ctx_, v % mod).has_value()); }
  void put(const stream& s, std::int64_t v) {
    demanded(s);
    give(s, v);
  }
  template <class F>
  stream make(F step) {
    stream s;
    start([=, this] {
      for (;;) step(s);
    });
    return s;
  }
  template <class F>
  void start(F fn) {
    fibers_.go([=] {
      try {
        fn();
      } catch (const ended&) {
      }
    });
  }

  weft::cancelable_context scope_ = weft::with_cancel(weft::background());
  const weft::context& ctx_ = scope_.ctx;
  const weft::cancel_handle& cancel_ = scope_.cancel;
  weft::wait_group fibers_;
};

TEST(GoChanPrograms, PowerSeries) {
  in_run([] {
    series ps;
    // 1/(1-x) squared has the coefficients 1, 2, 3, ...
    const auto square = ps.multiply(ps.constant(1), ps.constant(1));
    for (std::int64_t i = 1; i <= 12; ++i) EXPECT_EQ(ps.get(square), i);
    const auto [a, b] = ps.split(ps.multiply(ps.constant(2), ps.constant(3)));
    for (std::int64_t i = 1; i <= 8; ++i) EXPECT_EQ(ps.get(a), 6 * i);
    for (std::int64_t i = 1; i <= 8; ++i) EXPECT_EQ(ps.get(b), 6 * i);
  });
}

// doubleselect.go: one select over four sends of the same value never fires two cases.
TEST(GoChanPrograms, DoubleSelectStress) {
  in_run([] {
    const int n = scaled(50000);
    std::array<chan<int>, 4> cs;
    for (auto& c : cs) c = make_chan<int>();
    auto merged = make_chan<int>(16);
    weft::go([=] {
      for (int i = 0; i < n; ++i) {
        (void)weft::select(weft::on_send(cs[0], i), weft::on_send(cs[1], i),
                           weft::on_send(cs[2], i), weft::on_send(cs[3], i));
      }
      for (auto& c : cs) c.close();
    });
    weft::wait_group receivers;
    for (const auto& c : cs) {
      receivers.go([=] {
        for (const int v : c) merged.send(v);
      });
    }
    weft::go([&] {
      receivers.wait();
      merged.close();
    });
    std::vector<int> seen(static_cast<std::size_t>(n));
    for (const int v : merged) ++seen[static_cast<std::size_t>(v)];
    for (const int s : seen) ASSERT_EQ(s, 1);
  });
}

// nonblock.go: each form without waiting, on capacity 0 and 1, for types of several sizes.
template <class T>
void nonblocking(const T& value) {
  for (const std::size_t cap : {0U, 1U}) {
    auto c = make_chan<T>(cap);
    EXPECT_TRUE(c.try_recv().empty());
    EXPECT_EQ(weft::select(weft::on_recv(c, [](std::optional<T>) { FAIL(); }), weft::otherwise()),
              1U);
    weft::wait_group peer;
    peer.go([=] { c.send(value); });
    yield_until([&] { return parked_senders(c) + c.len() == 1; });
    auto got = c.try_recv();
    ASSERT_TRUE(got);
    EXPECT_EQ(*got, value);
    peer.wait();
    EXPECT_EQ(c.try_send(value), cap == 1);
    if (cap == 1) {
      EXPECT_FALSE(c.try_send(value));
      EXPECT_EQ(weft::select(weft::on_send(c, value), weft::otherwise()), 1U);
    } else {
      peer.go([=] { EXPECT_EQ(c.recv(), value); });
      yield_until([&] { return parked_receivers(c) == 1; });
      EXPECT_EQ(weft::select(weft::otherwise(), weft::on_send(c, value)), 1U);
      peer.wait();
    }
  }
}

TEST(GoChanPrograms, NonblockingFormsForSeveralTypes) {
  in_run([] {
    nonblocking<bool>(true);
    nonblocking<int>(123);
    nonblocking<std::string>("hello, and more than fits into the small one");
    nonblocking<std::array<double, 10>>({1.5, 2.5});
  });
}

}  // namespace
