// SPDX-License-Identifier: Apache-2.0
// What Go's test/chan and runtime/chan_test.go check and the other files here do not. Each test
// names the one whose idea it is.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <queue>
#include <ranges>
#include <tuple>
#include <utility>
#include <vector>
#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/fiber.hpp>
#include <weft/run.hpp>
#include <weft/select.hpp>
#include <weft/time.hpp>
#include <weft/wait_group.hpp>

#include "runtime/asymmetric_barrier.hpp"
#include "runtime/stack_watch.hpp"
#include "tests/chan/support.hpp"
#include "tests/support/child.hpp"

namespace {

using namespace weft_test;
using weft::chan;
using weft::make_chan;
using weft::on_recv;
using weft::on_send;
using weft::on_timeout;
using weft::otherwise;
using weft::select;
using weft::select_any;
using weft::select_case;

class ChanConformance : public both_worlds {};
WEFT_BOTH_WORLDS(ChanConformance);

// Go: test/chan/perm: direction counts in a range and in a select, too; and only channels have one.
struct handler {
  void operator()() const {}
};
template <class C>
concept can_be_ranged_over = std::ranges::input_range<const C>;
template <class C>
concept can_be_received_in_select = requires(const C& c, handler& h) { on_recv(c, h); };
template <class C>
concept can_be_sent_in_select = requires(const C& c) { on_send(c, 1); };
template <class C>
concept can_be_received_in_list =
    requires(const C& c, std::optional<int>& to) { select_case::recv(c, to); };
template <class C>
concept can_be_sent_in_list = requires(const C& c, int& from) { select_case::send(c, from); };

static_assert(can_be_ranged_over<chan<int>> && can_be_ranged_over<weft::recv_chan<int>>);
static_assert(!can_be_ranged_over<weft::send_chan<int>>);
static_assert(can_be_received_in_select<chan<int>> && can_be_sent_in_select<chan<int>>);
static_assert(can_be_received_in_list<chan<int>> && can_be_sent_in_list<chan<int>>);
static_assert(can_be_received_in_select<weft::recv_chan<int>>);
static_assert(!can_be_sent_in_select<weft::recv_chan<int>>);
static_assert(can_be_received_in_list<weft::recv_chan<int>>);
static_assert(!can_be_sent_in_list<weft::recv_chan<int>>);
static_assert(can_be_sent_in_select<weft::send_chan<int>>);
static_assert(!can_be_received_in_select<weft::send_chan<int>>);
static_assert(can_be_sent_in_list<weft::send_chan<int>>);
static_assert(!can_be_received_in_list<weft::send_chan<int>>);
static_assert(!can_be_received_in_select<int> && !can_be_sent_in_select<int>);

// --- the shapes of select5.go

/// One channel of each condition, and the cases that name them.
class shapes {
 public:
  enum shape {
    nil_recv,
    nil_send,
    idle_recv,
    idle_send,
    by_default,
    full_recv,  // from here on: ready
    room_send,
    end_recv,
    done
  };
  static constexpr int unready = full_recv;
  static constexpr std::array ready{full_recv, room_send, end_recv, done};

  shapes() {
    ended_.close();
    scope_.cancel();
  }

  [[nodiscard]] select_case make(shape s) {
    switch (s) {
      case nil_recv:
        return select_case::recv(nil_, got_);
      case nil_send:
        return select_case::send(nil_, value_);
      case idle_recv:
        return select_case::recv(idle_, got_);
      case idle_send:
        return select_case::send(idle_, value_);
      case by_default:
        return select_case::otherwise();
      case full_recv:
        return select_case::recv(full_, got_);
      case room_send:
        return select_case::send(room_, value_);
      case end_recv:
        return select_case::recv(ended_, got_);
      default:
        return select_case::done(scope_.ctx);
    }
  }
  void prepare(int value) {
    value_ = value;
    got_ = -1;
    (void)full_.try_recv();  // what the round before has left
    (void)full_.try_send(value);
    (void)room_.try_recv();
  }
  /// Did `s`, and nothing else, happen?
  void expect_taken(shape s) const {
    EXPECT_EQ(full_.len(), s == full_recv ? 0U : 1U);
    EXPECT_EQ(room_.len(), s == room_send ? 1U : 0U);
    if (s == full_recv) {
      EXPECT_EQ(got_, value_);
    }
    if (s == end_recv) {
      EXPECT_EQ(got_, std::nullopt);
    }
    EXPECT_EQ(parked_receivers(idle_) + parked_senders(idle_), 0U);
  }

