// SPDX-License-Identifier: Apache-2.0
// How late are other fibers' timers and requests, on one P, while a fiber computes for five seconds
// without a call of weft and another sits in a blocking read(2)? Timers: 20 fibers that sleep 1 ms
// again and again. Requests: an echo to a server in the runtime, from plain threads.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>
#include <weft/weft.hpp>

#include "echo/weft_server.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;
using samples = std::vector<double>;  // milliseconds

constexpr auto length = 5s;

double ms(steady::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

void report(benchmark::State& state, const std::string& name, samples all) {
  if (all.empty()) return state.SkipWithError("no samples");
  std::sort(all.begin(), all.end());
  const auto at = [&](double q) {
    return all[static_cast<std::size_t>(q * double(all.size() - 1))];
  };
  state.counters[name + "_p50_ms"] = at(0.5);
  state.counters[name + "_p99_ms"] = at(0.99);
  state.counters[name + "_max_ms"] = all.back();
}

samples sleep_until(steady::time_point end) {
  samples late;
  while (steady::now() < end) {
    const auto due = steady::now() + 1ms;
    weft::sleep_for(1ms);
    late.push_back(ms(steady::now() - due));
  }
  return late;
}

// A plain client: blocking calls on a thread that weft knows nothing of.
samples ask_until(steady::time_point end, std::uint16_t port) {
  samples took;
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  bool works = ::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0;
  std::array<char, 64> message{};
  while (works && steady::now() < end) {
    const auto start = steady::now();
    works = ::send(fd, message.data(), message.size(), 0) == ssize_t{message.size()} &&
            ::recv(fd, message.data(), message.size(), MSG_WAITALL) == ssize_t{message.size()};
    if (works) took.push_back(ms(steady::now() - start));
    std::this_thread::sleep_for(2ms);
  }
  ::close(fd);
  return took;
}

void compute_until(steady::time_point end) {
  while (steady::now() < end) benchmark::DoNotOptimize(end);
}

void stalls(benchmark::State& state) {
  bench::in_runtime(1, [&] {
    auto listener = weft::net::listen("tcp4", "127.0.0.1:0");
    std::array<int, 2> quiet_pipe{};
    if (!listener || ::pipe(quiet_pipe.data()) != 0) return state.SkipWithError("no descriptors");
    weft::wait_group server;
    server.go([&] { bench::serve_echo(*listener); });
    for (auto _ : state) {
      const auto end = steady::now() + length;
      weft::wait_group wg;
      std::array<samples, 20> late;
      for (samples& mine : late) wg.go([&mine, end] { mine = sleep_until(end); });
      samples took;
      std::thread client([&] { took = ask_until(end, listener->addr().port()); });
      wg.go([end] { compute_until(end); });
      wg.go([fd = quiet_pipe[0]] {
        char c = 0;
        benchmark::DoNotOptimize(::read(fd, &c, 1));
      });
      weft::sleep_for(length);
      ::close(quiet_pipe[1]);  // ends the read
      wg.wait();
      weft::blocking([&] { client.join(); });
      samples all;
      for (const samples& s : late) all.insert(all.end(), s.begin(), s.end());
      report(state, "timer", all);
      report(state, "request", took);
    }
    listener->close();
    server.wait();
    ::close(quiet_pipe[0]);
  });
}
BENCHMARK(stalls)->Iterations(1)->UseRealTime()->Unit(benchmark::kSecond);

}  // namespace
