// SPDX-License-Identifier: Apache-2.0
// The demonstration: starts httpd as a child, loads it from this process over 1,000 real TCP
// connections and compares every byte of every answer, lets wrk check the figures, ends the server
// under load, and compares the accounts of both processes before and after. Exit code 0 only if
// nothing failed and nothing leaked.
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include <weft/weft.hpp>

#include "demo/accounts.hpp"
#include "demo/child_process.hpp"
#include "demo/load.hpp"

namespace {

using namespace std::chrono_literals;

constexpr int clients = 1000;
constexpr auto load_time = 4s;
constexpr int shutdown_clients = 256;
constexpr auto grace = 1s;

int findings = 0;

/// Prints a line of the report; what is not as it should be is counted.
void report(const char* what, const std::string& value, bool good = true) {
  std::printf("  %-34s %s%s\n", what, value.c_str(), good ? "" : "   <-- WRONG");
  std::fflush(stdout);
  if (!good) ++findings;
}

std::string milliseconds(double ns) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f ms", ns / 1e6);
  return text;
}

/// httpd lies beside this program.
std::string httpd_path() {
  char self[4096];
  const auto n = ::readlink("/proc/self/exe", self, sizeof self - 1);
  const std::string path(self, n > 0 ? static_cast<std::size_t>(n) : 0);
  return path.substr(0, path.rfind('/') + 1) + "httpd";
}

/// What the server says about itself.
struct server_view {
  demo::accounts accounts;
  std::string text;

  [[nodiscard]] std::int64_t number(std::string_view name) const {
    const std::string key = "\"" + std::string(name) + "\": ";
    const auto at = text.find(key);
    return at == std::string::npos ? -1 : std::strtoll(text.c_str() + at + key.size(), nullptr, 10);
  }
};

