// SPDX-License-Identifier: Apache-2.0
// The load client of the echo benchmarks: N blocking-free connections on one epoll, each with one
// message under way. One thread, no allocation after `connect`, so that it can share a process with
// the server that is being counted.
//
// Law: an object belongs to one thread. Every echo is compared with what was sent; a wrong byte, a
// reset or an early end throws std::runtime_error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace bench {

class echo_load {
 public:
  /// Connects to 127.0.0.1:port. Latencies are kept for up to `samples` echoes a run.
  echo_load(std::uint16_t port, int connections, std::size_t message_bytes, std::size_t samples);
  ~echo_load();
  echo_load(const echo_load&) = delete;
  echo_load& operator=(const echo_load&) = delete;

  /// Has `echoes` messages answered, spread over the connections as they come back.
  void run(std::int64_t echoes);

  /// The latency of the last run that this share (0 to 1) of echoes did not exceed, in
  /// microseconds. Reorders the samples.
  [[nodiscard]] double latency_us(double share);

 private:
  struct connection {
    int fd = -1;
    std::size_t received = 0;
    std::int64_t sent_at_ns = 0;
    std::uint64_t serial = 0;
  };

  void send_next(connection& c);
  bool receive(connection& c);
  void fill(std::byte* message, const connection& c) const noexcept;

  int epoll_;
  std::vector<connection> connections_;
  std::vector<std::byte> out_;
  std::vector<std::byte> in_;
  std::vector<std::int64_t> latencies_ns_;
  std::size_t max_samples_;
  std::uint64_t next_serial_ = 1;
};

}  // namespace bench
