// SPDX-License-Identifier: Apache-2.0
// The sentences of API.md on channels that only a parked party can tell: what every waiting form
// sees of a close, a context and a throwing copy, the order of the line, and what happens before
// what.
#include <weft/chan.hpp>

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>
#include <weft/context.hpp>
#include <weft/mutex.hpp>
#include <weft/select.hpp>

#include "tests/chan/support.hpp"
#include "tests/support/child.hpp"

namespace {

using namespace weft_test;
using weft::chan;
using weft::make_chan;

class ChanContract : public both_worlds {};
WEFT_BOTH_WORLDS(ChanContract);

static_assert(std::is_base_of_v<weft::logic_error, weft::closed_channel>);
static_assert(std::is_base_of_v<std::logic_error, weft::logic_error>);

template <class T>
T make(int v) {
  if constexpr (std::is_same_v<T, move_only>) {
    return std::make_unique<int>(v);
  } else {
    return T(v);
  }
}
template <class T>
int value_of(const T& v) {
  if constexpr (std::is_same_v<T, move_only>) {
    return v == nullptr ? -1 : *v;
  } else {
    return v.value;
  }
}

// --- v is untouched unless it was sent

template <class T>
void parked_senders_keep_their_values(bool fibers) {
  auto c = make_chan<T>();
  auto [ctx, cancel] = weft::with_cancel(weft::background());
  crew others(fibers);
  others.start([&, &until = ctx] {
    T v = make<T>(1);
    EXPECT_EQ(c.send(until, std::move(v)).error(), weft::errc::canceled);
    EXPECT_EQ(value_of(v), 1);
  });
  others.start([&, &until = ctx] {
    T v = make<T>(2);
    EXPECT_EQ(weft::select(weft::on_send(c, std::move(v)), weft::on_done(until)), 1U);
    EXPECT_EQ(value_of(v), 2);
  });
  yield_until([&] { return parked_senders(c) == 2; });
  cancel();
  others.join();
  EXPECT_EQ(parked_senders(c), 0U);

  const auto throws_and_keeps = [&c](auto send) {
    T v = make<T>(3);
    EXPECT_THROW(send(v), weft::closed_channel);
    EXPECT_EQ(value_of(v), 3);
    T again = make<T>(4);
    EXPECT_THROW(send(again), weft::closed_channel);  // closed by now, or closed already
    EXPECT_EQ(value_of(again), 4);
    EXPECT_EQ(c.len(), 0U);
  };
  others.start([=] { throws_and_keeps([&](T& v) { c.send(std::move(v)); }); });
  others.start(
      [=] { throws_and_keeps([&](T& v) { (void)c.send(weft::background(), std::move(v)); }); });
  others.start([=] { throws_and_keeps([&](T& v) { (void)c.send_for(1h, std::move(v)); }); });
  others.start([=] {
    throws_and_keeps(
        [&](T& v) { (void)weft::select(weft::on_send(c, std::move(v)), weft::on_timeout(1h)); });
  });
  others.start([=] {
    throws_and_keeps([&](T& v) {
      std::array cases{weft::select_case::send(c, v), weft::select_case::timeout(1h)};
      (void)weft::select_any(cases);
    });
  });
  yield_until([&] { return parked_senders(c) == 5; });
  c.close();
}

TEST_P(ChanContract, EveryParkedSenderThatFailsKeepsItsValue) {
  run([] {
    parked_senders_keep_their_values<move_only>(in_fibers());
    parked_senders_keep_their_values<counted>(in_fibers());
    parked_senders_keep_their_values<over_aligned>(in_fibers());
  });
  EXPECT_EQ(counted::alive, 0);
}

// --- a throwing copy happens in the sender's frame before the channel is touched

TEST_P(ChanContract, AThrowingCopyComesBeforeTheChannel) {
  run([] {
    auto c = make_chan<counted>();
    auto closed = make_chan<counted>();
    closed.close();
    crew others(in_fibers());
    others.start([=] { EXPECT_EQ(c.recv()->value, 9); });
    yield_until([&] { return parked_receivers(c) == 1; });
    const counted v(5);
    counted::throw_on_copy = true;
    for (const auto& to : {c, closed, chan<counted>()}) {  // nor does it see closed, nor nil
      EXPECT_THROW(to.send(v), std::runtime_error);
      EXPECT_THROW((void)to.try_send(v), std::runtime_error);
      EXPECT_THROW((void)to.send(weft::background(), v), std::runtime_error);
      EXPECT_THROW((void)to.send_for(1h, v), std::runtime_error);
      EXPECT_THROW((void)weft::select(weft::on_send(to, v), weft::on_timeout(1h)),
                   std::runtime_error);
    }
    counted::throw_on_copy = false;
    EXPECT_EQ(parked_receivers(c), 1U);  // it still waits
    c.send(counted(9));
  });
  EXPECT_EQ(counted::alive, 0);
}

// --- close

TEST_P(ChanContract, CloseIsSeenByEveryParkedReceivingForm) {
  run([] {
    auto c = make_chan<move_only>();
    crew others(in_fibers());
    others.start([=] { EXPECT_EQ(c.recv(), std::nullopt); });
    others.start([=] { EXPECT_EQ(c.recv(weft::background()).error(), weft::errc::closed); });
    others.start([=] { EXPECT_EQ(c.recv_for(1h).error(), weft::errc::closed); });
    others.start([=] {
      for (auto& v : c) FAIL() << *v;
    });
    others.start([=] {
      std::optional<move_only> got = std::make_unique<int>(1);
      std::array cases{weft::select_case::recv(c, got), weft::select_case::timeout(1h)};
      EXPECT_EQ(weft::select_any(cases), 0U);
      EXPECT_EQ(got, std::nullopt);
    });
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    others.start([=, &until = ctx] { EXPECT_EQ(c.recv(until).error(), weft::errc::closed); });
    yield_until([&] { return parked_receivers(c) == 6; });
    c.close();
    others.join();
    EXPECT_EQ(parked_receivers(c), 0U);
  });
}

template <class C>
void closes_like_the_others(const C& c) {
  c.send(std::make_unique<int>(1));
  c.close();
  auto v = std::make_unique<int>(2);
  EXPECT_THROW(c.close(), weft::closed_channel);
  EXPECT_THROW(c.send(std::move(v)), weft::closed_channel);
  EXPECT_THROW((void)c.try_send(std::move(v)), weft::closed_channel);
  EXPECT_THROW((void)c.send(weft::background(), std::move(v)), weft::closed_channel);
  EXPECT_THROW((void)c.send_for(1h, std::move(v)), weft::closed_channel);
  EXPECT_THROW((void)weft::select(weft::on_send(c, std::move(v)), weft::otherwise()),
               weft::closed_channel);
  EXPECT_THROW((void)weft::select(weft::on_send(c, std::move(v)), weft::on_timeout(1h)),
               weft::closed_channel);
  ASSERT_TRUE(v);
  EXPECT_EQ(c.len(), 1U);
  EXPECT_EQ(**c.recv_for(1h), 1);  // it survived the close
  EXPECT_EQ(c.recv_for(1h).error(), weft::errc::closed);
  EXPECT_EQ(c.recv(weft::background()).error(), weft::errc::closed);
  EXPECT_EQ(c.recv(), std::nullopt);
}

TEST_P(ChanContract, EveryKindOfChannelClosesAlike) {
  run([] {
    closes_like_the_others(make_chan<move_only>(1));
    closes_like_the_others(make_chan<move_only>(5));
    closes_like_the_others(make_chan<move_only>(weft::unbounded));
    closes_like_the_others(make_chan<move_only>(weft::conflated));
    const weft::channel<move_only, 2> local;
    closes_like_the_others(local);
    EXPECT_THROW(weft::send_chan<int>().close(), weft::closed_channel);
    auto c = make_chan<int>();
    const weft::send_chan<int> in = c;
    in.close();
    EXPECT_THROW(c.close(), weft::closed_channel);  // the channel is closed, not the end
  });
}

// --- the line

// Whatever form it waits in: who came first is served first, and who gave up is not in the way.
TEST_P(ChanContract, ReceiversOfAllFormsStandInOneLine) {
  run([] {
    auto c = make_chan<int>();
    auto [ctx, cancel] = weft::with_cancel(weft::background());
    std::array<int, 6> got{};
    crew others(in_fibers());
    std::size_t parked = 0;
    const auto park = [&](auto form) {
      others.start(form);
      ++parked;
      yield_until([&] { return parked_receivers(c) == parked; });
    };
    park([&] { got[0] = *c.recv(); });
    park([&, &until = ctx] { got[1] = c.recv(until).value_or(-1); });
    park([&] {
      (void)weft::select(weft::on_recv(c, [&](std::optional<int> v) { got[2] = *v; }),
                         weft::on_timeout(1h));
    });
    park([&] { got[3] = *c.recv_for(1h); });
    park([&, &until = ctx] {
      (void)weft::select(weft::on_done(until, [&] { got[4] = -1; }),
                         weft::on_recv(c, [&](std::optional<int> v) { got[4] = *v; }));
    });
    park([&] {
      std::optional<int> v;
      std::array cases{weft::select_case::recv(c, v)};
      (void)weft::select_any(cases);
      got[5] = *v;
    });
    cancel();
    yield_until([&] { return parked_receivers(c) == 4; });
    for (int i = 1; i <= 4; ++i) c.send(i);
    others.join();
    EXPECT_EQ(got, (std::array{1, -1, 2, 3, -1, 4}));
  });
}

TEST_P(ChanContract, SendersOfAllFormsStandInOneLine) {
  run([] {
    for (const std::size_t cap : {0U, 1U}) {
      auto c = make_chan<move_only>(cap);
      for (std::size_t i = 0; i < cap; ++i) c.send(std::make_unique<int>(0));
      auto [ctx, cancel] = weft::with_cancel(weft::background());
      crew others(in_fibers());
      std::size_t parked = 0;
      const auto park = [&](auto form) {
        others.start(form);
        ++parked;
        yield_until([&] { return parked_senders(c) == parked; });
      };
      park([=] { c.send(std::make_unique<int>(1)); });
      park([=, &until = ctx] { EXPECT_FALSE(c.send(until, std::make_unique<int>(-1))); });
      park([=] { EXPECT_TRUE(c.send_for(1h, std::make_unique<int>(2))); });
      park([=] {
        (void)weft::select(weft::on_timeout(1h), weft::on_send(c, std::make_unique<int>(3)));
      });
      park([=] { EXPECT_TRUE(c.send(weft::background(), std::make_unique<int>(4))); });
      cancel();
      yield_until([&] { return parked_senders(c) == 4; });
      for (int i = 1 - static_cast<int>(cap); i <= 4; ++i) EXPECT_EQ(**c.recv(), i);
    }
  });
}

// --- what happens before what: plain variables guarded by the channel alone (TSan looks on)

TEST_P(ChanContract, TheKthReceiveHappensBeforeSendKPlusCIsComplete) {
  run([] {
    for (const std::size_t cap : {0U, 1U, 3U}) {
      const auto n = static_cast<std::size_t>(scaled(in_fibers() ? 3000 : 500));
      auto c = make_chan<weft::unit>(cap);
      std::vector<int> written(n);
      crew others(in_fibers());
      others.start([&] {
        for (std::size_t k = 0; k < n; ++k) {
          written[k] = 1;
          (void)c.recv();
        }
      });
      for (std::size_t k = 0; k < n; ++k) {
        c.send({});
        if (k >= cap) {
          ASSERT_EQ(written[k - cap], 1) << k;
        }
      }
    }
  });
}

TEST_P(ChanContract, TheCloseHappensBeforeItsEndIsSeen) {
  run([] {
    for (int i = 0; i < scaled(in_fibers() ? 2000 : 200); ++i) {
      auto c = make_chan<int>(static_cast<std::size_t>(i % 2));
      int written = 0;
      crew others(in_fibers());
      others.start([&, c] {
        written = 1;
        c.close();
      });
      if (i % 3 == 0) {
        EXPECT_FALSE(c.recv());
      } else if (i % 3 == 1) {
        yield_until([&] { return c.try_recv().closed(); });
      } else {
        (void)weft::select(weft::on_recv(c, [] {}), weft::on_timeout(1h));
      }
      ASSERT_EQ(written, 1);
    }
  });
}

// --- races of throwing copies

/// Each third copy throws, whoever makes it.
struct fickle {
  static inline std::atomic<unsigned> copies{0};
  explicit fickle(int v) : value(v), own(std::make_unique<int>(v)) {}
  fickle(const fickle& o) : value(o.value) {
    if (copies++ % 3 == 2) throw std::runtime_error("copy");
    own = std::make_unique<int>(*o.own);
  }
  fickle(fickle&& o) noexcept = default;
  int value;
  std::unique_ptr<int> own;
};

// Send by copy, receive, close and select at once: each value arrives once or was refused once, by
// a throw, a false, an error or the close, and the sender's own is whole in any case.
TEST_P(ChanContract, ThrowingCopiesRaceCloseAndSelectWithExactBooksStress) {
  run([] {
    constexpr int senders = 3;
    constexpr int each = 30;
    for (int round = 0; round < scaled(in_fibers() ? 200 : 30); ++round) {
      auto c = make_chan<fickle>(static_cast<std::size_t>(round % 3));
      std::atomic<int> sent{0};
      std::atomic<int> received{0};
      crew crowd(in_fibers());
      for (int s = 0; s < senders; ++s) {
        crowd.start([&] {
          for (int i = 0; i < each; ++i) {
            const fickle v(i);
            bool ok = true;
            try {
              switch (i % 5) {
                case 0:
                  c.send(v);
                  break;
                case 1:
                  ok = c.try_send(v);
                  break;
                case 2:
                  ok = c.send_for(20us, v);
                  break;
                case 3:
                  ok = c.send(weft::background(), v).has_value();
                  break;
                default:
                  ok = weft::select(weft::on_send(c, v), weft::on_timeout(20us)) == 0;
              }
              sent += ok ? 1 : 0;
            } catch (const weft::closed_channel&) {
            } catch (const std::runtime_error&) {
            }
            EXPECT_EQ(*v.own, i);
          }
        });
      }
      const auto take = [&](const auto& v) {
        if (v) {
          EXPECT_EQ(*v->own, v->value);
          ++received;
        }
        return v.has_value();
      };
      crowd.start([&] {
        while (take(c.recv())) {
        }
      });
      crowd.start([&] {
        for (bool more = true; more;) {
          (void)weft::select(weft::on_recv(c, [&](std::optional<fickle> v) { more = take(v); }),
                             weft::on_timeout(10us));
        }
      });
      crowd.start([&] {
        for (int i = 0; i < 20 + round % 30; ++i) weft::yield();
        c.close();
      });
      crowd.join();
      while (take(c.try_recv())) {
      }
      ASSERT_EQ(sent, received) << "round " << round;
    }
  });
}

// --- plain threads alone

/// Whether the thread `tid` of this process sleeps in the kernel.
bool sleeps(pid_t tid) {
  std::ifstream stat("/proc/self/task/" + std::to_string(tid) + "/stat");
  const std::string line((std::istreambuf_iterator<char>(stat)), {});
  const auto after_name = line.rfind(')');
  return after_name != std::string::npos && line.substr(after_name + 2, 1) == "S";
}

/// Runs `wait` in a thread of a child process until it has slept for a while; 0 if it stays there.
template <class F>
int stays_asleep(F wait) {
  return run_child([&] {
           std::atomic<pid_t> tid{0};
           std::atomic<bool> passed{false};
           std::thread([&] {
             tid = ::gettid();
             wait();
             passed = true;
           }).detach();
           for (int asleep = 0; asleep < 200 && !passed;) {
             std::this_thread::yield();
             asleep = tid != 0 && sleeps(tid) ? asleep + 1 : 0;
           }
           ::_exit(passed ? 1 : 0);
         })
      .code;
}

TEST(ChanThreads, AThreadOnANilChannelOrAnEmptySelectStaysThere) {
  EXPECT_EQ(stays_asleep([] { (void)chan<int>().recv(); }), 0);
  EXPECT_EQ(stays_asleep([] { chan<int>().send(1); }), 0);
  EXPECT_EQ(stays_asleep([] { (void)weft::select(); }), 0);
  EXPECT_EQ(stays_asleep([] { (void)weft::select_any({}); }), 0);
  EXPECT_EQ(stays_asleep([] {
              const chan<int> nil;
              (void)weft::select(weft::on_recv(nil, [] {}), weft::on_send(nil, 1));
            }),
            0);
  EXPECT_EQ(stays_asleep([] {}), 1);  // the check itself
}

TEST(ChanThreads, NothingNeedsARuntime) {
  auto c = make_chan<move_only>();
  weft::channel<int, 2> back;
  weft::mutex m;
  weft::wait_group wg;
  const int n = scaled(2000);
  int sum = 0;
  crew threads(false);
  wg.add(2);
  for (int t = 0; t < 2; ++t) {
    threads.start([&] {
      for (auto& v : c) {
        const std::lock_guard lock(m);
        sum += *v;
      }
      wg.done();
    });
  }
  threads.start([&] {
    for (int i = 0; i < n; ++i) {
      (void)weft::select(weft::on_send(c, std::make_unique<int>(1)), weft::on_timeout(1h));
      (void)weft::select(weft::on_send(back, i), weft::on_recv(chan<int>(), [] {}));
    }
    c.close();
  });
  for (int i = 0; i < n; ++i) EXPECT_EQ(back.recv(), i);
  wg.wait();
  threads.join();
  EXPECT_EQ(sum, n);
}

TEST(ChanThreads, DestroyedWhileAThreadWaitsIsFatal) {
  const auto fatal = [](auto wait) {
    const auto r = run_child([&] {
      auto* c = new weft::channel<int>;
      std::thread([c, wait] { wait(*c); }).detach();
      yield_until([&] { return parked_receivers(*c) + parked_senders(*c) == 1; });
      delete c;
    });
    EXPECT_EQ(r.code, 2);
    EXPECT_NE(r.error.find("weft::channel destroyed while"), std::string::npos) << r.error;
  };
  fatal([](weft::channel<int>& c) { (void)c.recv(); });
  fatal([](weft::channel<int>& c) { c.send(1); });
  fatal([](weft::channel<int>& c) {
    (void)weft::select(weft::on_recv(c, [] {}), weft::on_timeout(1h));
  });
}

}  // namespace
