// SPDX-License-Identifier: Apache-2.0
// Fibers in a blocking read(2) that weft is not told of, beside an HTTP server, on weft.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#include <weft/http.hpp>
#include <weft/weft.hpp>

#include "compare/weft_workloads.hpp"

namespace bench {

namespace {

using namespace std::chrono_literals;

constexpr int requests = 2000;

/// Pipes whose reads block, a reader each. The byte that ends a read tells which pipe it was.
class quiet_pipes {
 public:
  explicit quiet_pipes(const job& j) : ends_(static_cast<std::size_t>(j.n)) {
    for (auto& [read_end, write_end] : ends_) {
      std::array<int, 2> fds{};
      expect(j, ::pipe2(fds.data(), O_CLOEXEC) == 0, "no descriptors for the pipes");
      read_end = fds[0];
      write_end = fds[1];
      is_ours_.resize(std::max(is_ours_.size(), static_cast<std::size_t>(fds[0]) + 1));
      is_ours_[static_cast<std::size_t>(fds[0])] = true;
    }
  }
  ~quiet_pipes() {
    for (const auto& [read_end, write_end] : ends_) {
      ::close(read_end);
      ::close(write_end);
    }
  }
  quiet_pipes(const quiet_pipes&) = delete;
  quiet_pipes& operator=(const quiet_pipes&) = delete;

  /// Blocks in the kernel; true when the pipe's own byte has come.
  [[nodiscard]] bool read_byte(std::size_t i) const noexcept {
    char c = 0;
    return ::read(ends_[i].first, &c, 1) == 1 && c == static_cast<char>(i);
  }
  void write_bytes(const job& j) const {
    for (std::size_t i = 0; i < ends_.size(); ++i) {
      const char c = static_cast<char>(i);
      expect(j, ::write(ends_[i].second, &c, 1) == 1, "write to a pipe");
    }
  }
  /// Threads of this process that the kernel has in read(2) on one of the pipes.
  [[nodiscard]] std::int64_t in_read() const {
    std::int64_t count = 0;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      std::ifstream file(task.path() / "syscall");  // "0 0x5 ...", or "running"
      long number = -1;
      std::size_t fd = 0;
      file >> number >> std::hex >> fd;
      if (file && number == SYS_read && fd < is_ours_.size() && is_ours_[fd]) ++count;
    }
    return count;
  }

 private:
  std::vector<std::pair<int, int>> ends_;  // read, write
  std::vector<bool> is_ours_;              // by descriptor: the read end of a pipe of ours
};

/// On a plain thread. The count of those about to read is looked at first: it is cheap, and the
/// look at every thread in /proc would take time from those still on their way.
void await_readers(const job& j, const std::atomic<std::int64_t>& arrived, const quiet_pipes& p) {
  const stopwatch time;
  const auto in_time = [&] { return time.ns() < 30e9; };
  while (arrived.load() != j.n && in_time()) std::this_thread::sleep_for(1ms);
  while (p.in_read() != j.n && in_time()) std::this_thread::sleep_for(1ms);
  expect(j, in_time(), "not all are in read(2) after 30 s, says /proc/self/task/*/syscall");
}

/// Runs weft_http_load, which lies beside this program, and reports what it prints.
void ask(const job& j, unsigned port) {
  const auto here = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  const std::string command = "'" + (here / "weft_http_load").string() + "' " +
                              std::to_string(port) + " " + std::to_string(requests);
  std::FILE* out = ::popen(command.c_str(), "re");
  double p50 = 0;
  double p99 = 0;
  double max = 0;
  const bool printed = out != nullptr && std::fscanf(out, "%lf %lf %lf", &p50, &p99, &max) == 3;
  const int rc = out != nullptr ? ::pclose(out) : -1;
  expect(j, printed && rc == 0, "weft_http_load was not answered as it should be");
  report(j, "p50", p50, "ms");
  report(j, "p99", p99, "ms");
  report(j, "max", max, "ms");
}

/// Has weft's HTTP server on a free port of loopback while `inside(port)` runs.
void beside_http_server(const job& j, const std::function<void(unsigned)>& inside) {
  const auto hello = [](const weft::http::request&, weft::http::response& r) {
    r.write("Hello, weft!\n");
  };
  weft::http::server server({.handler = hello, .grace = 1ms});
  auto listener = weft::net::listen("tcp4", "127.0.0.1:0");
  expect(j, listener.has_value(), "listen");
  const unsigned port = listener->addr().port();
  auto serving = weft::async([&] { return server.serve(std::move(*listener)); });
  inside(port);
  expect(j, server.shutdown(weft::background()).has_value(), "the end of the HTTP server");
  expect(j, serving.get().has_value(), "the HTTP server");
}

}  // namespace

// The ramp is the slowest of the rounds so far: later ones find the threads of the first.
void blocking_reads(const job& j) {
  static double slowest_ramp_ms = 0;
  beside_http_server(j, [&](unsigned port) {
    const quiet_pipes pipes(j);
    std::atomic<std::int64_t> arrived{0};
    std::atomic<std::int64_t> right{0};
    weft::wait_group readers;
    const stopwatch ramp;
    for (std::size_t i = 0; i < static_cast<std::size_t>(j.n); ++i) {
      readers.go([&, i] {
        arrived.fetch_add(1);
        if (pipes.read_byte(i)) right.fetch_add(1);
      });
    }
    weft::blocking([&] {
      await_readers(j, arrived, pipes);
      slowest_ramp_ms = std::max(slowest_ramp_ms, ramp.ns() / 1e6);
      report(j, "ramp", slowest_ramp_ms, "ms");
      ask(j, port);
      expect(j, pipes.in_read() == j.n, "a reader has left read(2) before its byte came");
      pipes.write_bytes(j);
    });
    readers.wait();
    expect(j, right == j.n, "bytes read");
  });
}

}  // namespace bench
