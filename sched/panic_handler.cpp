// SPDX-License-Identifier: Apache-2.0
// The process's panic handler. It may be replaced while fibers panic, also by itself: whoever calls
// it holds a reference of its own, and no lock meanwhile. The last one to let go destroys it.
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include <weft/fiber.hpp>
#include "runtime/signals.hpp"

namespace weft::inline v0 {
namespace detail {
namespace {

using panic_handler = std::function<void(const panic_info&)>;

struct handler_slot {
  std::mutex mutex;  // held to copy or to swap the pointer only
  std::shared_ptr<const panic_handler> handler;
};

handler_slot& the_slot() noexcept {
  static auto* slot = new handler_slot;  // outlives static destruction: fibers may still panic
  return *slot;
}

std::shared_ptr<const panic_handler> current_handler() noexcept {
  handler_slot& slot = the_slot();
  const std::lock_guard<std::mutex> guard(slot.mutex);
  return slot.handler;
}

void observe_panic(fiber_core* g, const char* what) {
  const auto handler = current_handler();
  if (handler == nullptr) return;
  try {
    (*handler)({.fiber_id = g->id, .what = what, .exception = std::current_exception()});
  } catch (...) {
    // We are inside std::terminate: it would abort without the report of the panic.
  }
}

}  // namespace

bool report_caught(const std::exception_ptr& e) noexcept {
  const auto handler = current_handler();
  if (handler == nullptr) return false;
  try {
    std::rethrow_exception(e);
  } catch (const std::exception& caught) {
    (*handler)(
        {.fiber_id = this_fiber::id(), .what = caught.what(), .exception = e, .fatal = false});
  } catch (...) {
    (*handler)({.fiber_id = this_fiber::id(), .what = "", .exception = e, .fatal = false});
  }
  return true;
}

}  // namespace detail

void set_panic_handler(std::function<void(const panic_info&)> handler) {
  std::shared_ptr<const detail::panic_handler> other;
  if (handler) other = std::make_shared<const detail::panic_handler>(std::move(handler));
  detail::handler_slot& slot = detail::the_slot();
  {
    const std::lock_guard<std::mutex> guard(slot.mutex);
    slot.handler.swap(other);
  }
  // relaxed: the function was always there, and what it looks at has a lock.
  detail::on_panic.store(&detail::observe_panic, std::memory_order_relaxed);
}  // the old one goes here, outside the lock: it is the user's code

}  // namespace weft::inline v0
