// SPDX-License-Identifier: Apache-2.0
// Both pollers against real descriptors, without a scheduler: the test plays the P's owner, and its
// waiters are records with fibers that never run.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "netpoll/epoll_poller.hpp"
#include "netpoll/poll_desc.hpp"
#if WEFT_IO_URING
#include "netpoll/uring_poller.hpp"
#endif

namespace {

using namespace weft::detail;
using std::chrono::steady_clock;

constexpr std::int64_t second_ns = 1'000'000'000;

std::unique_ptr<poller> make_epoll() { return std::make_unique<epoll_poller>(); }
#if WEFT_IO_URING
std::unique_ptr<poller> make_uring() { return std::make_unique<uring_poller>(probe_uring()); }
#endif

struct backend {
  const char* name;
  std::unique_ptr<poller> (*make)();
};

// A record for a descriptor with one waiter a side, as if a fiber had parked in fd_turn::wait.
class waiting_fd {
 public:
  explicit waiting_fd(int fd) : desc_(desc_open(fd, true, false, nullptr)) {}
  waiting_fd(const waiting_fd&) = delete;
  ~waiting_fd() {
    if (!closed_) close();
    desc_drop_handle(desc_);
  }
  void wait_on(unsigned side) {
    waiter& w = waiters_[side];
    fibers_[side].claim.store(0);
    w = {};
    w.g = &fibers_[side];
    w.owner = desc_;
    desc_->lock.lock();
    desc_->side[side].parked.push_back(&w);
    desc_->lock.unlock();
  }
  void forget(unsigned side) {
    desc_->lock.lock();
    desc_->side[side].parked.remove(&waiters_[side]);
    desc_->lock.unlock();
  }
  std::error_code arm(poller& p, unsigned side) {
    wait_on(side);
    return p.arm(fd(), direction_of(side), key(side));
  }
  void close() {
    for (unsigned s : {read_side, write_side}) forget(s);  // nobody to be made ready
    desc_close(desc_, false);
    closed_ = true;
  }
  [[nodiscard]] int fd() const { return desc_->fd; }
  [[nodiscard]] std::uint64_t key(unsigned side) const { return desc_->key(side); }
  [[nodiscard]] fiber_core* fiber(unsigned side) { return &fibers_[side]; }

 private:
  poll_desc* desc_;
  waiter waiters_[2];
  fiber_core fibers_[2];
  bool closed_ = false;
};

struct socket_pair {
  socket_pair() {
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
  }
  int fds[2] = {-1, -1};
};

class PollerTest : public ::testing::TestWithParam<backend> {
 protected:
  // Sleeps until something fires, as an idle worker does.
  fiber_list wait_and_poll() {
    fiber_list ready = p->poll();
    for (int i = 0; ready.empty() && i < 100; ++i) {
      p->prepare_wait();
      p->wait(second_ns);
      ready = p->poll();
    }
    return ready;
  }

