// SPDX-License-Identifier: Apache-2.0
// The workloads of select, mutexes and pools on weft.
#include <array>
#include <atomic>
#include <mutex>
#include <optional>
#include <weft/weft.hpp>

#include "compare/weft_cost.hpp"
#include "compare/weft_workloads.hpp"

namespace bench {

void select4(const job& j) {
  std::array<weft::chan<std::int64_t>, 4> c;
  const std::int64_t share = j.n / 4;
  const cost spent;
  for (std::size_t s = 0; s < c.size(); ++s) {
    c[s] = weft::make_chan<std::int64_t>();
    weft::go([out = c[s], first = static_cast<std::int64_t>(s) * share, share] {
      for (std::int64_t i = 0; i < share; ++i) out.send(first + i);
    });
  }
  std::int64_t sum = 0;
  const auto take = [&sum](std::optional<std::int64_t> v) { sum += *v; };
  for (std::int64_t i = 0; i < 4 * share; ++i) {
    (void)weft::select(weft::on_recv(c[0], take), weft::on_recv(c[1], take),
                       weft::on_recv(c[2], take), weft::on_recv(c[3], take));
  }
  spent.report(j, 4 * share, "ns/message");
  expect(j, sum == sum_below(4 * share), "sum");
}

void select_ready(const job& j) {
  const auto full = weft::make_chan<std::int64_t>(1);
  const auto empty = weft::make_chan<std::int64_t>(1);
  full.send(7);
  std::int64_t sum = 0;
  const cost spent;
  for (std::int64_t i = 0; i < j.n; ++i) {
    (void)weft::select(weft::on_recv(full,
                                     [&](std::optional<std::int64_t> v) {
                                       sum += *v;
                                       full.send(*v);
                                     }),
                       weft::on_recv(empty, [&](std::optional<std::int64_t>) { sum = -1; }),
                       weft::otherwise([&] { sum = -1; }));
  }
  spent.report(j, j.n, "ns/op");
  expect(j, sum == 7 * j.n, "the ready case was not taken each time");
}

void select_empty(const job& j) {
  const auto empty = weft::make_chan<std::int64_t>();
  std::int64_t missed = 0;
  const cost spent;
  for (std::int64_t i = 0; i < j.n; ++i) {
    (void)weft::select(weft::on_recv(empty, [&](std::optional<std::int64_t>) { missed = -1; }),
                       weft::otherwise([&] { ++missed; }));
  }
  spent.report(j, j.n, "ns/op");
  expect(j, missed == j.n, "otherwise was not taken each time");
}

void mutex_contended(const job& j) {
  constexpr int count_of_fibers = 8;
  const std::int64_t share = j.n / count_of_fibers;
  weft::mutex mu;
  std::int64_t count = 0;
  weft::wait_group wg;
  const cost spent;
  for (int f = 0; f < count_of_fibers; ++f) {
    wg.go([&mu, &count, share] {
      for (std::int64_t i = 0; i < share; ++i) {
        const std::lock_guard lock(mu);
        ++count;
      }
    });
  }
  wg.wait();
  spent.report(j, count_of_fibers * share, "ns/op");
  expect(j, count == count_of_fibers * share, "count");
}

void mutex_alone(const job& j) {
  weft::mutex mu;
  std::int64_t count = 0;
  const cost spent;
  for (std::int64_t i = 0; i < j.n; ++i) {
    const std::lock_guard lock(mu);
    ++count;
  }
  spent.report(j, j.n, "ns/op");
  expect(j, count == j.n, "count");
}

// The objects of a pool are destroyed with it: together they have counted all gets.
void pool_get_put(const job& j) {
  struct counter {
    std::int64_t gets = 0;
    std::atomic<std::int64_t>* total;
    explicit counter(std::atomic<std::int64_t>* t) : total(t) {}
    ~counter() { *total += gets; }
  };
  constexpr int count_of_fibers = 8;
  const std::int64_t share = j.n / count_of_fibers;
  std::atomic<std::int64_t> total{0};
  {
    weft::pool<counter> objects([&total] { return counter(&total); });
    weft::wait_group wg;
    const cost spent;
    for (int f = 0; f < count_of_fibers; ++f) {
      wg.go([&objects, share] {
        for (std::int64_t i = 0; i < share; ++i) ++objects.get()->gets;
      });
    }
    wg.wait();
    spent.report(j, count_of_fibers * share, "ns/op");
  }
  expect(j, total == count_of_fibers * share, "not every get has counted once");
}

}  // namespace bench
