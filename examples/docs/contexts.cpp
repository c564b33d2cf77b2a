// SPDX-License-Identifier: Apache-2.0
// A request with an id, a step of it with a deadline, and an end with a reason.
#include <chrono>
#include <cstdio>
#include <string>
#include <system_error>

#include <weft/weft.hpp>

using namespace std::chrono_literals;

namespace {

struct request_id : weft::context_key<std::string> {};

// Whatever waits takes the context, and says so by its result.
weft::result<int> ask_backend(const weft::context& ctx) {
  weft::channel<int> answer;  // which never comes
  return answer.recv(ctx);
}

void report(const char* who, const weft::context& ctx) {
  std::printf("%s of %s: %s, because: %s\n", who, ctx.value<request_id>()->c_str(),
              ctx.err().message().c_str(), ctx.cause().message().c_str());
}

}  // namespace

int main() {
  return weft::run([] {
    auto [request, cancel] = weft::with_cancel(weft::background());
    const weft::context ctx = weft::with_value<request_id>(request, "r-17");

    weft::scoped_context step(ctx, 1ms);
    if (auto r = ask_backend(step); !r) report("step", step);
    std::printf("the request goes on: %s\n", ctx.err() ? "no" : "yes");

    weft::latch cleaned(1);
    auto cleanup = weft::after_func(ctx, [&] { cleaned.count_down(); });
    weft::fiber worker = weft::spawn([&] {
      if (auto r = ask_backend(ctx); !r) report("worker", ctx);
    });
    cancel(std::make_error_code(std::errc::connection_reset));
    worker.join();
    cleaned.wait();
    std::printf("cleanup prevented: %s\n", cleanup.stop() ? "yes" : "no");

    auto [late, cancel_late] = weft::with_timeout(ctx, 1h);
    std::printf("born cancelled: %s\n", late.err() == weft::errc::canceled ? "yes" : "no");
    const weft::context detached = weft::without_cancel(ctx);
    std::printf("detached %s: %s\n", detached.value<request_id>()->c_str(),
                detached.err() ? "done" : "goes on");
  });
}
