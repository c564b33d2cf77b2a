// SPDX-License-Identifier: Apache-2.0
// Runs a function in a child process and returns how it ended and what it wrote to standard error:
// for everything that is meant to end the process.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace weft_test {

struct child_result {
  int code = -1;   // exit code, or -1
  int signal = 0;  // terminating signal, or 0
  std::string error;
};

/// Forks; the child runs fn and exits with 0 if fn returns. Call before any runtime was started in
/// this process (gtest_discover_tests runs each test in a process of its own).
template <class F>
child_result run_child(F&& fn) {
  std::array<int, 2> pipe_fds{};
  if (::pipe(pipe_fds.data()) != 0) return {};
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(pipe_fds[1], STDERR_FILENO);
    ::close(pipe_fds[0]);
    ::close(pipe_fds[1]);
    fn();
    ::_exit(0);
  }
  ::close(pipe_fds[1]);
  child_result r;
  std::array<char, 4096> buffer{};
  for (ssize_t n = 0; (n = ::read(pipe_fds[0], buffer.data(), buffer.size())) > 0;) {
    r.error.append(buffer.data(), static_cast<std::size_t>(n));
  }
  ::close(pipe_fds[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (WIFEXITED(status)) r.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) r.signal = WTERMSIG(status);
  return r;
}

/// In a child: what must hold, or it ends with code 3.
inline void demand(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "not so: %s\n", what);
  ::_exit(3);
}

}  // namespace weft_test
