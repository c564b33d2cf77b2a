// SPDX-License-Identifier: Apache-2.0
#include <weft/task_group.hpp>

#include <weft/detail/park.hpp>
#include <weft/detail/runtime_hooks.hpp>
#include "sync/stray_exception.hpp"

namespace weft::inline v0::detail {

group_core::group_core(const weft::context& parent, bool cancel_on_failure,
                       const std::source_location& where)
    : scope_(with_cancel(parent, where)),
      cancel_on_failure_(cancel_on_failure),
      uncaught_(std::uncaught_exceptions()),
      site_(site_of(where)) {}

group_core::~group_core() {
  if (std::uncaught_exceptions() > uncaught_) scope_.cancel();
  tasks_.wait();
  if (exception_) report(exception_);
}

// An exception that no wait rethrows.
void group_core::report(const std::exception_ptr& x) noexcept {
  report_stray_exception(cancel_on_failure_ ? "task_group" : "supervisor", site_, x);
}

void group_core::set_limit(std::size_t n) {
  if (n == 0) throw logic_error("weft::task_group: a limit of 0 would let nothing run");
  if (running_.load(std::memory_order_acquire) != 0) {
    throw logic_error("weft::task_group: set_limit while tasks run");
  }
  limit_ = std::make_unique<semaphore>(n);
}

void group_core::count_in() {
  running_.fetch_add(1, std::memory_order_relaxed);
  tasks_.add(1);
}

// Whoever starts tasks for ever leaves a runtime that ends here, before it counts one.
void group_core::enter() {
  checkpoint();
  if (limit_ != nullptr) limit_->acquire();
  count_in();
}

result<void> group_core::enter(const weft::context& ctx) {
  checkpoint();
  if (limit_ != nullptr) {
    if (result<void> r = limit_->acquire(ctx); !r) return r;
  } else if (const std::error_code e = end_of(node_of(ctx))) {
    return failure(e);
  }
  if (current_root_slot() == nullptr) {  // asked last: it may have ended while we waited
    if (limit_ != nullptr) limit_->release();
    return failure(errc::no_runtime);
  }
  count_in();
  return {};
}

bool group_core::try_enter() {
  checkpoint();
  if (limit_ != nullptr && !limit_->try_acquire()) return false;
  count_in();
  return true;
}

void group_core::leave() noexcept {
  running_.fetch_sub(1, std::memory_order_release);
  if (limit_ != nullptr) limit_->release();
  tasks_.done();  // last: the group may be gone after it
}

void group_core::fail(std::error_code e, std::exception_ptr x) noexcept {
  lock_.lock();
  const bool first = !failed_;
  if (first) {
    failed_ = true;
    error_ = e;
  }
  if (!exception_) exception_.swap(x);
  lock_.unlock();
  if (cancel_on_failure_) scope_.cancel(e);  // (the first one is the cause; see also cut_off)
  if (x) report(x);
}

// The end of a runtime has come before that of a task. The context is left alone: cancelling runs
// the callbacks on it, and those may wait for fibers that are gone as well.
void group_core::cut_off() noexcept {
  lock_.lock();
  if (!failed_) {
    failed_ = true;
    error_ = make_error_code(errc::canceled);
  }
  lock_.unlock();
}

// Once no task runs.
std::error_code group_core::outcome() {
  lock_.lock();
  const std::error_code error = error_;
  std::exception_ptr x;
  x.swap(exception_);  // rethrown once
  lock_.unlock();
  scope_.cancel(error);
  if (x) std::rethrow_exception(x);
  return error;
}

std::error_code group_core::wait() {
  tasks_.wait();
  return outcome();
}

result<void> group_core::wait(const weft::context& ctx) {
  if (result<void> r = tasks_.wait(ctx); !r) return r;
  if (const std::error_code e = outcome()) return failure(e);
  return {};
}

}  // namespace weft::inline v0::detail
