// SPDX-License-Identifier: Apache-2.0
// Races of send, receive, close and time-outs with exact books: each value was received once, or
// its send threw or failed and the value stayed, or it was in the buffer at the end.
#include <weft/chan.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <numeric>
#include <set>
#include <weft/context.hpp>
#include <weft/latch.hpp>
#include <weft/select.hpp>

#include "tests/chan/support.hpp"

namespace {

using namespace weft_test;
using weft::make_chan;

class ChanStress : public both_worlds {};
WEFT_BOTH_WORLDS(ChanStress);

/// Which of the values 0..n-1 were seen, and how often.
class ledger {
 public:
  explicit ledger(int n) : seen_(static_cast<std::size_t>(n)) {}
  void note(int v) { seen_[static_cast<std::size_t>(v)].fetch_add(1); }
  void expect_all(int times) const {
    for (std::size_t i = 0; i < seen_.size(); ++i) ASSERT_EQ(seen_[i], times) << "value " << i;
  }
  int total() const {
    int sum = 0;
    for (const auto& s : seen_) {
      EXPECT_LE(s, 1);
      sum += s;
    }
    return sum;
  }

 private:
  std::vector<std::atomic<int>> seen_;
};

// runtime/chan_test.go TestChan (4x4 multiset) and TestMultiConsumer.
TEST_P(ChanStress, ManyToManyDeliversEachValueOnce) {
  run([] {
    const int n = scaled(in_fibers() ? 20000 : 4000);
    for (const std::size_t cap : {0U, 1U, 10U}) {
      auto c = make_chan<move_only>(cap);
      ledger books(4 * n);
      crew receivers(in_fibers());
      for (int r = 0; r < 4; ++r) {
        receivers.start([&] {
          for (auto& v : c) books.note(*v);
        });
      }
      {
        crew senders(in_fibers());
        for (int s = 0; s < 4; ++s) {
          senders.start([&, s] {
            for (int i = 0; i < n; ++i) c.send(std::make_unique<int>(s * n + i));
          });
        }
      }
      c.close();
      receivers.join();
      books.expect_all(1);
    }
  });
}

template <class T>
T wrap(int v) {
  if constexpr (std::is_same_v<T, move_only>) {
    return std::make_unique<int>(v);
  } else {
    return T(v);
  }
}
template <class T>
int unwrap(const T& v) {
  if constexpr (std::is_same_v<T, move_only>) {
    return *v;
  } else {
    return v.value;
  }
}

/// Senders and receivers in all forms, closed in the middle.
template <class T>
void close_in_the_middle(std::size_t cap, bool fibers) {
  constexpr int senders = 4;
  const int each = 40;
  auto c = make_chan<T>(cap);
  ledger received(senders * each);
  ledger kept(senders * each);
  crew crowd(fibers);
  for (int s = 0; s < senders; ++s) {
    crowd.start([&, s] {
      for (int i = 0; i < each; ++i) {
        T v = wrap<T>(s * each + i);
        try {
          bool sent = true;
          switch (i % 4) {
            case 0:
              c.send(std::move(v));
              break;
            case 1:
              sent = c.try_send(std::move(v));
              break;
            case 2:
              sent = c.send_for(10us, std::move(v));
              break;
            default:
              (void)weft::select(weft::on_send(c, std::move(v)),
                                 weft::on_timeout(20us, [&] { sent = false; }));
          }
          if (!sent) kept.note(unwrap(v));  // still ours, and whole
        } catch (const weft::closed_channel&) {
          kept.note(unwrap(v));
        }
      }
    });
  }
  for (int r = 0; r < 3; ++r) {
    crowd.start([&, r] {
      for (int turn = r;; ++turn) {
        if (turn % 3 == 0) {
          auto v = c.recv();
          if (!v) return;
          received.note(unwrap(*v));
        } else if (turn % 3 == 1) {
          auto v = c.recv_for(10us);
          if (v) {
            received.note(unwrap(*v));
          } else if (v.error() == weft::errc::closed) {
            return;
          }
        } else {
          auto v = c.try_recv();
          if (v) received.note(unwrap(*v));
          if (v.closed()) return;
          weft::yield();
        }
      }
    });
  }
  crowd.start([&] {
    for (int i = 0; i < 30; ++i) weft::yield();
    c.close();
  });
  crowd.join();
  while (auto v = c.try_recv()) received.note(unwrap(*v));
  EXPECT_EQ(received.total() + kept.total(), senders * each);
}

// CloseRacesSenders with owning values; tokio's RUSTSEC-2021-0124.
TEST_P(ChanStress, CloseLosesAndDoublesNothing) {
  run([] {
    const int rounds = scaled(in_fibers() ? 150 : 30);
    for (int i = 0; i < rounds; ++i) {
      close_in_the_middle<move_only>(static_cast<std::size_t>(i % 4), in_fibers());
      close_in_the_middle<counted>(static_cast<std::size_t>(i % 3), in_fibers());
      close_in_the_middle<over_aligned>(static_cast<std::size_t>(i % 2), in_fibers());
    }
  });
  EXPECT_EQ(counted::alive, 0);
}

// TimeoutRacesValue: both claim the fiber, one wins (Boost.Fiber 177, 212, 251).
TEST_P(ChanStress, ATimeoutAndAValueDoNotBothWin) {
  run([] {
    const int rounds = scaled(in_fibers() ? 4000 : 800);
    auto c = make_chan<int>();
    std::atomic<int> sent{0};
    std::atomic<int> received{0};
    crew crowd(in_fibers());
    crowd.start([&] {
      for (int i = 0; i < rounds; ++i) {
        if (c.send_for(std::chrono::microseconds(i % 30), 1)) ++sent;
      }
    });
    crowd.start([&] {
      for (int i = 0; i < rounds; ++i) {
        if (c.recv_for(std::chrono::microseconds((i * 7) % 30))) ++received;
      }
    });
    crowd.join();
    EXPECT_EQ(sent, received);
    EXPECT_EQ(parked_receivers(c) + parked_senders(c), 0U);
  });
}

TEST_P(ChanStress, CancelRacesValue) {
  run([] {
    const int rounds = scaled(in_fibers() ? 3000 : 300);
    auto c = make_chan<int>();
    for (int i = 0; i < rounds; ++i) {
      auto [ctx, cancel] = weft::with_cancel(weft::background());
      std::atomic<int> sent{0};
      std::atomic<int> received{0};
      crew crowd(in_fibers());
      crowd.start([&, &until = ctx] { received += c.recv(until).has_value() ? 1 : 0; });
      crowd.start([&, &until = ctx] { sent += c.send(until, i).has_value() ? 1 : 0; });
      crowd.start([&, &stop = cancel] { stop(); });
      crowd.join();
      ASSERT_EQ(sent, received);
    }
  });
}

// runtime/chan_test.go TestNonblockRecvRace: never "empty" while a value or the close is there.
TEST_P(ChanStress, TryRecvNeverMissesAValueOrTheEnd) {
  run([] {
    const int rounds = scaled(in_fibers() ? 5000 : 500);
    for (int i = 0; i < rounds; ++i) {
      auto c = make_chan<int>(1);
      c.send(1);
      crew crowd(in_fibers());
      crowd.start([=] {
        auto v = c.try_recv();
        EXPECT_FALSE(v.empty());
      });
      c.close();
      (void)c.recv();
    }
  });
}

// With one place and senders that always wait there is a value at every moment: nobody who asks
// without waiting may be told otherwise while another one receives.
TEST_P(ChanStress, TryRecvFindsAValueWhileSendersWait) {
  run([] {
    const int n = scaled(in_fibers() ? 20000 : 3000);
    auto c = make_chan<int>(1);
    crew senders(in_fibers());
    for (int s = 0; s < 4; ++s) {
      senders.start([=] {
        try {
          for (;;) c.send(1);
        } catch (const weft::closed_channel&) {
        }
      });
    }
    yield_until([&] { return parked_senders(c) == 4; });
    std::atomic<bool> done{false};
    crew receiver(in_fibers());
    receiver.start([&] {
      for (int i = 0; i < n; ++i) {
        yield_until([&] { return parked_senders(c) >= 3; });
        EXPECT_TRUE(c.recv());
      }
      done = true;
    });
    while (!done) {
      if (parked_senders(c) >= 3) {
        EXPECT_FALSE(c.try_recv().empty());
      }
      weft::yield();
    }
    receiver.join();
    c.close();
    senders.join();
  });
}

TEST_P(ChanStress, ConflatedAndUnboundedUnderContention) {
  run([] {
    const int n = scaled(in_fibers() ? 20000 : 5000);
    auto latest = make_chan<counted>(weft::conflated);
    auto all = make_chan<move_only>(weft::unbounded);
    ledger books(2 * n);
    crew receivers(in_fibers());
    receivers.start([&] {
      std::array<int, 2> last{-1, -1};
      for (auto& v : latest) {  // in order for each sender
        auto& l = last[static_cast<std::size_t>(v.value / n)];
        EXPECT_LT(l, v.value);
        l = v.value;
      }
    });
    for (int r = 0; r < 2; ++r) {
      receivers.start([&] {
        for (auto& v : all) books.note(*v);
      });
    }
    {
      crew senders(in_fibers());
      for (int s = 0; s < 2; ++s) {
        senders.start([&, s] {
          for (int i = 0; i < n; ++i) {
            latest.send(counted(s * n + i));
            all.send(std::make_unique<int>(s * n + i));
          }
        });
      }
    }
    latest.close();
    all.close();
    receivers.join();
    books.expect_all(1);
  });
  EXPECT_EQ(counted::alive, 0);
}

// Fibers and plain threads on one channel.
TEST(ChanMixedStress, FibersAndThreadsMeet) {
  const int n = scaled(10000);
  (void)weft::run(weft::options{}, [&] {
    auto c = make_chan<int>();
    auto back = make_chan<int>(3);
    std::thread echo([=] {
      for (const int v : c) back.send(v + 1);
      back.close();
    });
    crew fibers(true);
    fibers.start([=] {
      for (int i = 0; i < n; ++i) c.send(i);
      c.close();
    });
    int next = 1;
    for (const int v : back) EXPECT_EQ(v, next++);
    EXPECT_EQ(next, n + 1);
    fibers.join();
    echo.join();
  });
}

// The k-th receive on a channel of capacity C happens-before the (k+C)-th send completes: plain
// variables guarded by that alone (TSan looks on).
TEST_P(ChanStress, ABufferedChannelIsACountingSemaphore) {
  run([] {
    const int n = scaled(in_fibers() ? 5000 : 1000);
    auto permit = make_chan<weft::unit>(1);
    int guarded = 0;
    crew crowd(in_fibers());
    for (int i = 0; i < 4; ++i) {
      crowd.start([&] {
        for (int k = 0; k < n; ++k) {
          permit.send({});
          ++guarded;
          (void)permit.recv();
        }
      });
    }
    crowd.join();
    EXPECT_EQ(guarded, 4 * n);
  });
}

// A receive happens-after its send: a message through plain memory.
TEST_P(ChanStress, AReceiveSeesWhatWasWrittenBeforeTheSend) {
  run([] {
    const int n = scaled(in_fibers() ? 10000 : 2000);
    auto c = make_chan<int*>();
    auto d = make_chan<int*>(2);
    crew crowd(in_fibers());
    crowd.start([=] {
      for (int* p : c) {
        *p += 1;
        d.send(p);
      }
      d.close();
    });
    crowd.start([=] {
      std::array<int, 3> cells{};
      for (int i = 0; i < n; ++i) {
        int* p = &cells[static_cast<std::size_t>(i) % 3];
        *p = i;
        c.send(p);
        int* q = *d.recv();
        EXPECT_EQ(*q, i + 1);
      }
      c.close();
    });
    crowd.join();
  });
}

}  // namespace
