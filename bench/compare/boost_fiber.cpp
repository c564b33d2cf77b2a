// SPDX-License-Identifier: Apache-2.0
// The Boost.Fiber peer. One worker runs Boost's default round-robin; more run its work stealing
// (the algorithm that suspends idle threads). Stacks are 16 KiB from malloc, and malloc is told to
// keep what it has: without that each stack goes back to the kernel and a spawn costs 20 times
// more.
//
// Law: Boost's own best configuration for each workload; no select, so none of those workloads.
// A buffered_channel of capacity 128 holds 127 values.
#include <malloc.h>

#include <array>
#include <atomic>
#include <boost/fiber/all.hpp>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "compare/harness.hpp"

namespace {

namespace bf = boost::fibers;
using bench::job;
using bench::stopwatch;
using boost::this_fiber::sleep_for;

constexpr std::size_t stack_bytes = 16 << 10;

template <class F>
bf::fiber start(F&& f) {
  return bf::fiber(bf::launch::post, std::allocator_arg, bf::fixedsize_stack(stack_bytes),
                   std::forward<F>(f));
}

void enter(int procs, const std::function<void()>& inside) {
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  if (procs == 1) return inside();
  bf::mutex m;
  bf::condition_variable stop;
  bool stopped = false;
  std::vector<std::thread> workers;
  for (int i = 1; i < procs; ++i) {
    workers.emplace_back([&] {
      bf::use_scheduling_algorithm<bf::algo::work_stealing>(static_cast<std::uint32_t>(procs),
                                                            true);
      std::unique_lock lock(m);
      stop.wait(lock, [&] { return stopped; });
    });
  }
  bf::use_scheduling_algorithm<bf::algo::work_stealing>(static_cast<std::uint32_t>(procs), true);
  inside();
  {
    std::lock_guard lock(m);
    stopped = true;
  }
  stop.notify_all();
  for (std::thread& t : workers) t.join();
}

void join_all(std::vector<bf::fiber>& fibers) {
  for (bf::fiber& f : fibers) f.join();
  fibers.clear();
}

void yield(const job& j) {
  std::array<std::int64_t, 2> turns{};
  const stopwatch time;
  std::vector<bf::fiber> fibers;
  for (std::int64_t& mine : turns) {
    fibers.push_back(start([&mine, n = j.n] {
      for (std::int64_t i = 0; i < n; ++i) {
        boost::this_fiber::yield();
        ++mine;
      }
    }));
  }
  join_all(fibers);
  bench::report(j, time.ns_per(2 * j.n), "ns/switch");
  bench::expect(j, turns[0] == j.n && turns[1] == j.n, "turns");
}

void spawn_join(const job& j) {
  constexpr std::int64_t batch = 1000;
  std::array<std::int64_t, batch> slots{};
  std::int64_t sum = 0;
  std::vector<bf::fiber> fibers;
  fibers.reserve(batch);
  const stopwatch time;
  for (std::int64_t done = 0; done < j.n; done += batch) {
    for (std::size_t i = 0; i < batch; ++i) {
      fibers.push_back(start([&slots, i] { slots[i] = static_cast<std::int64_t>(i); }));
    }
    join_all(fibers);
    for (std::int64_t& s : slots) sum += std::exchange(s, 0);
  }
  bench::report(j, time.ns_per(j.n), "ns/fiber");
  bench::expect(j, sum == j.n / batch * bench::sum_below(batch), "sum of the slots");
}

void spawn_outstanding(const job& j) {
  std::vector<std::uint8_t> seen(static_cast<std::size_t>(j.n));
  std::vector<bf::fiber> fibers;
  fibers.reserve(seen.size());
  const stopwatch time;
  for (std::uint8_t& mine : seen) fibers.push_back(start([&mine] { mine = 1; }));
  const double peak = bench::memory_now().total() - bench::memory_at_start().total();
  join_all(fibers);
  bench::report(j, time.ns_per(j.n), "ns/fiber");
  bench::report(j, "memory", peak / static_cast<double>(j.n), "B/fiber");
  std::int64_t ran = 0;
  for (const std::uint8_t s : seen) ran += s;
  bench::expect(j, ran == j.n, "fibers that ran");
}

std::int64_t fib(std::int64_t n) {
  if (n < 2) return n;
  std::int64_t left = 0;
  bf::fiber task = start([&left, n] { left = fib(n - 1); });
  const std::int64_t right = fib(n - 2);
  task.join();
  return left + right;
}

void fib_fork_join(const job& j) {
  const stopwatch time;
  const std::int64_t got = fib(j.n);
  bench::report(j, time.ns_per(bench::fib_forks(j.n)), "ns/task");
  bench::expect(j, got == bench::fibonacci(j.n), "fib");
}

using channel = bf::unbuffered_channel<std::int64_t>;

void skynet_node(channel& up, std::int64_t first, std::int64_t leaves) {
  if (leaves == 1) {
    up.push(first);
    return;
  }
  channel down;
  std::vector<bf::fiber> children;
  for (std::int64_t i = 0; i < 10; ++i) {
    children.push_back(start(
        [&down, first, leaves, i] { skynet_node(down, first + i * (leaves / 10), leaves / 10); }));
  }
  std::int64_t sum = 0;
  for (int i = 0; i < 10; ++i) sum += down.value_pop();
  join_all(children);
  up.push(sum);
}

void skynet(const job& j) {
  const stopwatch time;
  channel c;
  bf::fiber root = start([&] { skynet_node(c, 0, j.n); });
  const std::int64_t sum = c.value_pop();
  root.join();
  bench::report(j, time.ns_per(j.n), "ns/leaf");
  bench::expect(j, sum == bench::sum_below(j.n), "sum of the leaves");
}

void sleepers(const job& j) {
  using clock = std::chrono::steady_clock;
  std::vector<std::int32_t> late(static_cast<std::size_t>(j.n));
  std::vector<bf::fiber> fibers;
  fibers.reserve(late.size());
  const stopwatch time;
  const double cpu = bench::cpu_ns();
  for (std::int64_t i = 0; i < j.n; ++i) {
    fibers.push_back(start([&late, i] {
      const auto wake = clock::now() + bench::nap(i);
      sleep_for(bench::nap(i));
      late[static_cast<std::size_t>(i)] =
          static_cast<std::int32_t>((clock::now() - wake) / std::chrono::microseconds(1));
    }));
  }
  join_all(fibers);
  bench::report(j, (bench::cpu_ns() - cpu) / static_cast<double>(j.n), "CPU-ns/fiber");
  bench::report(j, "beyond", time.ns() / 1e6 - 1000, "ms");
  for (const std::int32_t us : late) bench::expect(j, us >= 0, "woken too early");
  bench::report_lateness(j, late);
}

void parked(const job& j) {
  channel gate;
  std::atomic<std::int64_t> arrived{0};
  std::atomic<std::int64_t> woken{0};
  std::vector<bf::fiber> fibers;
  fibers.reserve(static_cast<std::size_t>(j.n));
  const stopwatch create;
  for (std::int64_t i = 0; i < j.n; ++i) {
    fibers.push_back(start([&] {
      arrived.fetch_add(1);
      std::int64_t v = 0;
      if (gate.pop(v) == bf::channel_op_status::closed) woken.fetch_add(1);
    }));
  }
  while (arrived.load() != j.n) boost::this_fiber::yield();
  bench::report(j, "create", create.ns_per(j.n), "ns/fiber");
  const bench::memory peak = bench::memory_now();
  const stopwatch wake;
  gate.close();
  join_all(fibers);
  bench::report(j, "wake", wake.ns_per(j.n), "ns/fiber");
  bench::expect(j, woken == j.n, "fibers woken");
  const bench::memory& base = bench::memory_at_start();
  const auto n = static_cast<double>(j.n);
  bench::report(j, (peak.total() - base.total()) / n, "B/fiber");
  bench::report(j, "rss", (peak.rss_bytes - base.rss_bytes) / n, "B/fiber");
  bench::report(j, "page_tables", (peak.page_table_bytes - base.page_table_bytes) / n, "B/fiber");
}

void ping_pong(const job& j) {
  channel there;
  channel back;
  const stopwatch time;
  bf::fiber echo = start([&] {
    std::int64_t v = 0;
    while (there.pop(v) == bf::channel_op_status::success) back.push(v + 1);
  });
  for (std::int64_t i = 0; i < j.n; ++i) {
    there.push(i);
    bench::expect(j, back.value_pop() == i + 1, "answer");
  }
  there.close();
  echo.join();
  bench::report(j, time.ns_per(j.n), "ns/round-trip");
}

void buffered(const job& j) {
  bf::buffered_channel<std::int64_t> c(128);
  const stopwatch time;
  bf::fiber producer = start([&] {
    for (std::int64_t i = 0; i < j.n; ++i) c.push(i);
    c.close();
  });
  std::int64_t sum = 0;
  std::int64_t v = 0;
  while (c.pop(v) == bf::channel_op_status::success) sum += v;
  producer.join();
  bench::report(j, time.ns_per(j.n), "ns/message");
  bench::expect(j, sum == bench::sum_below(j.n), "sum");
}

void mpmc(const job& j) {
  constexpr std::int64_t sides = 4;
  bf::buffered_channel<std::int64_t> c(128);
  const std::int64_t share = j.n / sides;
  std::atomic<std::int64_t> total{0};
  std::vector<bf::fiber> producers;
  std::vector<bf::fiber> consumers;
  const stopwatch time;
  for (std::int64_t s = 0; s < sides; ++s) {
    producers.push_back(start([&c, s, share] {
      for (std::int64_t i = 0; i < share; ++i) c.push(s * share + i);
    }));
    consumers.push_back(start([&] {
      std::int64_t sum = 0;
      std::int64_t v = 0;
      while (c.pop(v) == bf::channel_op_status::success) sum += v;
      total.fetch_add(sum);
    }));
  }
  join_all(producers);
  c.close();
  join_all(consumers);
  bench::report(j, time.ns_per(sides * share), "ns/message");
  bench::expect(j, total == bench::sum_below(sides * share), "sum");
}

void mutex_contended(const job& j) {
  constexpr int count_of_fibers = 8;
  const std::int64_t share = j.n / count_of_fibers;
  bf::mutex mu;
  std::int64_t count = 0;
  std::vector<bf::fiber> fibers;
  const stopwatch time;
  for (int f = 0; f < count_of_fibers; ++f) {
    fibers.push_back(start([&] {
      for (std::int64_t i = 0; i < share; ++i) {
        std::lock_guard lock(mu);
        ++count;
      }
    }));
  }
  join_all(fibers);
  bench::report(j, time.ns_per(count_of_fibers * share), "ns/op");
  bench::expect(j, count == count_of_fibers * share, "count");
}

void mutex_alone(const job& j) {
  bf::mutex mu;
  std::int64_t count = 0;
  const stopwatch time;
  for (std::int64_t i = 0; i < j.n; ++i) {
    std::lock_guard lock(mu);
    ++count;
  }
  bench::report(j, time.ns_per(j.n), "ns/op");
  bench::expect(j, count == j.n, "count");
}

void ring(const job& j) {
  constexpr std::size_t members = 503;
  std::vector<channel> links(members);
  channel last;
  std::vector<bf::fiber> fibers;
  const stopwatch time;
  for (std::size_t i = 0; i < members; ++i) {
    fibers.push_back(start([&, i] {
      std::int64_t token = 0;
      while (links[i].pop(token) == bf::channel_op_status::success) {
        if (token == 0) {
          last.push(static_cast<std::int64_t>(i));
        } else {
          links[(i + 1) % members].push(token - 1);
        }
      }
    }));
  }
  links[0].push(j.n);
  const std::int64_t winner = last.value_pop();
  bench::report(j, time.ns_per(j.n), "ns/hop");
  for (channel& c : links) c.close();
  join_all(fibers);
  bench::expect(j, winner == j.n % static_cast<std::int64_t>(members), "who holds the token");
}

// The generator ends at the last prime asked for and closes its channel; each filter passes the
// close on.
void sieve(const job& j) {
  const std::int64_t limit = bench::nth_prime(j.n);
  std::vector<bf::fiber> fibers;
  const stopwatch time;
  auto in = std::make_shared<channel>();
  fibers.push_back(start([out = in, limit] {
    for (std::int64_t v = 2; v <= limit; ++v) out->push(v);
    out->close();
  }));
  std::int64_t prime = 0;
  for (std::int64_t i = 0; i < j.n; ++i) {
    prime = in->value_pop();
    auto next = std::make_shared<channel>();
    fibers.push_back(start([in, out = next, prime] {
      std::int64_t v = 0;
      while (in->pop(v) == bf::channel_op_status::success) {
        if (v % prime != 0) out->push(v);
      }
      out->close();
    }));
    in = next;
  }
  std::int64_t more = 0;
  const bool ended = in->pop(more) == bf::channel_op_status::closed;
  join_all(fibers);
  bench::report(j, time.ns() / 1e6, "ms");
  bench::expect(j, prime == limit && ended, "the last prime");
}

constexpr std::array workloads{
    bench::workload{"yield", yield},
    bench::workload{"spawn_join", spawn_join},
    bench::workload{"spawn_outstanding", spawn_outstanding},
    bench::workload{"fib", fib_fork_join},
    bench::workload{"skynet", skynet},
    bench::workload{"sleepers", sleepers},
    bench::workload{"parked", parked},
    bench::workload{"ping_pong", ping_pong},
    bench::workload{"buffered", buffered},
    bench::workload{"mpmc", mpmc},
    bench::workload{"mutex", mutex_contended},
    bench::workload{"mutex_alone", mutex_alone},
    bench::workload{"ring", ring},
    bench::workload{"sieve", sieve},
};

}  // namespace

int main(int argc, char** argv) { return bench::run_peer(argc, argv, workloads, enter); }
