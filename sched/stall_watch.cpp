// SPDX-License-Identifier: Apache-2.0
#include "sched/stall_watch.hpp"

#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <mutex>

#include "runtime/backtrace.hpp"
#include "runtime/debug.hpp"
#include "runtime/ledger.hpp"
#include "runtime/os.hpp"
#include "sched/runtime_state.hpp"

namespace weft::inline v0::detail {
namespace {

constexpr std::int64_t answer_limit_ns = 100'000'000;

// What a thread says of itself. It runs the fiber, so it may read all of it.
struct answer {
  std::uint64_t id = 0;
  std::uint64_t parent_id = 0;
  const void* site = nullptr;
  frames stack;
};

// One question at a time, under `question`: `asked` is the M that is to answer. Whoever moves it to
// null owns `reply`: that M's signal handler, or the asker who has waited for long enough.
std::mutex question;
std::atomic<const machine*> asked{nullptr};
std::atomic<std::uint32_t> answered{0};
answer reply;
struct sigaction previous_action;

bool withdraw(const machine* m) noexcept {
  return asked.compare_exchange_strong(m, nullptr, std::memory_order_acq_rel);
}

void answer_with(const machine* m, const ucontext_t* context) noexcept {
#if defined(__x86_64__)
  const auto pc = static_cast<std::uintptr_t>(context->uc_mcontext.gregs[REG_RIP]);
  const auto fp = static_cast<std::uintptr_t>(context->uc_mcontext.gregs[REG_RBP]);
#else
  const auto pc = static_cast<std::uintptr_t>(context->uc_mcontext.pc);
  const auto fp = static_cast<std::uintptr_t>(context->uc_mcontext.regs[29]);
#endif
  const fiber_core* g = m->current;
  reply.id = g->id;
  reply.parent_id = g->parent_id;
  reply.site = g->site;
  walk_from(g, pc, fp, &reply.stack);
  answered.store(1, std::memory_order_release);
  os::futex_wake(&answered);
}

void on_signal(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  const machine* m = machine_here();
  if (m != nullptr && withdraw(m)) {
    answer_with(m, static_cast<const ucontext_t*>(context));
  } else if ((previous_action.sa_flags & SA_SIGINFO) != 0) {
    previous_action.sa_sigaction(signal, info, context);
  } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(signal);
  }
  errno = saved;
}

// Fills `reply`. False: m did not answer in time.
bool ask(const machine* m) noexcept {
  answered.store(0, std::memory_order_relaxed);
  asked.store(m, std::memory_order_release);
  const std::int64_t end = now_ns() + answer_limit_ns;
  const int tid = m->tid.load(std::memory_order_relaxed);
  if (::syscall(SYS_tgkill, ::getpid(), tid, SIGURG) == 0) {
    while (answered.load(std::memory_order_acquire) == 0 && now_ns() < end) {
      os::futex_wait(&answered, 0, end);
    }
  }
  if (withdraw(m)) return false;
  // It has taken the question: the answer is about to come.
  while (answered.load(std::memory_order_acquire) == 0) os::futex_wait(&answered, 0);
  return true;
}

void report(const machine* m, std::int64_t lasted) noexcept {
  const char* how = thread_sleeps(m) ? "blocked" : "busy";
  const auto ms = static_cast<long long>(lasted / 1'000'000);
  const std::lock_guard<std::mutex> one(question);
  if (!ask(m)) {
    log_format("weft: stall: a fiber keeps thread %u %s for %lld ms; it does not take a signal",
               m->id, how, ms);
    return;
  }
  if (reply.id == 0) return;  // the scheduler loop: it is over
  log_format("weft: stall: fiber %llu keeps thread %u %s for %lld ms",
             static_cast<unsigned long long>(reply.id), m->id, how, ms);
  log_frames(reply.stack);
  const site_text site = describe_site(reply.site);
  log_format("  created by %s in fiber %llu at %s:%u", site.function,
             static_cast<unsigned long long>(reply.parent_id), site.file, site.line);
}

const processor* processor_of(const runtime_state* rt, const machine* m) noexcept {
  for (const processor* p : rt->procs) {
    const std::uint64_t owner = p->owner.load(std::memory_order_relaxed);
    if (owner > owner_flags && machine_id_of(owner) == m->id) return p;
  }
  return nullptr;
}

}  // namespace

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
    action.sa_sigaction = &on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(SIGURG, &action, &previous_action);
  });
}

void stall_watch::look_at(const runtime_state* rt, machine* m, std::int64_t now) noexcept {
  const fiber_core* g = m->current;
  const processor* p = processor_of(rt, m);
  // (Without a P it cannot go on to another fiber.)
  const stall_mark seen{g, p == nullptr ? m->stall.ticks : p->ticks()};
  if (g == nullptr || g == &m->g0 || !(seen == m->stall) ||
      m->announced.load(std::memory_order_relaxed)) {
    m->stall = seen;
    m->stall_since = now;
    m->stall_reported = false;
    return;
  }
  if (m->stall_reported || now - m->stall_since < limit_) return;
  m->stall_reported = true;
  report(m, now - m->stall_since);
}

void stall_watch::look(runtime_state* rt, std::int64_t now) noexcept {
  if (!on()) return;
  // Ms are added in front and stay until sysmon has ended: the lock is for the head only. (A log
  // sink may wait for a lock whose owner wants to start an M.)
  rt->machines_lock.lock();
  machine* m = rt->all_machines;
  rt->machines_lock.unlock();
  for (; m != nullptr; m = m->all_next) look_at(rt, m, now);
}

}  // namespace weft::inline v0::detail