 private:
  chan<int> nil_;
  chan<int> idle_ = make_chan<int>();
  chan<int> full_ = make_chan<int>(1);
  chan<int> room_ = make_chan<int>(1);
  chan<int> ended_ = make_chan<int>();
  weft::cancelable_context scope_ = weft::with_cancel(weft::background());
  int value_ = 0;
  std::optional<int> got_;
};

using three_shapes = std::array<shapes::shape, 3>;

/// All lists of three cases that are not ready, with at most one default.
template <class F>
void for_each_unready_list(F visit) {
  constexpr int n = shapes::unready;
  for (int code = 0; code < n * n * n; ++code) {
    const three_shapes list{static_cast<shapes::shape>(code % n),
                            static_cast<shapes::shape>(code / n % n),
                            static_cast<shapes::shape>(code / n / n)};
    if (std::ranges::count(list, shapes::by_default) <= 1) visit(code, list);
  }
}

// Go: test/chan/select5: one ready case in each place of each list.
TEST_P(ChanConformance, TheOneReadyCaseIsTakenWhateverStandsBesideIt) {
  run([] {
    shapes all;
    for_each_unready_list([&](int code, const three_shapes& list) {
      for (std::size_t at = 0; at <= list.size(); ++at) {
        for (const shapes::shape ready : shapes::ready) {
          all.prepare(code);
          std::array<select_case, std::tuple_size_v<three_shapes> + 1> cases;
          for (std::size_t i = 0; i < cases.size(); ++i) {
            cases[i] = all.make(i == at ? ready : list[i < at ? i : i - 1]);
          }
          ASSERT_EQ(select_any(cases), at) << "list " << code << ", ready shape " << ready;
          all.expect_taken(ready);
        }
      }
    });
  });
}

// Go: test/chan/select5: no case is ready: the default, and only without one does it wait.
TEST_P(ChanConformance, WithNoReadyCaseTheDefaultIsTakenElseItWaits) {
  run([] {
    shapes all;
    for_each_unready_list([&](int code, const three_shapes& list) {
      all.prepare(code);
      std::array cases{all.make(list[0]), all.make(list[1]), all.make(list[2]),
                       select_case::timeout(1us)};
      const auto at = std::ranges::find(list, shapes::by_default) - list.begin();
      ASSERT_EQ(select_any(cases), static_cast<std::size_t>(at)) << "list " << code;
      all.expect_taken(shapes::by_default);
    });
  });
}

// Go: test/chan/select5: each operand is evaluated once, whether its case is taken or not, and not
// again after a wait.
TEST_P(ChanConformance, EveryOperandOfASelectIsEvaluatedOnce) {
  run([] {
    int channels = 0;
    int values = 0;
    const auto of = [&](const chan<int>& c) -> const chan<int>& {
      ++channels;
      return c;
    };
    const auto value = [&](int v) {
      ++values;
      return v;
    };
    const chan<int> nil;
    auto idle = make_chan<int>();
    auto c = make_chan<int>(1);
    EXPECT_EQ(select(on_send(of(nil), value(1)), on_send(of(c), value(2)), on_recv(of(idle), [] {}),
                     on_send(of(idle), value(3))),
              1U);
    EXPECT_EQ(channels, 4);
    EXPECT_EQ(values, 3);
    EXPECT_EQ(c.recv(), 2);

    crew other(in_fibers());
    auto met = make_chan<int>();
    other.start([=] {
      yield_until([&] { return parked_senders(met) == 1 && parked_receivers(idle) == 1; });
      EXPECT_EQ(met.recv(), 5);
    });
    EXPECT_EQ(
        select(on_send(of(nil), value(4)), on_send(of(met), value(5)), on_recv(of(idle), [] {})),
        1U);
    EXPECT_EQ(channels, 7);
    EXPECT_EQ(values, 5);
  });
}

// --- runtime/chan_test.go

struct animal {
  animal() = default;
  animal(const animal&) = delete;
  animal& operator=(const animal&) = delete;
  virtual ~animal() = default;
  [[nodiscard]] virtual int legs() const = 0;
};
struct cat : animal {
  [[nodiscard]] int legs() const override { return 4; }
};
struct bird : animal {
  [[nodiscard]] int legs() const override { return 2; }
};

// Go: runtime/TestChanSendInterface: values behind an interface, a full channel, several sends.
TEST_P(ChanConformance, SeveralSendsOfOwnedValuesOnOneFullChannel) {
  run([] {
    using owned = std::unique_ptr<animal>;
    auto c = make_chan<owned>(1);
    c.send(std::make_unique<cat>());
    owned a = std::make_unique<bird>();
    owned b = std::make_unique<cat>();
    EXPECT_EQ(select(on_send(c, std::make_unique<bird>()), otherwise()), 1U);
    EXPECT_EQ(select(on_send(c, std::move(a)), otherwise()), 1U);
    EXPECT_EQ(select(on_send(c, std::move(a)), on_send(c, std::move(b)), otherwise()), 2U);
    EXPECT_EQ(select(on_send(c, std::move(a)), on_send(c, std::move(b)), on_timeout(1ms)), 2U);
    ASSERT_TRUE(a && b);
    EXPECT_EQ((*c.recv())->legs(), 4);
    const std::size_t k = select(on_send(c, std::move(a)), on_send(c, std::move(b)), otherwise());
    ASSERT_LT(k, 2U);
    EXPECT_EQ(a == nullptr, k == 0);
    EXPECT_EQ(b == nullptr, k == 1);
    EXPECT_EQ((*c.recv())->legs(), k == 0 ? 2 : 4);
    EXPECT_EQ(select(on_send(c, std::make_unique<bird>()), otherwise()), 0U);
    EXPECT_EQ((*c.recv())->legs(), 2);
  });
}

// Go: runtime/TestPseudoRandomSend, with room for all: both sends on one channel are ready.
TEST_P(ChanConformance, OfTwoReadySendsOnOneChannelEachHasItsChance) {
  run([] {
    // Of 200 throws of a fair coin fewer than 50 heads come once in 10^12 times.
    constexpr std::size_t n = 200;
    auto c = make_chan<std::size_t>(n);
    std::array<std::size_t, 2> taken{};
    for (std::size_t i = 0; i < n; ++i) {
      ++taken[select(on_send(c, std::size_t{0}), on_send(c, std::size_t{1}))];
    }
    std::array<std::size_t, 2> received{};
    for (std::size_t i = 0; i < n; ++i) ++received[*c.recv()];
    EXPECT_EQ(taken, received);
    for (const std::size_t k : taken) EXPECT_GT(k, n / 4);
  });
}

// --- frames of parked fibers

/// As large as a page, and never the same.
struct page_of_values {
  std::array<std::uint64_t, 512> words{};
  explicit page_of_values(std::uint64_t first = 0) { std::iota(words.begin(), words.end(), first); }
  [[nodiscard]] bool begins_with(std::uint64_t first) const {
    return words == page_of_values(first).words;
  }
};

constexpr std::size_t stack_room = 256 << 10;
constexpr std::size_t deep_bytes = 128 << 10;

WEFT_NOINLINE void use_much_stack() {
  volatile char frame[deep_bytes];
  for (std::size_t i = 0; i < deep_bytes; i += 512) frame[i] = 1;
  asm volatile("" : : "r"(frame) : "memory");
}

/// Waits until the pages below the fiber's stack pointer have gone back. (Where they never do, the
/// values below are looked at all the same.)
void wait_until_trimmed(const weft::detail::fiber_core* g) {
  const auto end = std::chrono::steady_clock::now() + 60s;  // for a machine that stands still
  while (weft::detail::membarrier_available &&
         weft::detail::bytes_in_memory(g->stack_class, g->stack_lo) >= deep_bytes) {
    demand(std::chrono::steady_clock::now() < end, "the pages below a parked frame go back");
    weft::sleep_for(2ms);
  }
}

// Go: runtime/TestShrinkStackDuringBlockedSend, TestNoShrinkStackWhileParking,
// TestSelectStackAdjust: what a parked frame sends, and where it receives, stays where it is when
// its stack shrinks.
TEST(ChanParkedFrames, KeepTheirValuesWhenTheirStacksAreTrimmed) {
  const auto r = run_child([] {
    ::setenv("WEFT_DEBUG", "trim=5ms", 1);
    (void)weft::run([] {
      auto parking = make_chan<const weft::detail::fiber_core*>(4);
      auto sent = make_chan<page_of_values>();
      auto received = make_chan<page_of_values>();
      auto chosen = make_chan<page_of_values>();
      auto listed = make_chan<page_of_values>();
      auto never = make_chan<page_of_values>();
      weft::wait_group all;
      const auto start = [&](auto body) {
        weft::go(weft::fiber_options{.stack_size = stack_room}, [=, &all] {
          use_much_stack();
          parking.send(weft::detail::current_fiber());
          body();
          all.done();
        });
      };
      all.add(4);
      start([=] {
        page_of_values v(1);
        sent.send(std::move(v));
      });
      start([=] { demand(received.recv()->begins_with(2), "a receive in a parked frame"); });
      start([=] {
        demand(select(on_recv(never, [] {}),
                      on_recv(chosen,
                              [](std::optional<page_of_values> v) {
                                demand(v->begins_with(3), "a select in a parked frame");
                              }),
                      on_timeout(1h)) == 1,
               "the select is woken by its channel");
      });
      start([=] {
        page_of_values v(4);
        std::optional<page_of_values> none;
        std::array cases{select_case::recv(never, none), select_case::send(listed, v)};
        demand(select_any(cases) == 1, "the list is woken by its send");
      });
      for (int i = 0; i < 4; ++i) wait_until_trimmed(*parking.recv());
      demand(sent.recv()->begins_with(1), "a send from a parked frame");
      received.send(page_of_values(2));
      chosen.send(page_of_values(3));
      demand(listed.recv()->begins_with(4), "a list's send from a parked frame");
      all.wait();
    });
  });
  EXPECT_EQ(r.code, 0) << r.error;
}

// --- programs

/// Fibers in endless loops over channels, which end together.
class company {
 public:
  company() = default;
  company(const company&) = delete;
  company& operator=(const company&) = delete;
  ~company() {
    scope_.cancel();
    fibers_.wait();
  }

