// SPDX-License-Identifier: Apache-2.0
// Selects against selects and against everything else, with exact books.
#include <weft/select.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <optional>
#include <vector>
#include <weft/context.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::chan;
using weft::make_chan;
using weft::on_done;
using weft::on_recv;
using weft::on_send;
using weft::on_timeout;
using weft::otherwise;
using weft::select;

class SelectStress : public both_worlds {};
WEFT_BOTH_WORLDS(SelectStress);

// Select.SelectMeetsSelect, CrossedOrders (BurntSushi/chan#20): both sides are selects, and name
// the channels in opposite orders.
TEST_P(SelectStress, CrossedSelectsMeet) {
  run([] {
    const int n = scaled(in_fibers() ? 20000 : 3000);
    auto a = make_chan<int>();
    auto b = make_chan<int>();
    std::atomic<long> sent{0};
    std::atomic<long> received{0};
    crew pairs(in_fibers());
    for (int p = 0; p < 2; ++p) {
      pairs.start([&, p] {
        for (int i = 0; i < n; ++i) {
          (void)(p == 0 ? select(on_send(a, i), on_send(b, i))
                        : select(on_send(b, i), on_send(a, i)));
          sent += i;
        }
      });
      pairs.start([&, p] {
        for (int i = 0; i < n; ++i) {
          const auto take = [&](std::optional<int> v) { received += *v; };
          (void)(p == 0 ? select(on_recv(b, take), on_recv(a, take))
                        : select(on_recv(a, take), on_recv(b, take)));
        }
      });
    }
    pairs.join();
    EXPECT_EQ(sent, received);
    EXPECT_EQ(parked_receivers(a) + parked_receivers(b), 0U);
  });
}

// runtime/chan_test.go TestSelectStress: four channels, all forms, each with its own sender and
// receiver, and one select for sending and one for receiving on all.
TEST_P(SelectStress, AllFormsOnFourChannels) {
  run([] {
    const int n = scaled(in_fibers() ? 5000 : 1000);
    const std::array<chan<int>, 4> c{make_chan<int>(), make_chan<int>(), make_chan<int>(2),
                                     make_chan<int>(3)};
    crew crowd(in_fibers());
    for (const auto& one : c) {
      crowd.start([=] {
        for (int i = 0; i < n; ++i) one.send(0);
      });
      crowd.start([=] {
        for (int i = 0; i < n; ++i) EXPECT_EQ(one.recv(), 0);
      });
    }
    crowd.start([=] {
      std::array<int, 4> left{n, n, n, n};
      std::array<chan<int>, 4> open = c;
      for (int i = 0; i < 4 * n; ++i) {
        const std::size_t k = select(on_send(open[3], 0), on_send(open[2], 0), on_send(open[0], 0),
                                     on_send(open[1], 0));
        constexpr std::array<std::size_t, 4> which{3, 2, 0, 1};
        if (--left[which[k]] == 0) open[which[k]] = {};
      }
    });
    crowd.start([=] {
      std::array<int, 4> left{n, n, n, n};
      std::array<chan<int>, 4> open = c;
      for (int i = 0; i < 4 * n; ++i) {
        const std::size_t k = select(on_recv(open[0], [] {}), on_recv(open[1], [] {}),
                                     on_recv(open[2], [] {}), on_recv(open[3], [] {}));
        if (--left[k] == 0) open[k] = {};
      }
    });
    crowd.join();
    for (const auto& one : c) EXPECT_EQ(one.len(), 0U);
  });
}

// TestNonblockSelectRace: otherwise is not taken if some case was ready at every moment: first c1,
// and before it is drained, c2.
TEST_P(SelectStress, OtherwiseIsNotTakenWhileSomethingIsReady) {
  run([] {
    const int n = scaled(in_fibers() ? 20000 : 1000);
    int missed = 0;
    for (int i = 0; i < n; ++i) {
      auto c1 = make_chan<int>(1);
      auto c2 = make_chan<int>(1);
      c1.send(1);
      crew other(in_fibers());
      other.start([&, c1, c2] {
        (void)select(on_recv(c1, [] {}), on_recv(c2, [] {}), otherwise([&] { ++missed; }));
      });
      c2.send(1);
      (void)select(on_recv(c1, [] {}), otherwise());
      other.join();
    }
    EXPECT_EQ(missed, 0);
  });
}

