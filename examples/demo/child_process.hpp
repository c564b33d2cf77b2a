// SPDX-License-Identifier: Apache-2.0
// A child process with its standard output on a pipe. Waiting for its output or its end suspends
// only the fiber. Killed when dropped while it still runs.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

namespace demo {

class child_process {
 public:
  /// Throws std::system_error if it cannot be started.
  explicit child_process(const std::vector<std::string>& command) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) fail("pipe");
    ::posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    std::vector<char*> argv;
    for (const auto& word : command) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    const int error = ::posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    auto reader = weft::net::adopt(ends[0]);
    if (error != 0 || !reader) {
      if (!reader) ::close(ends[0]);
      throw std::system_error(error, std::generic_category(), command[0]);
    }
    output_ = std::move(*reader);
  }
  child_process(const child_process&) = delete;
  child_process& operator=(const child_process&) = delete;
  ~child_process() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    (void)wait();
  }

  [[nodiscard]] int pid() const noexcept { return pid_; }
  void signal(int number) const noexcept { ::kill(pid_, number); }

  /// The next line of output without its end; empty at the end of the stream.
  [[nodiscard]] std::string line() {
    for (;;) {
      const auto at = text_.find('\n');
      if (at != std::string::npos) {
        std::string l = text_.substr(0, at);
        text_.erase(0, at + 1);
        return l;
      }
      if (!more()) return std::exchange(text_, {});
    }
  }

  [[nodiscard]] std::string rest() {
    while (more()) {
    }
    return std::exchange(text_, {});
  }

  /// Exit code; 128 + n if signal n ended it.
  [[nodiscard]] int wait() {
    const int status = weft::blocking([pid = std::exchange(pid_, -1)] {
      int s = 0;
      while (::waitpid(pid, &s, 0) < 0 && errno == EINTR) {
      }
      return s;
    });
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  [[noreturn]] static void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
  }
  bool more() {
    char room[4096];
    const auto n = output_.read(std::span<char>(room));
    if (!n || *n == 0) return false;
    text_.append(room, *n);
    return true;
  }

  pid_t pid_ = -1;
  weft::net::conn output_;
  std::string text_;
};

}  // namespace demo
