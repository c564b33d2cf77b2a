// SPDX-License-Identifier: Apache-2.0
#include "runtime/backtrace.hpp"

#include <cxxabi.h>
#include <dlfcn.h>
#include <unwind.h>

#include <cstdlib>
#include <cstring>

#include <weft/detail/park.hpp>
#include "runtime/debug.hpp"
#include "runtime/ledger.hpp"

namespace weft::inline v0::detail {
namespace {

bool on_stack(const fiber_core* g, std::uintptr_t address) noexcept {
  const auto lo = reinterpret_cast<std::uintptr_t>(g->stack_lo);
  return address >= lo && address + 2 * sizeof(void*) <= lo + g->stack_size() &&
         address % sizeof(void*) == 0;
}

// A return address as the stack holds it: on aarch64 it is signed where code was compiled so
// (-mbranch-protection). The instruction is a nop on cores that do not sign.
std::uintptr_t without_signature(std::uintptr_t return_address) noexcept {
#if defined(__aarch64__)
  register std::uintptr_t x30 asm("x30") = return_address;
  asm("hint #7" : "+r"(x30));  // xpaclri
  return x30;
#else
  return return_address;
#endif
}

const char* base_name(const char* path) noexcept {
  const char* slash = std::strrchr(path, '/');
  return slash == nullptr ? path : slash + 1;
}

void print_name(const char* mangled, bool demangle) noexcept {
  if (demangle) {
    int status = 0;
    char* readable = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
    if (readable != nullptr) {
      write_error(readable);
      std::free(readable);
      return;
    }
  }
  write_error(mangled);
}

// A waiting fiber says what for.
const char* state_name(const fiber_core* g) noexcept {
  const fiber_state s = g->state.load(std::memory_order_relaxed);
  return s == fiber_state::waiting ? to_string(g->reason) : to_string(s);
}

}  // namespace

// Reads raw stack memory; sanitizers would see redzones there.
WEFT_NO_SANITIZE void walk_from(const fiber_core* g, std::uintptr_t pc, std::uintptr_t fp,
                                frames* out) noexcept {
  out->count = 0;
  out->pc[out->count++] = pc;
  while (out->count < frames::max && on_stack(g, fp)) {
    const auto* record = reinterpret_cast<const std::uintptr_t*>(fp);
    const std::uintptr_t next = record[0];
    const std::uintptr_t return_address = without_signature(record[1]);
    if (return_address == 0) break;
    out->pc[out->count++] = return_address - 1;  // inside the call, for symbol and line
    if (next <= fp) break;
    fp = next;
  }
}

void walk_parked(const fiber_core* g, frames* out) noexcept {
  out->count = 0;
  if (g->stack_lo == nullptr) return;  // has not run yet
  walk_from(g, reinterpret_cast<std::uintptr_t>(g->frame.pc),
            reinterpret_cast<std::uintptr_t>(g->frame.fp), out);
}

void walk_self(frames* out) noexcept {
  out->count = 0;
  _Unwind_Backtrace(
      [](_Unwind_Context* context, void* arg) -> _Unwind_Reason_Code {
        auto* f = static_cast<frames*>(arg);
        const std::uintptr_t ip = _Unwind_GetIP(context);
        if (ip == 0 || f->count == frames::max) return _URC_END_OF_STACK;
        f->pc[f->count++] = ip - 1;
        return _URC_NO_REASON;
      },
      out);
}

namespace {

struct code_place {
  const char* symbol;  // mangled
  const char* module;
  std::size_t offset;  // in the module, so that addr2line -e finds the line off-line
};

code_place place_of(std::uintptr_t pc) noexcept {
  Dl_info info{};
  if (::dladdr(reinterpret_cast<void*>(pc), &info) == 0) return {nullptr, "?", pc};
  return {info.dli_sname, info.dli_fname != nullptr ? base_name(info.dli_fname) : "?",
          pc - reinterpret_cast<std::uintptr_t>(info.dli_fbase)};
}

}  // namespace

void print_frames(const frames& f, bool demangle) noexcept {
  for (std::size_t i = 0; i < f.count; ++i) {
    const code_place at = place_of(f.pc[i]);
    if (at.symbol != nullptr) {
      print_name(at.symbol, demangle);
    } else {
      write_error("??");
    }
    write_error("(...)\n\t");
    write_error(at.module);
    write_error(" +");
    write_error_hex(at.offset);
    write_error("\n");
  }
}

void log_frames(const frames& f) noexcept {
  for (std::size_t i = 0; i < f.count; ++i) {
    const code_place at = place_of(f.pc[i]);
    const char* symbol = at.symbol != nullptr ? at.symbol : "??";
    int status = 0;
    char* readable = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
    log_format("  %s +0x%zx", at.module, at.offset);
    log_format("    %s", readable != nullptr ? readable : symbol);
    std::free(readable);
  }
}

void print_fiber(fiber_core* g, bool is_self, bool demangle) noexcept {
  write_error("fiber ");
  write_error_u64(g->id);
  write_error(" [");
  write_error(is_self ? "running" : state_name(g));
  write_error("]:\n");
  frames f;
  if (is_self) {
    walk_self(&f);
  } else {
    walk_parked(g, &f);
  }
  print_frames(f, demangle);
  const site_text site = describe_site(g->site);
  write_error("created by ");
  write_error(site.function);
  write_error(" in fiber ");
  write_error_u64(g->parent_id);
  write_error("\n\t");
  write_error(site.file);
  write_error(":");
  write_error_u64(site.line);
  write_error("\n");
}

const char* to_string(fiber_state s) noexcept {
  switch (s) {
    case fiber_state::dead:
      return "dead";
    case fiber_state::fresh:
    case fiber_state::runnable:
      return "runnable";
    case fiber_state::running:
      return "running";
    case fiber_state::waiting:
      return "waiting";
    case fiber_state::abandoned:
      return "abandoned";
  }
  return "?";
}

const char* to_string(wait_reason r) noexcept {
  switch (r) {
    case wait_reason::none:
      return "waiting";
    case wait_reason::chan_receive:
      return "chan receive";
    case wait_reason::chan_send:
      return "chan send";
    case wait_reason::chan_receive_nil:
      return "chan receive (nil chan)";
    case wait_reason::chan_send_nil:
      return "chan send (nil chan)";
    case wait_reason::select:
      return "select";
    case wait_reason::select_no_cases:
      return "select (no cases)";
    case wait_reason::sleep:
      return "sleep";
    case wait_reason::io_wait:
      return "IO wait";
    case wait_reason::mutex_lock:
      return "sync.Mutex.Lock";
    case wait_reason::rwmutex_rlock:
      return "sync.RWMutex.RLock";
    case wait_reason::rwmutex_lock:
      return "sync.RWMutex.Lock";
    case wait_reason::cond_wait:
      return "sync.Cond.Wait";
    case wait_reason::semacquire:
      return "semacquire";
    case wait_reason::wait_group:
      return "sync.WaitGroup.Wait";
    case wait_reason::join:
      return "join";
    case wait_reason::context_done:
      return "context done";
    case wait_reason::once:
      return "sync.Once.Do";
    case wait_reason::blocking:
      return "syscall";
    case wait_reason::yield:
      return "yield";
  }
  return "?";
}

}  // namespace weft::inline v0::detail