  std::unique_ptr<poller> p = GetParam().make();
};

TEST_P(PollerTest, FiresWhenTheDescriptorBecomesReady) {
  const socket_pair s;
  waiting_fd a(s.fds[0]);
  waiting_fd b(s.fds[1]);
  ASSERT_FALSE(a.arm(*p, read_side));
  EXPECT_TRUE(p->poll().empty());
  EXPECT_EQ(p->armed(), 1U);
  ASSERT_EQ(::write(b.fd(), "x", 1), 1);
  fiber_list ready = wait_and_poll();
  EXPECT_EQ(ready.pop_front(), a.fiber(read_side));
  EXPECT_TRUE(ready.empty());
  EXPECT_EQ(p->armed(), 0U);
  EXPECT_TRUE(p->poll().empty()) << "one shot";
}

TEST_P(PollerTest, FiresAtOnceForWhatIsReadyAlready) {
  const socket_pair s;
  waiting_fd a(s.fds[0]);
  waiting_fd b(s.fds[1]);
  ASSERT_EQ(::write(b.fd(), "x", 1), 1);
  ASSERT_FALSE(a.arm(*p, read_side));
  EXPECT_EQ(wait_and_poll().size, 1U);
}

TEST_P(PollerTest, ArmingOneDirectionKeepsTheOther) {
  const socket_pair s;
  waiting_fd a(s.fds[0]);
  waiting_fd b(s.fds[1]);
  ASSERT_FALSE(a.arm(*p, read_side));
  ASSERT_FALSE(a.arm(*p, write_side));
  EXPECT_EQ(p->armed(), 2U);
  fiber_list ready = wait_and_poll();
  EXPECT_EQ(ready.pop_front(), a.fiber(write_side));
  EXPECT_TRUE(ready.empty());
  EXPECT_EQ(p->armed(), 1U);
  ASSERT_EQ(::write(b.fd(), "x", 1), 1);
  ready = wait_and_poll();
  EXPECT_EQ(ready.pop_front(), a.fiber(read_side));
}

TEST_P(PollerTest, HangUpFiresBothDirections) {
  const socket_pair s;
  waiting_fd a(s.fds[0]);
  waiting_fd b(s.fds[1]);
  char filling[4096] = {};
  while (::write(a.fd(), filling, sizeof(filling)) > 0) {
  }
  ASSERT_FALSE(a.arm(*p, read_side));
  ASSERT_FALSE(a.arm(*p, write_side));
  EXPECT_TRUE(p->poll().empty());
  b.close();
  std::uint32_t fired = 0;
  while (fired < 2) fired += wait_and_poll().size;
  EXPECT_EQ(fired, 2U);
}

TEST_P(PollerTest, ADisarmedNotificationWakesNobodyLater) {
  const socket_pair s;
  waiting_fd a(s.fds[0]);
  waiting_fd b(s.fds[1]);
  ASSERT_FALSE(a.arm(*p, read_side));
  static_cast<void>(p->poll());
  a.forget(read_side);
  p->disarm(a.fd(), poll_read, a.key(read_side));
  static_cast<void>(p->poll());
  static_cast<void>(p->poll());
  EXPECT_EQ(p->armed(), 0U);
  a.wait_on(read_side);
  ASSERT_EQ(::write(b.fd(), "x", 1), 1);
  EXPECT_TRUE(p->poll().empty());
  a.forget(read_side);
}

TEST_P(PollerTest, DisarmLetsGoOfTheFile) {
  const socket_pair s;
  waiting_fd a(s.fds[0]);
  waiting_fd b(s.fds[1]);
  ASSERT_FALSE(a.arm(*p, read_side));
  static_cast<void>(p->poll());
  p->disarm(a.fd(), poll_read, a.key(read_side));
  a.close();
  char c = 0;
  // The release of a cancelled poll may lag its cancellation by a task-work run.
  const auto limit = steady_clock::now() + std::chrono::seconds(10);
  while (::read(b.fd(), &c, 1) < 0 && steady_clock::now() < limit) static_cast<void>(p->poll());
  EXPECT_EQ(::read(b.fd(), &c, 1), 0) << "the peer sees the end";
}

TEST_P(PollerTest, DisarmAllFiresEverythingOnce) {
  EXPECT_TRUE(p->disarm_all()) << "of a poller without anything";
  const socket_pair s;
  const socket_pair t;
  waiting_fd a(s.fds[0]);
  waiting_fd b(t.fds[0]);
  ASSERT_FALSE(a.arm(*p, read_side));
  ASSERT_FALSE(b.arm(*p, read_side));
  static_cast<void>(p->poll());
  ASSERT_FALSE(b.arm(*p, write_side));  // ready; and, with io_uring, not submitted yet
  ASSERT_TRUE(p->disarm_all());
  std::set<fiber_core*> fired;
  const auto limit = steady_clock::now() + std::chrono::seconds(10);
  while (fired.size() < 3 && steady_clock::now() < limit) {
    fiber_list ready = p->poll();
    while (fiber_core* g = ready.pop_front()) EXPECT_TRUE(fired.insert(g).second);
  }
  EXPECT_EQ(fired, (std::set{a.fiber(read_side), b.fiber(read_side), b.fiber(write_side)}));
  EXPECT_EQ(p->armed(), 0U);
  ASSERT_EQ(::write(s.fds[1], "x", 1), 1);
  EXPECT_TRUE(p->poll().empty()) << "nothing is armed any more";
  ASSERT_FALSE(a.arm(*p, read_side));
  EXPECT_EQ(wait_and_poll().size, 1U) << "and it works as before";
  ::close(s.fds[1]);
  ::close(t.fds[1]);
}

TEST_P(PollerTest, AStaleKeyIsIgnored) {
  const socket_pair s;
  std::uint64_t old_key = 0;
  int old_fd = -1;
  {
    waiting_fd a(s.fds[0]);
    old_key = a.key(read_side);
    old_fd = a.fd();
    ASSERT_FALSE(a.arm(*p, read_side));
    static_cast<void>(p->poll());
    a.close();
  }
  EXPECT_FALSE(p->arm(old_fd, poll_read, old_key)) << "nothing is armed, nothing fails";
  fiber_list ready;
  poll_fire(old_key, ready);
  EXPECT_TRUE(ready.empty());
  ::close(s.fds[1]);
  EXPECT_TRUE(p->poll().empty());
}

TEST_P(PollerTest, AReusedNumberDoesNotInheritWhatWasArmed) {
  for (int round = 0; round < 20; ++round) {
    const socket_pair s;
    waiting_fd b(s.fds[1]);
    {
      waiting_fd a(s.fds[0]);
      ASSERT_FALSE(a.arm(*p, read_side));
      if (round % 2 == 0) static_cast<void>(p->poll());
      p->disarm(a.fd(), poll_read, a.key(read_side));
      a.close();
    }
    const socket_pair again;  // takes the number
    waiting_fd c(again.fds[0]);
    waiting_fd d(again.fds[1]);
    ASSERT_FALSE(c.arm(*p, read_side));
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(p->poll().empty());
    ASSERT_EQ(::write(d.fd(), "x", 1), 1);
    EXPECT_EQ(wait_and_poll().pop_front(), c.fiber(read_side));
  }
}

TEST_P(PollerTest, ARegularFileIsAlwaysReady) {
  const int fd = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  waiting_fd file(fd);
  ASSERT_FALSE(file.arm(*p, read_side));
  EXPECT_EQ(wait_and_poll().size, 1U);
}

TEST_P(PollerTest, ABadDescriptorFailsOrFires) {
  const socket_pair s;
  waiting_fd a(s.fds[0]);
  waiting_fd b(s.fds[1]);
  ASSERT_FALSE(a.arm(*p, write_side));  // opens what the poller itself needs
  EXPECT_EQ(wait_and_poll().size, 1U);
  waiting_fd bad(::dup(0));
  ::close(bad.fd());
  const std::error_code error = bad.arm(*p, read_side);
  if (!error) {
    EXPECT_EQ(wait_and_poll().size, 1U);
  }
  bad.forget(read_side);
  bad.close();
}

TEST_P(PollerTest, HasCompletionsTellsWhatPollWouldFind) {
  EXPECT_FALSE(p->has_completions());
  const socket_pair s;
  waiting_fd a(s.fds[0]);
  waiting_fd b(s.fds[1]);
  ASSERT_FALSE(a.arm(*p, read_side));
  static_cast<void>(p->poll());
  EXPECT_FALSE(p->has_completions());
  ASSERT_EQ(::write(b.fd(), "x", 1), 1);
  while (!p->has_completions()) std::this_thread::yield();
  EXPECT_EQ(p->poll().size, 1U);
  EXPECT_FALSE(p->has_completions());
}

TEST_P(PollerTest, MoreThanTheCompletionQueueHoldsArrivesWhole) {
  constexpr int count = 3000;
  std::vector<std::unique_ptr<waiting_fd>> all;
  for (int i = 0; i < count; ++i) {
    const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ASSERT_GE(fd, 0) << "needs " << count << " descriptors: " << std::strerror(errno);
    all.push_back(std::make_unique<waiting_fd>(fd));
    ASSERT_FALSE(all.back()->arm(*p, read_side));
  }
  EXPECT_TRUE(p->poll().empty());
  EXPECT_EQ(p->armed(), static_cast<std::uint32_t>(count));
  const std::uint64_t one = 1;
  for (auto& w : all) ASSERT_EQ(::write(w->fd(), &one, sizeof(one)), 8);
  std::set<fiber_core*> fired;
  while (fired.size() < count) {
    fiber_list ready = wait_and_poll();
    ASSERT_FALSE(ready.empty());
    while (fiber_core* g = ready.pop_front()) EXPECT_TRUE(fired.insert(g).second);
  }
  EXPECT_EQ(p->armed(), 0U);
}

void expect_wait_ends(poller& p) {
  const auto start = steady_clock::now();
  p.prepare_wait();
  p.wait(30 * second_ns);
  EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(20));
}

