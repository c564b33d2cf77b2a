// SPDX-License-Identifier: Apache-2.0
#include "runtime/signals.hpp"

#include <cxxabi.h>
#include <signal.h>
#include <sys/resource.h>

#include <cstdlib>
#include <exception>
#include <mutex>
#include <typeinfo>

#include <weft/detail/fatal.hpp>
#include "runtime/asymmetric_barrier.hpp"
#include "runtime/backtrace.hpp"
#include "runtime/debug.hpp"
#include "runtime/ledger.hpp"
#include "runtime/os.hpp"
#include "runtime/stack_pool.hpp"
#include "runtime/stack_watch.hpp"

namespace weft::inline v0::detail {

fiber_core* (*running_fiber)() noexcept = nullptr;
std::atomic<panic_observer> on_panic{nullptr};

namespace {

constexpr std::size_t signal_stack_bytes = 64U << 10;
struct sigaction previous_segv{};
struct sigaction previous_bus{};
std::terminate_handler previous_terminate = nullptr;

[[noreturn]] void end_process() noexcept {
  if (debug_option("abort") != nullptr) std::abort();
  ::_exit(2);
}

// found: how, in brackets.
void report_overflow(const fiber_core* g, const stack_memory& stack, const char* found) noexcept {
  write_error("fatal error: stack overflow");
  write_error(found);
  write_error("\n\nfiber ");
  write_error_u64(g == nullptr ? 0 : g->id);
  write_error(" overflowed its stack of ");
  write_error_u64(stack.size >> 10);
  write_error(" KiB (fiber_options.stack_size)\n");
  if (g == nullptr) return;
  const site_text site = describe_site(g->site);
  write_error("created by ");
  write_error(site.function);
  write_error("\n\t");
  write_error(site.file);
  write_error(":");
  write_error_u64(site.line);
  write_error("\n");
}

void on_fault(int signal, siginfo_t* info, void* context) {
  stack_memory stack;
  if (is_stack_guard(info->si_addr, &stack)) {
    report_overflow(running_fiber == nullptr ? nullptr : running_fiber(), stack, "");
    if (debug_option("abort") == nullptr) ::_exit(2);
  }
  // Not ours (or a core was asked for): let the previous owner have it, then the default action
  // with the fault in place.
  const struct sigaction& previous = signal == SIGSEGV ? previous_segv : previous_bus;
  if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr) {
    previous.sa_sigaction(signal, info, context);
    return;
  }
  if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signal);
    return;
  }
  ::signal(signal, SIG_DFL);
}

const char* current_exception_text(std::exception_ptr& keep) noexcept {
  keep = std::current_exception();
  if (!keep) return nullptr;
  try {
    std::rethrow_exception(keep);
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "";
  }
}

// An exception that leaves a fiber, or a noexcept function in one, ends here with the throwing
// frames still on the stack.
[[noreturn]] void on_terminate() {
  fiber_core* g = running_fiber == nullptr ? nullptr : running_fiber();
  if (g == nullptr) {
    if (previous_terminate != nullptr) previous_terminate();
    std::abort();
  }
  std::exception_ptr exception;
  const std::type_info* type = abi::__cxa_current_exception_type();
  const char* what = current_exception_text(exception);
  if (auto* observe = on_panic.load(std::memory_order_relaxed)) {
    observe(g, what == nullptr ? "terminate called" : what);
  }
  write_error("panic: ");
  if (type != nullptr) {
    int status = 0;
    char* name = abi::__cxa_demangle(type->name(), nullptr, nullptr, &status);
    write_error(name != nullptr ? name : type->name());
    write_error(what != nullptr && *what != '\0' ? ": " : "");
    write_error(what == nullptr ? "" : what);
  } else {
    write_error("std::terminate called without an exception");
  }
  write_error("\n\n");
  print_fiber(g, true, true);
  end_process();
}

void install_fault_handler(int signal, struct sigaction* previous) noexcept {
  struct sigaction action{};
  action.sa_sigaction = &on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(signal, &action, previous);
}

void raise_descriptor_limit() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
}

void ignore_sigpipe() noexcept {
  struct sigaction current{};
  // A handler of the user's stays.
  if (::sigaction(SIGPIPE, nullptr, &current) == 0 && current.sa_handler == SIG_DFL) {
    ::signal(SIGPIPE, SIG_IGN);
  }
}

}  // namespace

void process_init() noexcept {
  static std::once_flag once;
  std::call_once(once, [] {
    asymmetric_barrier_init();
    stack_watch_init();
    install_fault_handler(SIGSEGV, &previous_segv);
    install_fault_handler(SIGBUS, &previous_bus);
    previous_terminate = std::set_terminate(&on_terminate);
    raise_descriptor_limit();
    ignore_sigpipe();
  });
}

void install_signal_stack() noexcept {
  stack_t current{};
  if (::sigaltstack(nullptr, &current) == 0 && (current.ss_flags & SS_DISABLE) == 0) return;
  void* memory = os::map_anonymous(signal_stack_bytes);
  if (memory == nullptr) return;  // an overflow then ends in a plain SIGSEGV
  stack_t mine{};
  mine.ss_sp = memory;
  mine.ss_size = signal_stack_bytes;
  if (::sigaltstack(&mine, nullptr) != 0) ::munmap(memory, signal_stack_bytes);
}

void remove_signal_stack() noexcept {
  stack_t current{};
  if (::sigaltstack(nullptr, &current) != 0 || (current.ss_flags & SS_DISABLE) != 0) return;
  if (current.ss_size != signal_stack_bytes) return;  // a sanitizer's
  stack_t off{};
  off.ss_flags = SS_DISABLE;
  if (::sigaltstack(&off, nullptr) == 0) ::munmap(current.ss_sp, signal_stack_bytes);
}

void end_by_overflow(const stack_memory& stack) noexcept {
  report_overflow(running_fiber == nullptr ? nullptr : running_fiber(), stack,
                  " (found by its canary: no guard pages)");
  end_process();
}

void fatal(const char* message) noexcept {
  write_error("fatal error: ");
  write_error(message);
  write_error("\n");
  if (fiber_core* g = running_fiber == nullptr ? nullptr : running_fiber()) {
    write_error("\n");
    print_fiber(g, true, false);
  }
  end_process();
}

}  // namespace weft::inline v0::detail
