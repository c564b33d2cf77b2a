// SPDX-License-Identifier: Apache-2.0
// A small HTTP server: what a service written with weft looks like. Try it:
//   httpd --port 8080 &
//   curl -v http://127.0.0.1:8080/
//   curl -d 'hello' http://127.0.0.1:8080/echo
//   curl http://127.0.0.1:8080/stats
// SIGTERM or SIGINT ends it gracefully.
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>

#include <weft/http.hpp>
#include <weft/weft.hpp>

#include "demo/accounts.hpp"

namespace {

using weft::http::request;
using weft::http::response;

struct settings {
  std::uint64_t port = 8080;
  std::uint64_t procs = 0;
  std::uint64_t grace_ms = 1000;
  std::uint64_t patience_s = 30;
  bool print_accounts = false;
};

constexpr const char* usage =
    "usage: httpd [--port N] [--procs N] [--grace MS] [--patience S] [--accounts]\n"
    "  --port N      listen on 127.0.0.1:N, 0 for any free port (8080)\n"
    "  --procs N     run fibers on N cores at once (all that are allowed)\n"
    "  --grace MS    go on serving for this long after SIGTERM (1000)\n"
    "  --patience S  cut off what has not ended by then (30)\n"
    "  --accounts    print at the end what is left alive; exit code 3 if that is anything\n";

/// Reads "--name N" at argv[i]; false if it is not there or no number.
bool number_option(int argc, char** argv, int& i, std::string_view name, std::uint64_t& out) {
  if (argv[i] != name || i + 1 >= argc) return false;
  const char* const text = argv[++i];
  const char* const end = text + std::strlen(text);
  const auto r = std::from_chars(text, end, out);
  return r.ec == std::errc{} && r.ptr == end;
}

bool parse(int argc, char** argv, settings& s) {
  for (int i = 1; i < argc; ++i) {
    const bool known = number_option(argc, argv, i, "--port", s.port) ||
                       number_option(argc, argv, i, "--procs", s.procs) ||
                       number_option(argc, argv, i, "--grace", s.grace_ms) ||
                       number_option(argc, argv, i, "--patience", s.patience_s);
    if (known) continue;
    if (std::string_view(argv[i]) != "--accounts") return false;
    s.print_accounts = true;
  }
  return s.port <= 65535 && s.procs <= 4096;
}

void hello(const request&, response& r) { r.write("Hello, weft!\n"); }

void echo(const request& q, response& r) {
  if (const auto type = q.headers.get("Content-Type")) r.set_header("Content-Type", *type);
  r.content_length(q.body.size()).write(q.body);
}

/// Adds the decimal numbers in the body.
void sum(const request& q, response& r) {
  std::int64_t total = 0;
  const char* p = q.body.data();
  const char* const end = p + q.body.size();
  while (p != end) {
    if (std::strchr(" \t\r\n,+", *p) != nullptr) {
      ++p;
      continue;
    }
    std::int64_t n = 0;
    const auto parsed = std::from_chars(p, end, n);
    if (parsed.ec != std::errc{} || __builtin_add_overflow(total, n, &total)) {
      r.text(400, "numbers, please\n");
      return;
    }
    p = parsed.ptr;
  }
  r.text(200, std::to_string(total) + "\n");
}

/// A body that comes over time: one line every 100 ms.
void ticks(const request& q, response& r) {
  using namespace std::chrono_literals;
  r.set_header("Content-Type", "text/plain; charset=utf-8");
  for (int i = 0; i < 10 && !r.failed(); ++i) {
    r.write("tick " + std::to_string(i) + "\n");
    if (!r.flush() || !weft::sleep_for(q.ctx(), 100ms)) return;
  }
}

/// Answers after the given number of milliseconds: GET /sleep?50
void sleep_a_while(const request& q, response& r) {
  std::uint32_t ms = 0;
  const auto text = q.query();
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), ms);
  if (parsed.ec != std::errc{} || ms > 60'000) {
    r.text(400, "GET /sleep?<milliseconds up to 60000>\n");
    return;
  }
  if (!weft::sleep_for(q.ctx(), std::chrono::milliseconds(ms))) {
    r.text(503, "the server is ending\n");
    return;
  }
  r.text(200, "good morning\n");
}

/// What is alive in this process, flat JSON.
std::string stats_json(const weft::http::server_stats& http) {
  const demo::accounts a = demo::accounts::now();
  const weft::runtime_stats s = weft::stats();
  std::string out;
  const auto add = [&out](const char* name, std::int64_t value) {
    out.append(out.empty() ? "{\n  \"" : ",\n  \"").append(name).append("\": ");
    out.append(std::to_string(value));
  };
  add("fibers", a.fibers);
  add("fibers_running", s.running);
  add("fibers_runnable", s.runnable);
  add("fibers_waiting", s.waiting);
  add("channels", a.channels);
  add("timers", a.timers);
  add("contexts", a.contexts);
  add("connections", a.connections);
  add("fds", a.descriptors);
  add("threads", s.threads);
  add("procs", s.procs);
  add("http_idle", static_cast<std::int64_t>(http.idle));
  add("http_reading", static_cast<std::int64_t>(http.reading));
  add("http_handling", static_cast<std::int64_t>(http.handling));
  add("http_closing", static_cast<std::int64_t>(http.closing));
  add("http_accepted", static_cast<std::int64_t>(http.accepted));
  add("http_requests", static_cast<std::int64_t>(http.requests));
  add("http_refused", static_cast<std::int64_t>(http.refused));
  return out + "\n}\n";
}

int serve(const settings& s) {
  const demo::accounts before = demo::accounts::now();
  int code = 0;
  {
    weft::http::server* running = nullptr;
    weft::http::mux m;
    m.handle("GET /", hello);
    m.handle("POST /echo", echo);
    m.handle("POST /sum", sum);
    m.handle("GET /ticks", ticks);
    m.handle("GET /sleep", sleep_a_while);
    m.handle("GET /stats", [&running](const request&, response& r) {
      r.set_header("Content-Type", "application/json");
      r.write(stats_json(running->stats()));
    });
    weft::http::server server({.handler = m, .grace = std::chrono::milliseconds(s.grace_ms)});
    running = &server;

    auto listener = weft::net::listen("tcp", "127.0.0.1:" + std::to_string(s.port));
    if (!listener) {
      std::fprintf(stderr, "httpd: cannot listen: %s\n", listener.error().message().c_str());
      return 1;
    }
    std::printf("listening on http://127.0.0.1:%u/\n", unsigned{listener->addr().port()});
    std::fflush(stdout);

    const auto told = weft::signal_context(weft::background(), {SIGINT, SIGTERM});
    auto serving = weft::async([&] { return server.serve(std::move(*listener)); });
    (void)told.ctx.done().recv();
    auto [patience, cancel] =
        weft::with_timeout(weft::background(), std::chrono::seconds(s.patience_s));
    const auto ended = server.shutdown(patience);
    const auto served = serving.get();
    if (!ended || !served) {
      std::fprintf(stderr, "httpd: %s\n", (ended ? served : ended).error().message().c_str());
      code = 1;
    }
  }
  if (s.print_accounts) {
    const demo::accounts left = demo::accounts::settled(before);
    std::printf("%s\n", left.minus(before).to_text().c_str());
    if (code == 0 && !(left == before)) code = 3;
  }
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  settings s;
  if (!parse(argc, argv, s)) {
    std::fputs(usage, stderr);
    return 2;
  }
  return weft::run(weft::options{.procs = static_cast<int>(s.procs)}, [&] { return serve(s); });
}
