// SPDX-License-Identifier: Apache-2.0
// Another number of Ps while the runtime works: nothing that a retired P held is lost.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <thread>
#include <vector>

#include <weft/weft.hpp>
#include "sched/runtime_state.hpp"
#include "tests/support/child.hpp"

namespace {

using namespace std::chrono_literals;

constexpr int rounds = WEFT_TSAN || WEFT_ASAN ? 10 : 40;

// It takes effect when the Ps concerned come by.
void until_procs(int n) {
  while (weft::stats().procs != n) weft::yield();
}

void want(int n) { EXPECT_TRUE(weft::set_procs(n)); }

TEST(ProcsChange, RefusesWhatIsNoNumberOfProcs) {
  weft::run([] {
    EXPECT_EQ(weft::set_procs(-1).error(), weft::errc::invalid_argument);
    EXPECT_EQ(weft::set_procs(weft::detail::max_procs + 1).error(), weft::errc::invalid_argument);
  });
  EXPECT_EQ(weft::set_procs(2).error(), weft::errc::no_runtime);
}

TEST(ProcsChange, TellsWhatWasWantedBeforeAndTakesEffect) {
  weft::runtime rt{weft::options{.procs = 3}};
  rt.run([&] {
    const int before = weft::stats().procs;  // WEFT_PROCS may say otherwise
    EXPECT_EQ(weft::set_procs(5), before);
    until_procs(5);
    EXPECT_EQ(weft::set_procs(1), 5);
    until_procs(1);
    EXPECT_EQ(rt.set_procs(4), 1);
    until_procs(4);
    EXPECT_EQ(weft::set_procs(0), 4);
    until_procs(weft::detail::default_procs());
  });
}

TEST(ProcsChange, AnIdleRuntimeChangesToo) {
  weft::runtime rt{weft::options{.procs = 8}};
  for (const int n : {2, 1, 6}) {
    ASSERT_TRUE(rt.set_procs(n));
    while (rt.stats().procs != n) ::sched_yield();
  }
  EXPECT_EQ(rt.async([] { return 7; }).get(), 7);
}

TEST(ProcsChange, NewProcsDoRun) {
  weft::run(weft::options{.procs = 1}, [] {
    want(4);
    until_procs(4);
    // Two that wait for each other without parking need a P each.
    std::array<std::atomic<bool>, 2> here{};
    auto other = weft::spawn([&] {
      here[1] = true;
      while (!here[0]) ::sched_yield();
    });
    here[0] = true;
    while (!here[1]) ::sched_yield();
    other.join();
  });
}

// Every kind of thing that a P can hold, while the number goes up and down.
TEST(ProcsChange, StressFibersAndChannelsLoseNothing) {
  weft::run([] {
    std::atomic<bool> stop{false};
    auto c = weft::make_chan<int>(4);
    weft::wait_group senders;
    weft::wait_group receivers;
    std::atomic<long> sent{0};
    std::atomic<long> got{0};
    for (int i = 0; i < 8; ++i) {
      senders.go([&] {
        while (!stop) {
          c.send(1);
          ++sent;
          weft::spawn([&] { weft::yield(); }).join();
        }
      });
      receivers.go([&] {
        while (c.recv()) ++got;
      });
    }
    for (int i = 0; i < rounds; ++i) {
      want(1 + i * 5 % 8);
      weft::sleep_for(1ms);
    }
    stop = true;
    senders.wait();
    c.close();
    receivers.wait();
    EXPECT_EQ(sent.load(), got.load());
  });
}

TEST(ProcsChange, StressForkJoinGoesOn) {
  weft::run([] {
    constexpr int at_once = WEFT_TSAN ? 150 : 500;  // (TSan takes 0.3 ms for a fiber)
    std::atomic<bool> stop{false};
    auto changer = weft::spawn([&] {
      for (int i = 0; !stop; ++i) {
        want(1 + i % 4);
        weft::sleep_for(500us);
      }
    });
    for (int i = 0; i < rounds; ++i) {
      std::atomic<int> n{0};
      weft::wait_group all;
      for (int k = 0; k < at_once; ++k) {
        all.go([&] { ++n; });
      }
      all.wait();
      EXPECT_EQ(n.load(), at_once);
    }
    stop = true;
    changer.join();
  });
}

TEST(ProcsChange, StressTimersFireOnceAndNotEarly) {
  weft::run([] {
    std::atomic<int> fired{0};
    weft::wait_group all;
    for (int i = 0; i < 200; ++i) {
      all.go([&, i] {
        for (int k = 0; k < 5; ++k) {
          const auto due = weft::clock::now() + std::chrono::microseconds(100 + i * 37 % 3000);
          weft::sleep_until(due);
          EXPECT_GE(weft::clock::now(), due);
          auto stopped = weft::after_func(1h, [&] { fired = -1'000'000; });
          weft::yield();
          EXPECT_TRUE(stopped.stop());
        }
        ++fired;
      });
    }
    for (int i = 0; i < rounds; ++i) {
      want(1 + i * 3 % 7);
      weft::sleep_for(500us);
    }
    all.wait();
    EXPECT_EQ(fired.load(), 200);
  });
}

std::pair<int, int> pipe_ends() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC), 0);
  return {ends[0], ends[1]};
}