// TestNonblockSelectRace2: the same with close.
TEST_P(SelectStress, OtherwiseIsNotTakenWhileSomethingIsClosed) {
  run([] {
    const int n = scaled(in_fibers() ? 20000 : 1000);
    int missed = 0;
    for (int i = 0; i < n; ++i) {
      auto c1 = make_chan<int>(1);
      auto c2 = make_chan<int>();
      c1.send(1);
      crew other(in_fibers());
      other.start([&, c1, c2] {
        (void)select(on_recv(c1, [] {}), on_recv(c2, [] {}), otherwise([&] { ++missed; }));
      });
      c2.close();
      (void)select(on_recv(c1, [] {}), otherwise());
      other.join();
    }
    EXPECT_EQ(missed, 0);
  });
}

// Values, close, time-outs and contexts against selects on both sides; every value is accounted
// for.
TEST_P(SelectStress, ExactBooksUnderCloseTimeoutAndCancel) {
  run([] {
    const int rounds = scaled(in_fibers() ? 120 : 6);
    for (int round = 0; round < rounds; ++round) {
      auto a = make_chan<move_only>();
      auto b = make_chan<move_only>(static_cast<std::size_t>(round % 3));
      auto [ctx, cancel] = weft::with_cancel(weft::background());
      std::atomic<int> sent{0};
      std::atomic<int> received{0};
      crew crowd(in_fibers());
      for (int s = 0; s < 3; ++s) {
        crowd.start([&, &until = ctx] {
          for (int i = 0; i < 40; ++i) {
            auto va = std::make_unique<int>(i);
            auto vb = std::make_unique<int>(i);
            try {
              const std::size_t k =
                  select(on_send(a, std::move(va)), on_send(b, std::move(vb)), on_done(until),
                         on_timeout(std::chrono::microseconds(i)));
              if (k < 2) ++sent;
              EXPECT_EQ(va == nullptr, k == 0);
              EXPECT_EQ(vb == nullptr, k == 1);
              if (k == 2) return;
            } catch (const weft::closed_channel&) {
              EXPECT_TRUE(va && vb);
              return;
            }
          }
        });
        crowd.start([&, &until = ctx] {
          for (;;) {
            bool ended = false;
            const auto take = [&](std::optional<move_only> v) {
              if (v) {
                ++received;
              } else {
                ended = true;
              }
            };
            const std::size_t k =
                select(on_recv(b, take), on_recv(a, take), on_done(until), on_timeout(5us));
            if (ended || k == 2) return;
          }
        });
      }
      crowd.start([&, &stop = cancel] {
        for (int i = 0; i < 20 + round % 20; ++i) weft::yield();
        if (round % 2 == 0) {
          a.close();
          b.close();
        } else {
          stop();
        }
      });
      crowd.join();
      while (b.try_recv()) ++received;
      ASSERT_EQ(sent, received) << "round " << round;
      EXPECT_EQ(parked_receivers(a) + parked_senders(a), 0U);
      EXPECT_EQ(parked_receivers(b) + parked_senders(b), 0U);
    }
  });
}

// select2.go: selects leave no memory behind; here: nor accounts, nor waiters.
TEST_P(SelectStress, ManySelectsLeaveNothing) {
  run([] {
    const int n = scaled(in_fibers() ? 20000 : 5000);
    auto ping = make_chan<int>();
    auto pong = make_chan<int>();
    auto quit = make_chan<int>();
    const auto before = weft::stats().live;
    crew other(in_fibers());
    other.start([=] {
      for (bool more = true; more;) {
        (void)select(on_recv(ping, [&](std::optional<int> v) { pong.send(*v); }),
                     on_recv(quit, [&] { more = false; }));
      }
    });
    for (int i = 0; i < n; ++i) {
      (void)select(on_send(ping, i), on_recv(quit, [] {}));
      (void)pong.recv();
    }
    quit.close();
    other.join();
    EXPECT_EQ(before.channels, weft::stats().live.channels);
  });
}

}  // namespace
