// SPDX-License-Identifier: Apache-2.0
// The workloads of channels on weft: rendezvous, buffered, many to many, ring, sieve.
#include <array>
#include <thread>
#include <vector>
#include <weft/weft.hpp>

#include "compare/weft_cost.hpp"
#include "compare/weft_workloads.hpp"

namespace bench {

void ping_pong(const job& j) {
  const auto there = weft::make_chan<std::int64_t>();
  const auto back = weft::make_chan<std::int64_t>();
  const cost spent;
  weft::go([there, back] {
    while (const auto v = there.recv()) back.send(*v + 1);
    back.close();
  });
  for (std::int64_t i = 0; i < j.n; ++i) {
    there.send(i);
    expect(j, back.recv() == i + 1, "answer");
  }
  there.close();
  expect(j, !back.recv().has_value(), "end");
  spent.report(j, j.n, "ns/round-trip");
}

void buffered(const job& j) {
  const auto c = weft::make_chan<std::int64_t>(128);
  const cost spent;
  weft::go([c, n = j.n] {
    for (std::int64_t i = 0; i < n; ++i) c.send(i);
    c.close();
  });
  std::int64_t sum = 0;
  while (const auto v = c.recv()) sum += *v;
  spent.report(j, j.n, "ns/message");
  expect(j, sum == sum_below(j.n), "sum");
}

void threads_buffered(const job& j) {
  const auto c = weft::make_chan<std::int64_t>(128);
  std::int64_t sum = 0;
  const cost spent;
  std::thread producer([&] {
    for (std::int64_t i = 0; i < j.n; ++i) c.send(i);
    c.close();
  });
  std::thread consumer([&] {
    while (const auto v = c.recv()) sum += *v;
  });
  weft::blocking([&] {
    producer.join();
    consumer.join();
  });
  spent.report(j, j.n, "ns/message");
  expect(j, sum == sum_below(j.n), "sum");
}

void mpmc(const job& j) {
  constexpr std::int64_t sides = 4;
  struct alignas(64) padded {
    std::int64_t sum = 0;
  };
  const auto c = weft::make_chan<std::int64_t>(128);
  const std::int64_t share = j.n / sides;
  std::array<padded, sides> sums{};
  weft::wait_group producers;
  weft::wait_group consumers;
  const cost spent;
  for (std::int64_t s = 0; s < sides; ++s) {
    producers.go([&c, s, share] {
      for (std::int64_t i = 0; i < share; ++i) c.send(s * share + i);
    });
    consumers.go([&c, &mine = sums[static_cast<std::size_t>(s)].sum] {
      std::int64_t sum = 0;
      while (const auto v = c.recv()) sum += *v;
      mine = sum;
    });
  }
  producers.wait();
  c.close();
  consumers.wait();
  spent.report(j, sides * share, "ns/message");
  std::int64_t sum = 0;
  for (const padded& p : sums) sum += p.sum;
  expect(j, sum == sum_below(sides * share), "sum");
}

void ring(const job& j) {
  constexpr std::size_t members = 503;
  std::vector<weft::chan<std::int64_t>> links;
  for (std::size_t i = 0; i < members; ++i) links.push_back(weft::make_chan<std::int64_t>());
  const auto last = weft::make_chan<std::int64_t>();
  weft::wait_group wg;
  const cost spent;
  for (std::size_t i = 0; i < members; ++i) {
    wg.go([i, &last, in = links[i], out = links[(i + 1) % members]] {
      while (const auto token = in.recv()) {
        if (*token == 0) {
          last.send(static_cast<std::int64_t>(i));
        } else {
          out.send(*token - 1);
        }
      }
    });
  }
  links[0].send(j.n);
  const auto winner = last.recv();
  spent.report(j, j.n, "ns/hop");
  for (const auto& c : links) c.close();
  wg.wait();
  expect(j, winner == j.n % static_cast<std::int64_t>(members), "who holds the token at the end");
}

// The generator ends at the last prime asked for and closes its channel; each filter passes the
// close on.
void sieve(const job& j) {
  const std::int64_t limit = nth_prime(j.n);
  const cost spent;
  auto in = weft::make_chan<std::int64_t>();
  weft::go([out = in, limit] {
    for (std::int64_t v = 2; v <= limit; ++v) out.send(v);
    out.close();
  });
  std::int64_t prime = 0;
  for (std::int64_t i = 0; i < j.n; ++i) {
    prime = in.recv().value();
    auto next = weft::make_chan<std::int64_t>();
    weft::go([in, out = next, prime] {
      while (const auto v = in.recv()) {
        if (*v % prime != 0) out.send(*v);
      }
      out.close();
    });
    in = next;
  }
  const bool ended = !in.recv().has_value();
  const double ms = spent.ns() / 1e6;
  spent.report_allocs(j, limit);  // an operation: a number that enters the chain
  report(j, ms, "ms");
  expect(j, prime == limit && ended, "the last prime");
}

}  // namespace bench