  template <class F>
  void start(F fn) {
    fibers_.go([fn = std::move(fn)]() mutable {
      try {
        fn();
      } catch (const over&) {
      }
    });
  }
  template <class C>
  void put(const C& c, typename C::element_type v) const {
    if (!c.send(scope_.ctx, std::move(v))) throw over();
  }
  /// nullopt: the stream has ended by itself.
  template <class C>
  [[nodiscard]] std::optional<typename C::element_type> get(const C& c) const {
    auto r = c.recv(scope_.ctx);
    if (r) return *std::move(r);
    if (r.error() != weft::errc::closed) throw over();
    return std::nullopt;
  }
  [[nodiscard]] const weft::context& context() const { return scope_.ctx; }
  [[noreturn]] static void end() { throw over(); }

 private:
  struct over {};

  weft::cancelable_context scope_ = weft::with_cancel(weft::background());
  weft::wait_group fibers_;
};

/// A stream with its next value at hand.
struct headed_stream {
  int head;
  chan<int> rest;
  friend bool operator>(const headed_stream& a, const headed_stream& b) { return a.head > b.head; }
};

/// The odd primes, found by what the composites leave out.
class merging_sieve {
 public:
  merging_sieve() {
    fibers_.start([this] { find(); });
    fibers_.start([this] { proxy(); });
    fibers_.start([this] { merge(); });
  }
  [[nodiscard]] int next() const { return *fibers_.get(primes_); }

