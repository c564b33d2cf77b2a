// SPDX-License-Identifier: Apache-2.0
// The weft peer of the comparison: the table of its workloads and the entry into the runtime.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <weft/weft.hpp>

#include "compare/weft_workloads.hpp"
#include "echo/weft_server.hpp"

namespace {

constexpr std::array workloads{
    bench::workload{"yield", bench::yield},
    bench::workload{"spawn_join", bench::spawn_join},
    bench::workload{"spawn_outstanding", bench::spawn_outstanding},
    bench::workload{"fib", bench::fib_fork_join},
    bench::workload{"skynet", bench::skynet},
    bench::workload{"sleepers", bench::sleepers},
    bench::workload{"hogs", bench::hogs},
    bench::workload{"parked", bench::parked},
    bench::workload{"idle", bench::idle},
#if WEFT_HTTP
    bench::workload{"blocking_reads", bench::blocking_reads},
#endif
    bench::workload{"ping_pong", bench::ping_pong},
    bench::workload{"buffered", bench::buffered},
    bench::workload{"threads_buffered", bench::threads_buffered},
    bench::workload{"mpmc", bench::mpmc},
    bench::workload{"ring", bench::ring},
    bench::workload{"sieve", bench::sieve},
    bench::workload{"select4", bench::select4},
    bench::workload{"select_ready", bench::select_ready},
    bench::workload{"select_empty", bench::select_empty},
    bench::workload{"mutex", bench::mutex_contended},
    bench::workload{"mutex_alone", bench::mutex_alone},
    bench::workload{"pool", bench::pool_get_put},
    bench::workload{"ctx_cancel", bench::ctx_cancel},
    bench::workload{"ctx_cancel_child", bench::ctx_cancel_child},
    bench::workload{"ctx_timeout", bench::ctx_timeout},
    bench::workload{"ctx_tree", bench::ctx_tree},
    bench::workload{"after_func", bench::after_func},
};

void enter(int procs, const std::function<void()>& inside) {
  if (const int rc = weft::run(weft::options{.procs = procs}, [&] { inside(); }); rc != 0) {
    std::exit(rc);
  }
}

/// Serves until the process is killed; says first where.
int serve_echo() {
  const auto listener = weft::net::listen("tcp4", "127.0.0.1:0");
  if (!listener) {
    std::fprintf(stderr, "listen: %s\n", listener.error().message().c_str());
    return 1;
  }
  std::printf("port %d\n", listener->addr().port());
  std::fflush(stdout);
  bench::serve_echo(*listener);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::string_view(argv[1]) == "echo_server") {
    const int procs = std::atoi(argv[2]);
    return weft::run(weft::options{.procs = procs}, [] { return serve_echo(); });
  }
  return bench::run_peer(argc, argv, workloads, enter);
}
