// SPDX-License-Identifier: Apache-2.0
// The peer that needs no library: std::async and std::thread with a mutex + condition variable
// queue. `procs` is enforced by affinity: all threads share that many cores.
#include <sched.h>

#include <array>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "compare/harness.hpp"

namespace {

using bench::job;
using bench::stopwatch;

void enter(int procs, const std::function<void()>& inside) {
  cpu_set_t allowed;
  cpu_set_t mine;
  CPU_ZERO(&mine);
  sched_getaffinity(0, sizeof allowed, &allowed);
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&mine) < procs; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) CPU_SET(cpu, &mine);
  }
  sched_setaffinity(0, sizeof mine, &mine);
  inside();
}

/// What people write when they have no channel. Capacity 1 stands in for a rendezvous.
class queue {
 public:
  explicit queue(std::size_t capacity) : capacity_(capacity) {}

  void push(std::int64_t v) {
    {
      std::unique_lock lock(mutex_);
      space_.wait(lock, [&] { return values_.size() < capacity_; });
      values_.push_back(v);
    }
    filled_.notify_one();
  }

  std::optional<std::int64_t> pop() {
    std::int64_t v = 0;
    {
      std::unique_lock lock(mutex_);
      filled_.wait(lock, [&] { return !values_.empty() || closed_; });
      if (values_.empty()) return std::nullopt;
      v = values_.front();
      values_.pop_front();
    }
    space_.notify_one();
    return v;
  }

  void close() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    filled_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable space_;
  std::condition_variable filled_;
  std::deque<std::int64_t> values_;
  const std::size_t capacity_;
  bool closed_ = false;
};

void spawn_join(const job& j) {
  constexpr std::int64_t batch = 1000;
  std::int64_t sum = 0;
  std::vector<std::future<std::int64_t>> results;
  results.reserve(batch);
  const stopwatch time;
  for (std::int64_t done = 0; done < j.n; done += batch) {
    for (std::int64_t i = 0; i < batch; ++i) {
      results.push_back(std::async(std::launch::async, [i] { return i; }));
    }
    for (auto& r : results) sum += r.get();
    results.clear();
  }
  bench::report(j, time.ns_per(j.n), "ns/fiber");
  bench::expect(j, sum == j.n / batch * bench::sum_below(batch), "sum of the results");
}

void ping_pong(const job& j) {
  queue there(1);
  queue back(1);
  const stopwatch time;
  std::thread echo([&] {
    while (const auto v = there.pop()) back.push(*v + 1);
  });
  for (std::int64_t i = 0; i < j.n; ++i) {
    there.push(i);
    bench::expect(j, back.pop() == i + 1, "answer");
  }
  there.close();
  echo.join();
  bench::report(j, time.ns_per(j.n), "ns/round-trip");
}

void buffered(const job& j) {
  queue c(128);
  const stopwatch time;
  std::thread producer([&] {
    for (std::int64_t i = 0; i < j.n; ++i) c.push(i);
    c.close();
  });
  std::int64_t sum = 0;
  while (const auto v = c.pop()) sum += *v;
  producer.join();
  bench::report(j, time.ns_per(j.n), "ns/message");
  bench::expect(j, sum == bench::sum_below(j.n), "sum");
}

void mpmc(const job& j) {
  constexpr std::int64_t sides = 4;
  queue c(128);
  const std::int64_t share = j.n / sides;
  std::array<std::int64_t, sides> sums{};
  std::vector<std::thread> producers;
  std::vector<std::thread> consumers;
  const stopwatch time;
  for (std::int64_t s = 0; s < sides; ++s) {
    producers.emplace_back([&c, s, share] {
      for (std::int64_t i = 0; i < share; ++i) c.push(s * share + i);
    });
    consumers.emplace_back([&c, &mine = sums[static_cast<std::size_t>(s)]] {
      std::int64_t sum = 0;
      while (const auto v = c.pop()) sum += *v;
      mine = sum;
    });
  }
  for (std::thread& t : producers) t.join();
  c.close();
  for (std::thread& t : consumers) t.join();
  bench::report(j, time.ns_per(sides * share), "ns/message");
  bench::expect(j, sums[0] + sums[1] + sums[2] + sums[3] == bench::sum_below(sides * share), "sum");
}

void mutex_contended(const job& j) {
  constexpr int count_of_threads = 8;
  const std::int64_t share = j.n / count_of_threads;
  std::mutex mu;
  std::int64_t count = 0;
  std::vector<std::thread> threads;
  const stopwatch time;
  for (int t = 0; t < count_of_threads; ++t) {
    threads.emplace_back([&] {
      for (std::int64_t i = 0; i < share; ++i) {
        const std::lock_guard lock(mu);
        ++count;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  bench::report(j, time.ns_per(count_of_threads * share), "ns/op");
  bench::expect(j, count == count_of_threads * share, "count");
}

void mutex_alone(const job& j) {
  std::mutex mu;
  std::int64_t count = 0;
  const stopwatch time;
  for (std::int64_t i = 0; i < j.n; ++i) {
    const std::lock_guard lock(mu);
    ++count;
  }
  bench::report(j, time.ns_per(j.n), "ns/op");
  bench::expect(j, count == j.n, "count");
}

constexpr std::array workloads{
    bench::workload{"spawn_join", spawn_join},
    bench::workload{"ping_pong", ping_pong},
    bench::workload{"buffered", buffered},
    bench::workload{"threads_buffered", buffered},
    bench::workload{"mpmc", mpmc},
    bench::workload{"mutex", mutex_contended},
    bench::workload{"mutex_alone", mutex_alone},
};

}  // namespace

int main(int argc, char** argv) { return bench::run_peer(argc, argv, workloads, enter); }