 private:
  void found(int prime) const {
    fibers_.put(primes_, prime);
    fibers_.put(fed_back_, prime);
  }
  void find() const {
    int candidate = 3;
    found(candidate);
    for (;;) {
      const int composite = *fibers_.get(composites_);
      for (candidate += 2; candidate < composite; candidate += 2) found(candidate);
    }
  }
  /// What the merger does not want yet waits here, or it and find() would wait for each other.
  void proxy() const {
    std::queue<int> waiting;
    const chan<int> off;
    for (;;) {
      const int first = waiting.empty() ? 0 : waiting.front();
      (void)select(on_recv(fed_back_, [&](std::optional<int> p) { waiting.push(*p); }),
                   on_send(waiting.empty() ? off : roots_, first, [&] { waiting.pop(); }),
                   weft::on_done(fibers_.context(), [] { company::end(); }));
    }
  }
  [[nodiscard]] headed_stream odd_multiples(int prime) {
    const headed_stream s{prime * prime, make_chan<int>()};
    fibers_.start([this, prime, out = s.rest] {
      for (int v = prime * prime + 2 * prime;; v += 2 * prime) fibers_.put(out, v);
    });
    return s;
  }
  /// All multiples in order, each once. A prime's come in with its square.
  void merge() {
    std::priority_queue<headed_stream, std::vector<headed_stream>, std::greater<>> heap;
    int last = 0;
    const auto advance = [&](headed_stream s) {
      if (s.head != last) fibers_.put(composites_, last = s.head);
      s.head = *fibers_.get(s.rest);
      heap.push(std::move(s));
    };
    for (;;) {
      const headed_stream newest = odd_multiples(*fibers_.get(roots_));
      while (!heap.empty() && heap.top().head < newest.head) {
        const headed_stream least = heap.top();
        heap.pop();
        advance(least);
      }
      advance(newest);
    }
  }