// Both without a ring (nothing armed yet) and with one.
void arm_something(poller& p, waiting_fd& w) { ASSERT_FALSE(w.arm(p, read_side)); }

TEST_P(PollerTest, AWakeEndsTheNextWait) {
  const socket_pair s;
  waiting_fd a(s.fds[0]);
  for (int round = 0; round < 2; ++round) {
    p->wake();
    expect_wait_ends(*p);
    EXPECT_TRUE(p->poll().empty());
    if (round == 0) arm_something(*p, a);
  }
  ::close(s.fds[1]);
}

TEST_P(PollerTest, AWakeEndsAWaitThatRuns) {
  const socket_pair s;
  waiting_fd a(s.fds[0]);
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 200; ++i) {
      std::thread waker([this] { p->wake(); });
      expect_wait_ends(*p);
      waker.join();
      static_cast<void>(p->poll());
    }
    if (round == 0) arm_something(*p, a);
  }
  ::close(s.fds[1]);
}

TEST_P(PollerTest, AfterAPollAWakeIsSpent) {
  const socket_pair s;
  waiting_fd a(s.fds[0]);
  for (int round = 0; round < 2; ++round) {
    p->wake();
    static_cast<void>(p->poll());
    EXPECT_FALSE(p->has_completions());
    const auto start = steady_clock::now();
    p->prepare_wait();
    p->wait(20'000'000);
    EXPECT_GE(steady_clock::now() - start, std::chrono::milliseconds(15));
    if (round == 0) {
      arm_something(*p, a);
      static_cast<void>(p->poll());
    }
  }
  ::close(s.fds[1]);
}

