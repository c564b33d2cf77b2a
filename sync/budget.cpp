// SPDX-License-Identifier: Apache-2.0
// A place is taken by a CAS on `in_use_`, so the limit holds at every moment; it is given back
// before fibers_.done(), the last touch of the budget.
#include <weft/budget.hpp>

#include <weft/detail/park.hpp>
#include "sync/stray_exception.hpp"

namespace weft::inline v0 {

budget::budget(const weft::context& parent, std::size_t limit, budget_mode mode,
               std::source_location where)
    : ctx_(with_value<detail::budget_key>(parent, this, where)),
      limit_(limit),
      mode_(mode),
      site_(detail::site_of(where)) {}

budget::~budget() {
  fibers_.wait();
  if (exception_) detail::report_stray_exception("budget", site_, exception_);
}

budget::verdict budget::enter() noexcept {
  if (detail::current_root_slot() == nullptr) return verdict::no_runtime;
  detail::checkpoint();  // here a runtime that ends is left: what is counted has to be given back
  // relaxed: a count; what fibers did is ordered by wait().
  std::size_t n = in_use_.load(std::memory_order_relaxed);
  while (n < limit_) {
    if (!in_use_.compare_exchange_weak(n, n + 1, std::memory_order_relaxed)) continue;
    fibers_.add(1);
    started_.fetch_add(1, std::memory_order_relaxed);
    std::size_t peak = peak_.load(std::memory_order_relaxed);
    while (peak < n + 1 && !peak_.compare_exchange_weak(peak, n + 1, std::memory_order_relaxed)) {
    }
    return verdict::fiber;
  }
  const bool adaptive_mode = mode_ == budget_mode::adaptive;
  (adaptive_mode ? ran_inline_ : refused_).fetch_add(1, std::memory_order_relaxed);
  return adaptive_mode ? verdict::here : verdict::refused;
}

void budget::leave() noexcept {
  in_use_.fetch_sub(1, std::memory_order_relaxed);
  fibers_.done();
}

void budget::fail(std::exception_ptr x) noexcept {
  lock_.lock();
  if (!exception_) exception_.swap(x);
  lock_.unlock();
}

void budget::rethrow() {
  std::exception_ptr x;
  lock_.lock();
  x.swap(exception_);
  lock_.unlock();
  if (x) std::rethrow_exception(x);
}

void budget::wait() {
  fibers_.wait();
  rethrow();
}

result<void> budget::wait(const weft::context& ctx) {
  if (result<void> r = fibers_.wait(ctx); !r) return r;
  rethrow();
  return {};
}

budget_stats budget::stats() const noexcept {
  budget_stats s;
  s.in_use = in_use_.load(std::memory_order_relaxed);
  s.peak = peak_.load(std::memory_order_relaxed);
  s.started = started_.load(std::memory_order_relaxed);
  s.refused = refused_.load(std::memory_order_relaxed);
  s.ran_inline = ran_inline_.load(std::memory_order_relaxed);
  return s;
}

}  // namespace weft::inline v0