  chan<int> primes_ = make_chan<int>();
  chan<int> fed_back_ = make_chan<int>();
  chan<int> roots_ = make_chan<int>();
  chan<int> composites_ = make_chan<int>();
  company fibers_;  // last: its fibers use the others
};

// Go: test/chan/sieve2: feedback through a proxy that grows, and a heap of channels.
TEST(ChanConformancePrograms, ASieveFeedsItsPrimesBackToAHeapOfStreams) {
  (void)weft::run([] {
    merging_sieve sieve;
    std::vector<int> primes{2};
    for (int i = 0; i < scaled(1000); ++i) {
      const int p = sieve.next();
      for (int v = primes.back() + 1; v < p; ++v) {  // nothing was left out
        ASSERT_TRUE(std::ranges::any_of(primes, [v](int q) { return v % q == 0; })) << v;
      }
      ASSERT_TRUE(std::ranges::none_of(primes, [p](int q) { return p % q == 0; })) << p;
      primes.push_back(p);
    }
  });
}

/// A rational number, known by an interface only.
struct coefficient {
  coefficient() = default;
  coefficient(const coefficient&) = delete;
  coefficient& operator=(const coefficient&) = delete;
  virtual ~coefficient() = default;
  [[nodiscard]] virtual std::int64_t above() const = 0;
  [[nodiscard]] virtual std::int64_t below() const = 0;
};
using owned_coefficient = std::unique_ptr<const coefficient>;

class whole final : public coefficient {
 public:
  explicit whole(std::int64_t v) : v_(v) {}
  [[nodiscard]] std::int64_t above() const override { return v_; }
  [[nodiscard]] std::int64_t below() const override { return 1; }

 private:
  std::int64_t v_;
};
class ratio final : public coefficient {
 public:
  ratio(std::int64_t a, std::int64_t b) : above_(a), below_(b) {}
  [[nodiscard]] std::int64_t above() const override { return above_; }
  [[nodiscard]] std::int64_t below() const override { return below_; }

 private:
  std::int64_t above_;
  std::int64_t below_;
};

owned_coefficient reduced(std::int64_t above, std::int64_t below) {
  const std::int64_t d = std::gcd(above, below);
  if (below == d) return std::make_unique<whole>(above / d);
  return std::make_unique<ratio>(above / d, below / d);
}

/// Power series as streams of coefficients; a polynomial's stream is closed behind its last one.
class interface_series {
 public:
  using stream = chan<owned_coefficient>;