// Readers wait on all Ps; then there is one P, and only then something to read.
TEST(ProcsChange, WhoWaitsForIOOnARetiredProcIsWoken) {
  weft::run([] {
    constexpr int readers = 64;
    want(8);
    until_procs(8);
    std::vector<std::pair<int, int>> pipes;
    for (int i = 0; i < readers; ++i) pipes.push_back(pipe_ends());
    std::atomic<int> woken{0};
    weft::wait_group all;
    for (const auto& [from, to] : pipes) {
      all.go([&, fd = from] {
        char c = 0;
        ssize_t n = -1;
        while ((n = ::read(fd, &c, 1)) < 0) EXPECT_TRUE(weft::net::readable(fd));
        EXPECT_EQ(n, 1);
        ++woken;
      });
    }
    while (weft::stats().armed_polls < readers) weft::yield();
    want(1);
    until_procs(1);
    EXPECT_EQ(woken.load(), 0);
    for (const auto& [from, to] : pipes) EXPECT_EQ(::write(to, "x", 1), 1);
    all.wait();
    for (const auto& [from, to] : pipes) {
      ::close(from);
      ::close(to);
    }
  });
}

TEST(ProcsChange, StressConnectionsGoOnWhileProcsComeAndGo) {
  weft::run([] {
    auto listener = weft::net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(listener);
    weft::wait_group all;
    all.go([&] {
      for (int i = 0; i < 16; ++i) {
        auto accepted = listener->accept();
        ASSERT_TRUE(accepted);
        all.go([c = std::move(*accepted)] {
          std::array<std::byte, 64> buffer{};
          for (;;) {
            const auto n = c.read(buffer);
            ASSERT_TRUE(n);
            if (*n == 0) return;
            ASSERT_TRUE(c.write_all(std::span(buffer).first(*n)));
          }
        });
      }
    });
    std::atomic<int> done{0};
    for (int i = 0; i < 16; ++i) {
      all.go([&] {
        auto c = weft::net::dial(listener->addr());
        EXPECT_TRUE(c);
        std::array<std::byte, 64> buffer{};
        for (int k = 0; c && k < 100; ++k) {
          EXPECT_TRUE(c->write_all("ping"));
          EXPECT_TRUE(c->read_full(std::span(buffer).first(4)));
        }
        ++done;
      });
    }
    for (int i = 0; done < 16; ++i) {
      want(1 + i * 5 % 8);
      weft::sleep_for(1ms);
    }
    all.wait();
  });
}

// A P whose fiber does not come by is taken from it, even if nothing waits there.
TEST(ProcsChange, AProcUnderABlockingFiberRetiresAsWell) {
  weft::run([] {
    want(2);
    until_procs(2);
    std::atomic<bool> over{false};
    weft::wait_group all;
    for (int i = 0; i < 2; ++i) {
      all.go([&] {
        weft::blocking([&] {
          while (!over) std::this_thread::sleep_for(1ms);
        });
      });
    }
    want(1);
    until_procs(1);
    over = true;
    all.wait();
  });
}

TEST(ProcsChange, ADeadlockIsStillFoundAfterwards) {
  const auto r = weft_test::run_child([] {
    ::setenv("WEFT_DEBUG", "deadlock=fatal", 1);
    ::alarm(60);
    weft::run(weft::options{.procs = 4}, [] {
      for (const int n : {2, 5, 1, 3}) {
        want(n);
        until_procs(n);
      }
      static_cast<void>(weft::make_chan<int>().recv());
    });
  });
  EXPECT_EQ(r.code, 2) << r.error;
}

}  // namespace