TEST_P(PollerTest, TheTimeoutIsKeptToTheMicrosecond) {
  const socket_pair s;
  waiting_fd a(s.fds[0]);
  arm_something(*p, a);
  constexpr auto timeout = std::chrono::microseconds(300);
  const auto limit = steady_clock::now() + std::chrono::seconds(10);
  auto shortest = steady_clock::duration::max();
  for (int i = 0; i < 20 || (shortest >= 3 * timeout && steady_clock::now() < limit); ++i) {
    const auto start = steady_clock::now();
    p->prepare_wait();
    p->wait(std::chrono::nanoseconds(timeout).count());
    shortest = std::min(shortest, steady_clock::now() - start);
  }
  EXPECT_GE(shortest, timeout);
  EXPECT_LT(shortest, 3 * timeout) << "not rounded up to milliseconds";
  ::close(s.fds[1]);
}

// The P changes hands between prepare_wait() and wait(): the old owner's sleep must end although
// the new owner polls, again and again, and could eat its wake-up.
TEST_P(PollerTest, AWakeReachesASleeperThatHasLostItsP) {
  const socket_pair s;
  waiting_fd a(s.fds[0]);
  arm_something(*p, a);
  for (int i = 0; i < 500; ++i) {
    std::atomic<bool> gave_up{false};
    std::atomic<bool> left{false};
    std::thread sleeper([&] {
      p->prepare_wait();
      gave_up.store(true, std::memory_order_release);
      p->wait(30 * second_ns);
      left.store(true, std::memory_order_release);
    });
    while (!gave_up.load(std::memory_order_acquire)) std::this_thread::yield();
    p->wake();  // as the new owner
    const auto start = steady_clock::now();
    while (!left.load(std::memory_order_acquire)) {
      static_cast<void>(p->poll());
      std::this_thread::yield();
    }
    sleeper.join();
    ASSERT_LT(steady_clock::now() - start, std::chrono::seconds(20));
    static_cast<void>(p->poll());
  }
  ::close(s.fds[1]);
}