  [[nodiscard]] stream polynomial(const std::vector<std::int64_t>& values) {
    const stream out = make_chan<owned_coefficient>();
    fibers_.start([=, this] {
      for (const std::int64_t v : values) fibers_.put(out, reduced(v, 1));
      out.close();
    });
    return out;
  }
  [[nodiscard]] stream sum(stream a, stream b) {
    const stream out = make_chan<owned_coefficient>();
    fibers_.start([=, this] {
      for (;;) {
        auto x = fibers_.get(a);
        auto y = fibers_.get(b);
        if (!x && !y) break;
        if (x && y) {
          x = reduced((*x)->above() * (*y)->below() + (*y)->above() * (*x)->below(),
                      (*x)->below() * (*y)->below());
        }
        fibers_.put(out, std::move(x ? *x : *y));
      }
      out.close();
    });
    return out;
  }
  /// The integral of `in` that has `at_zero` there.
  [[nodiscard]] stream integral(std::int64_t at_zero, stream in) {
    const stream out = make_chan<owned_coefficient>();
    fibers_.start([=, this] {
      fibers_.put(out, reduced(at_zero, 1));
      for (std::int64_t n = 1; auto c = fibers_.get(in); ++n) {
        fibers_.put(out, reduced((*c)->above(), (*c)->below() * n));
      }
      out.close();
    });
    return out;
  }
  /// Copies `in` for two readers. As fast as the first one reads; the second may be any distance
  /// behind.
  void split(stream in, stream a, stream b) {
    fibers_.start([=, this] {
      std::queue<owned_coefficient> for_a;
      std::queue<owned_coefficient> for_b;
      const stream off;
      for (bool open = true; open || !for_a.empty() || !for_b.empty();) {
        owned_coefficient none;
        (void)select(on_recv(open && for_a.empty() ? in : off,
                             [&](std::optional<owned_coefficient> c) {
                               open = c.has_value();
                               if (!open) return;
                               for_b.push(reduced((*c)->above(), (*c)->below()));
                               for_a.push(*std::move(c));
                             }),
                     on_send(for_a.empty() ? off : a,
                             std::move(for_a.empty() ? none : for_a.front()), [&] { for_a.pop(); }),
                     on_send(for_b.empty() ? off : b,
                             std::move(for_b.empty() ? none : for_b.front()), [&] { for_b.pop(); }),
                     weft::on_done(fibers_.context(), [] { company::end(); }));
      }
      a.close();
      b.close();
    });
  }
  /// The series that is its own derivative: its integral is fed back to itself.
  [[nodiscard]] stream exponential() {
    const stream back = make_chan<owned_coefficient>();
    const stream out = make_chan<owned_coefficient>();
    split(integral(1, back), out, back);
    return out;
  }
  void expect(const stream& s, std::int64_t above, std::int64_t below) const {
    const auto c = fibers_.get(s);
    ASSERT_TRUE(c);
    EXPECT_EQ((*c)->above(), above);
    EXPECT_EQ((*c)->below(), below);
  }
  void expect_end(const stream& s) const { EXPECT_FALSE(fibers_.get(s)); }

 private:
  company fibers_;
};

// Go: test/chan/powser2: streams of interface values, finite and endless, one that depends on
// itself; nil channels turn the cases of a split off.
TEST(ChanConformancePrograms, PowerSeriesOfInterfaceValues) {
  (void)weft::run([] {
    interface_series ps;
    const auto total = ps.sum(ps.polynomial({1, 2, 3}), ps.polynomial({4}));
    ps.expect(total, 5, 1);
    ps.expect(total, 2, 1);
    ps.expect(total, 3, 1);
    ps.expect_end(total);
    const auto area = ps.integral(7, ps.polynomial({1, 1, 1}));
    ps.expect(area, 7, 1);
    ps.expect(area, 1, 1);
    ps.expect(area, 1, 2);
    ps.expect(area, 1, 3);
    ps.expect_end(area);
    const auto e = ps.exponential();
    std::int64_t factorial = 1;
    for (std::int64_t n = 1; n <= 15; ++n) {
      ps.expect(e, 1, factorial);
      factorial *= n;
    }
    const auto one = make_chan<owned_coefficient>();
    const auto other = make_chan<owned_coefficient>();
    ps.split(ps.polynomial({1, 2}), one, other);
    for (const auto& s : {one, other}) {  // the first reads all before the second begins
      ps.expect(s, 1, 1);
      ps.expect(s, 2, 1);
      if (s == other) ps.expect_end(s);
    }
    ps.expect_end(one);
  });
}

}  // namespace