/// GET /stats over a connection of its own, which each view therefore counts alike.
std::optional<server_view> ask(std::uint16_t port, int pid) {
  const auto c = weft::net::dial("tcp4", "127.0.0.1:" + std::to_string(port));
  if (!c) return std::nullopt;
  c->set_deadline(weft::clock::now() + 10s);
  if (!c->write_all(
          std::string_view("GET /stats HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))) {
    return std::nullopt;
  }
  server_view v;
  char room[4096];
  for (;;) {
    const auto n = c->read(std::span<char>(room));
    if (!n) return std::nullopt;
    if (*n == 0) break;
    v.text.append(room, *n);
  }
  v.accounts = {v.number("fibers"),   v.number("channels"),    v.number("timers"),
                v.number("contexts"), v.number("connections"), 0};
  v.accounts.descriptors = demo::count_descriptors(std::to_string(pid));
  return v;
}

/// Asks until the server is as it was, for two seconds at most: connections end a moment later.
std::optional<server_view> ask_settled(std::uint16_t port, int pid,
                                       const std::optional<server_view>& before) {
  std::optional<server_view> v;
  for (int i = 0; i < 100; ++i) {
    v = ask(port, pid);
    if (!v || !before || v->accounts == before->accounts) break;
    weft::sleep_for(20ms);
  }
  return v;
}

std::string states(const server_view& v) {
  const auto n = [&](const char* name) { return std::to_string(v.number(name)); };
  return n("http_idle") + " idle, " + n("http_reading") + " reading, " + n("http_handling") +
         " handling, " + n("http_closing") + " closing";
}

std::string fibers(const server_view& v) {
  const auto n = [&](const char* name) { return std::to_string(v.number(name)); };
  return n("fibers") + " (" + n("fibers_running") + " running, " + n("fibers_runnable") +
         " runnable, " + n("fibers_waiting") + " waiting)";
}

/// Requests a second.
double main_load(std::uint16_t port, int pid) {
  demo::load_result result;
  double rate = 0;
  {
    demo::load load(port, result);
    load.start(clients);
    const auto begun = weft::clock::now();
    const auto answers_before = result.answers.load();
    weft::sleep_for(load_time / 2);
    const auto half_way = ask(port, pid);
    weft::sleep_for(load_time / 2);
    const std::chrono::duration<double> took = weft::clock::now() - begun;
    rate = static_cast<double>(result.answers.load() - answers_before) / took.count();
    load.stop();
    report("requests/s", std::to_string(static_cast<std::uint64_t>(rate)), rate > 0);
    if (half_way) {
      report("server's connections under load", states(*half_way));
      report("server's fibers under load", fibers(*half_way),
             half_way->number("http_accepted") >= clients);
    }
  }
  report("answers, every byte compared", std::to_string(result.answers.load()));
  report("latency p50", milliseconds(result.latency.quantile(0.5)));
  report("latency p99", milliseconds(result.latency.quantile(0.99)));
  report("latency p99.9", milliseconds(result.latency.quantile(0.999)));
  report("failures", std::to_string(result.failures()), result.failures() == 0);
  return rate;
}

/// The same server measured by somebody else's program, if it is installed.
void wrk_check(std::uint16_t port) {
  if (std::system("command -v wrk >/dev/null 2>&1") != 0) {
    report("wrk", "not installed; not compared");
    return;
  }
  demo::child_process wrk({"wrk", "-c", "256", "-t", "2", "-d", "2", "--latency",
                           "http://127.0.0.1:" + std::to_string(port) + "/"});
  const std::string text = wrk.rest();
  const int code = wrk.wait();
  // The word after `key`; wrk's table of latencies comes after a line of that name.
  const auto table = text.find("Latency Distribution");
  const auto after = [&](std::string_view key, std::size_t from = 0) -> std::string {
    const auto at = text.find(key, from);
    if (at == std::string::npos) return {};
    const auto begin = text.find_first_not_of(" \t", at + key.size());
    if (begin == std::string::npos) return {};
    return text.substr(begin, text.find_first_of(" \n", begin) - begin);
  };
  const std::string rate = after("Requests/sec:");
  const bool good = code == 0 && !rate.empty() && text.find("Socket errors") == std::string::npos &&
                    text.find("Non-2xx") == std::string::npos;
  report("wrk -c 256: requests/s",
         rate + ", p50 " + after("50%", table) + ", p99 " + after("99%", table), good);
  if (!good) std::printf("%s\n", text.c_str());
}

/// SIGTERM in the middle of a load: every request of before the end of the grace is answered.
void shutdown_under_load(std::uint16_t port, demo::child_process& server) {
  demo::load_result result;
  demo::load load(port, result);
  load.start(shutdown_clients);
  weft::sleep_for(500ms);
  const auto before = result.answers.load();
  const auto told = weft::clock::now();
  load.server_ends(told + grace);
  server.signal(SIGTERM);
  const std::string last_words = server.rest();
  const int code = server.wait();
  const std::chrono::duration<double> took = weft::clock::now() - told;
  load.wait();
  report("answers before SIGTERM", std::to_string(before), before > 0);
  report("answers after it", std::to_string(result.answers.load() - before) + ", " +
                                 std::to_string(result.reconnects.load()) + " said close");
  report("requests dropped", std::to_string(result.failures()), result.failures() == 0);
  char text[64];
  std::snprintf(text, sizeof text, "%d, after %.2f s", code, took.count());
  report("server's exit code", text, code == 0);
  const auto line = last_words.substr(0, last_words.find('\n'));
  report("server's accounts, end - start", line, line == demo::accounts{}.to_text());
}

int demonstrate() {
  // What is started once and kept (the resolver's thread, epoll or rings) is there after this.
  const demo::accounts own_before = demo::accounts::now();
  {
    demo::child_process server({httpd_path(), "--port", "0", "--accounts"});
    const std::string first = server.line();
    const auto colon = first.rfind(':');
    const auto port = static_cast<std::uint16_t>(
        colon == std::string::npos ? 0 : std::strtoul(first.c_str() + colon + 1, nullptr, 10));
    if (port == 0) {
      std::fprintf(stderr, "demo: httpd did not start: '%s'\n", first.c_str());
      return 1;
    }
    std::printf("httpd, process %d: %s\n", server.pid(), first.c_str());
    {
      demo::load_result warm_up;
      demo::load load(port, warm_up);
      load.start(clients);
      weft::sleep_for(300ms);
    }
    weft::sleep_for(200ms);
    const auto server_before = ask(port, server.pid());

    std::printf("%d connections, %lld s:\n", clients, static_cast<long long>(load_time / 1s));
    (void)main_load(port, server.pid());
    wrk_check(port);
    const auto server_after = ask_settled(port, server.pid(), server_before);
    const bool seen = server_before && server_after;
    report("server's accounts, after - before",
           seen ? server_after->accounts.minus(server_before->accounts).to_text() : "no answer",
           seen && server_after->accounts == server_before->accounts);

    std::printf("SIGTERM under load, %d connections:\n", shutdown_clients);
    shutdown_under_load(port, server);
  }
  const demo::accounts own_after = demo::accounts::settled(own_before);
  report("this process, after - before", own_after.minus(own_before).to_text(),
         own_after == own_before);
  std::printf("%s\n", findings == 0 ? "all good" : "SOMETHING IS WRONG");
  return findings == 0 ? 0 : 1;
}

}  // namespace

int main() { return weft::run(demonstrate); }
