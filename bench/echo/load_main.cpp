// SPDX-License-Identifier: Apache-2.0
// The echo workload of the comparison: `weft_echo_load <port> <server pid> <echoes> [connections]`
// drives a running server three times and prints, like every peer, one line `name value unit` for
// each figure of each round. The first figure is the server's CPU time for an echo, read from the
// server process's own CPU clock: the kernel's share and the idle polling are in it.
#include <sys/types.h>
#include <time.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "echo/load.hpp"

namespace {

double cpu_ns(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return 1e9 * static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec);
}

int drive(std::uint16_t port, clockid_t server, std::int64_t echoes, int connections) {
  constexpr std::size_t message_bytes = 64;
  bench::echo_load load(port, connections, message_bytes, static_cast<std::size_t>(echoes));
  for (int round = 1; round <= 3; ++round) {
    const double cpu = cpu_ns(server);
    const auto start = std::chrono::steady_clock::now();
    load.run(echoes);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    const auto n = static_cast<double>(echoes);
    std::printf("echo %.4g CPU-us/echo\n", (cpu_ns(server) - cpu) / n / 1000);
    std::printf("echo.wall %.4g us/echo\n", took.count() * 1e6 / n);
    std::printf("echo.p50 %.4g us\n", load.latency_us(0.50));
    std::printf("echo.p99 %.4g us\n", load.latency_us(0.99));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s <port> <server pid> <echoes> [connections]\n", argv[0]);
    return 64;
  }
  clockid_t server = 0;
  if (clock_getcpuclockid(static_cast<pid_t>(std::atoi(argv[2])), &server) != 0) {
    std::fprintf(stderr, "no process %s\n", argv[2]);
    return 1;
  }
  try {
    return drive(static_cast<std::uint16_t>(std::atoi(argv[1])), server, std::atoll(argv[3]),
                 argc > 4 ? std::atoi(argv[4]) : 64);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 3;
  }
}