TEST_P(PollerTest, ANewOwnersThreadIsWokenByDescriptorsThatTheOldOneArmed) {
  const socket_pair s;
  waiting_fd a(s.fds[0]);
  waiting_fd b(s.fds[1]);
  std::atomic<bool> armed{false};
  std::atomic<bool> done{false};
  std::thread old_owner([&] {  // lives on, as pooled Ms do
    arm_something(*p, a);
    static_cast<void>(p->poll());
    armed.store(true, std::memory_order_release);
    armed.notify_one();
    done.wait(false);
  });
  armed.wait(false);
  ASSERT_EQ(::write(b.fd(), "x", 1), 1);
  EXPECT_EQ(wait_and_poll().size, 1U);
  done.store(true);
  done.notify_one();
  old_owner.join();
}

TEST_P(PollerTest, PollsOfAThreadThatExitedStillFire) {
  const socket_pair s;
  waiting_fd a(s.fds[0]);
  waiting_fd b(s.fds[1]);
  std::thread([&] {
    arm_something(*p, a);
    static_cast<void>(p->poll());
  }).join();
  ASSERT_EQ(::write(b.fd(), "x", 1), 1);
  EXPECT_EQ(wait_and_poll().size, 1U);
}

std::string backend_name(const ::testing::TestParamInfo<backend>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Epoll, PollerTest, ::testing::Values(backend{"epoll", &make_epoll}),
                         backend_name);
#if WEFT_IO_URING
INSTANTIATE_TEST_SUITE_P(IoUring, PollerTest, ::testing::Values(backend{"io_uring", &make_uring}),
                         backend_name);

TEST(UringPollerTest, OverflowsAreCountedNotLost) {
  uring_poller p(probe_uring());
  std::vector<std::unique_ptr<waiting_fd>> all;
  for (int i = 0; i < 1500; ++i) {  // the completion queue holds 1024
    all.push_back(std::make_unique<waiting_fd>(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)));
    ASSERT_FALSE(all.back()->arm(p, read_side));
  }
  std::uint32_t fired = 0;
  for (int i = 0; i < 100 && fired < 1500; ++i) fired += p.poll().size;
  EXPECT_EQ(fired, 1500U);
  EXPECT_GT(p.overflows(), 0U);
}

// The kernel refuses to remove a poll whose wake-up it has not looked at yet, and then keeps the
// poll if the wake-up turns out to mean nothing. The file stayed open for ever: a closed listener
// let clients wait instead of refusing them.
TEST(UringPollerTest, ADisarmInTheMiddleOfAWakeUpThatMeansNothingIsRepeated) {
  for (int round = 0; round < 50; ++round) {
    uring_poller p(probe_uring());
    waiting_fd a(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    std::atomic<bool> armed{false};
    std::atomic<bool> released{false};
    std::atomic<bool> done{false};
    std::thread submitter([&] {
      EXPECT_FALSE(a.arm(p, read_side));
      static_cast<void>(p.poll());
      armed.store(true, std::memory_order_release);
      // Stays out of the kernel: its wake-ups are looked at when it goes there.
      while (!released.load(std::memory_order_relaxed)) {
      }
      done.wait(false);  // lives on, as pooled Ms do
    });
    while (!armed.load(std::memory_order_acquire)) std::this_thread::yield();
    std::uint64_t value = 1;
    ASSERT_EQ(::write(a.fd(), &value, sizeof value), sizeof value);
    ASSERT_EQ(::read(a.fd(), &value, sizeof value), sizeof value);
    p.disarm(a.fd(), poll_read, a.key(read_side));
    released.store(true, std::memory_order_relaxed);
    const auto limit = steady_clock::now() + std::chrono::seconds(10);
    while (p.armed() != 0 && steady_clock::now() < limit) static_cast<void>(p.poll());
    EXPECT_EQ(p.armed(), 0U) << round;
    done.store(true);
    done.notify_one();
    submitter.join();
    if (HasFailure()) break;
  }
}

TEST(UringPollerTest, WithoutIoItHasNoRing) {
  const auto count = [] {
    int n = 0;
    for (int fd = 0; fd < 1024; ++fd) n += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    return n;
  };
  const int before = count();
  uring_poller p(probe_uring());
  p.prepare_wait();
  p.wait(1000);
  static_cast<void>(p.poll());
  EXPECT_EQ(count(), before + 1) << "the eventfd only";
}
#endif

}  // namespace
