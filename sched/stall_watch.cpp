// SPDX-License-Identifier: Apache-2.0
#include "sched/stall_watch.hpp"

#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <cstdlib>
#include <cstring>
#include <mutex>

#include "runtime/backtrace.hpp"
#include "runtime/debug.hpp"
#include "runtime/ledger.hpp"
#include "runtime/os.hpp"
#include "sched/runtime_state.hpp"

namespace weft::inline v0::detail {
namespace {

constexpr std::int64_t answer_limit_ns = 100'000'000;

// One question at a time: `asked` is where the thread that gets the signal puts its frames.
std::mutex question;
std::atomic<frames*> asked{nullptr};
std::atomic<std::uint32_t> answered{0};

void on_question(int /*signal*/, siginfo_t* /*info*/, void* context) {
  const int saved = errno;
  frames* out = asked.exchange(nullptr, std::memory_order_acquire);
  if (out == nullptr) return;  // too late, or somebody else's SIGURG
  const machine* m = machine_here();
  const auto* registers = &static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  const auto pc = static_cast<std::uintptr_t>(registers->gregs[REG_RIP]);
  const auto fp = static_cast<std::uintptr_t>(registers->gregs[REG_RBP]);
#else
  const auto pc = static_cast<std::uintptr_t>(registers->pc);
  const auto fp = static_cast<std::uintptr_t>(registers->regs[29]);
#endif
  out->count = 0;
  if (m != nullptr) walk_from(m->current, pc, fp, out);
  answered.store(1, std::memory_order_release);
  os::futex_wake(&answered);
  errno = saved;
}

// The frames of what m runs right now. False: it did not answer in time.
bool ask(const machine* m, frames* out) noexcept {
  const std::lock_guard<std::mutex> one(question);
  answered.store(0, std::memory_order_relaxed);
  asked.store(out, std::memory_order_release);
  const std::int64_t end = now_ns() + answer_limit_ns;
  const int tid = m->tid.load(std::memory_order_relaxed);
  if (::syscall(SYS_tgkill, ::getpid(), tid, SIGURG) == 0) {
    while (answered.load(std::memory_order_acquire) == 0 && now_ns() < end) {
      os::futex_wait(&answered, 0, end);
    }
  }
  if (asked.exchange(nullptr, std::memory_order_acq_rel) != nullptr) return false;
  // It has taken the question: the answer is about to come.
  while (answered.load(std::memory_order_acquire) == 0) os::futex_wait(&answered, 0);
  return true;
}

void report(const machine* m, const fiber_core* g, std::int64_t lasted) noexcept {
  log_format("weft: stall: fiber %llu keeps thread %u %s for %lld ms",
             static_cast<unsigned long long>(g->id), m->id,
             thread_sleeps(m) ? "blocked" : "busy", static_cast<long long>(lasted / 1'000'000));
  frames f;
  if (ask(m, &f)) {
    log_frames(f);
  } else {
    log_line("  (the thread does not answer a signal)");
  }
  const site_text site = describe_site(g->site);
  log_format("  created by %s in fiber %llu at %s:%u", site.function,
             static_cast<unsigned long long>(g->parent_id), site.file, site.line);
}

const processor* processor_of(const runtime_state* rt, const machine* m) noexcept {
  for (const processor* p : rt->procs) {
    const std::uint64_t owner = p->owner.load(std::memory_order_relaxed);
    if (owner > owner_flags && machine_id_of(owner) == m->id) return p;
  }
  return nullptr;
}

}  // namespace

std::int64_t parse_duration_ns(const char* text) noexcept {
  char* unit = nullptr;
  const long long n = std::strtoll(text, &unit, 10);
  if (unit == text || n < 0) return -1;
  struct {
    const char* name;
    std::int64_t ns;
  } constexpr units[] = {{"", 1'000'000}, {"ns", 1}, {"us", 1'000}, {"ms", 1'000'000},
                         {"s", 1'000'000'000}};
  for (const auto& u : units) {
    std::int64_t ns = 0;
    if (std::strcmp(unit, u.name) != 0) continue;
    return __builtin_mul_overflow(static_cast<std::int64_t>(n), u.ns, &ns) ? -1 : ns;
  }
  return -1;
}

stall_watch::stall_watch() noexcept {
  const char* text = debug_option("stalls");
  if (text == nullptr) return;
  limit_ = parse_duration_ns(text);
  if (limit_ <= 0) {
    log_format("weft: WEFT_DEBUG=stalls=%s: not a time (10ms, 500us, 2s); not watching", text);
    return;
  }
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action{};
    action.sa_sigaction = &on_question;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(SIGURG, &action, nullptr);
  });
}

void stall_watch::look_at(const runtime_state* rt, machine* m, std::int64_t now) noexcept {
  const fiber_core* g = m->current;
  const processor* p = processor_of(rt, m);
  const stall_mark seen{g, g == nullptr ? 0 : g->id, p == nullptr ? 0 : p->ticks()};
  if (g == nullptr || g == &m->g0 || !(seen == m->stall)) {
    m->stall = seen;
    m->stall_since = now;
    m->stall_reported = false;
    return;
  }
  if (m->stall_reported || now - m->stall_since < limit_) return;
  m->stall_reported = true;
  report(m, g, now - m->stall_since);
}

void stall_watch::look(runtime_state* rt, std::int64_t now) noexcept {
  if (!on()) return;
  const std::lock_guard<std::mutex> all(rt->machines_lock);
  for (machine* m = rt->all_machines; m != nullptr; m = m->all_next) look_at(rt, m, now);
}

}  // namespace weft::inline v0::detail
