// SPDX-License-Identifier: Apache-2.0
// Stops calling what keeps failing, so that it can recover and callers learn at once instead of by
// timeout. (Nygard, "Release It!"; Fowler, "CircuitBreaker", 2014.)
//
//   closed     calls pass, and their results are counted over a sliding window. Once the window
//              holds min_calls results and failure_ratio of them are failures: open.
//   open       calls are refused with errc::circuit_open, without waiting. After open_for:
//   half_open  at most `probes` calls pass. All of them succeed: closed, with an empty window. One
//              fails, or nothing is heard of them for another open_for: open again.
//
//   auto r = breaker.run([&] { return backend.get(key); });     // result<T>
//
// A result counts only in the state in which its call began: what was under way when the breaker
// opened decides nothing later. The window is made of ten parts that expire one by one.
//
// From fibers and plain threads; needs no runtime, never waits, takes no heap. While it is closed
// admission is one atomic load, and a result costs one short lock.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include <weft/clock.hpp>
#include <weft/detail/callable.hpp>
#include <weft/detail/config.hpp>
#include <weft/detail/outcome.hpp>
#include <weft/detail/spin_lock.hpp>
#include <weft/error.hpp>

namespace weft::inline v0 {

enum class circuit_state : std::uint8_t { closed, open, half_open };

/// "closed", "open", "half-open".
[[nodiscard]] WEFT_EXPORT const char* to_string(circuit_state s) noexcept;

/// What circuit_options::on_change is told.
struct circuit_change {
  circuit_state from = circuit_state::closed;
  circuit_state to = circuit_state::closed;
  time_point at;
};

struct circuit_options {
  double failure_ratio = 0.5;  ///< opens at this share of failures, in (0, 1]
  std::size_t min_calls = 20;  ///< and at least this many results in the window
  std::chrono::nanoseconds window = std::chrono::seconds(10);   ///< how far back results count
  std::chrono::nanoseconds open_for = std::chrono::seconds(5);  ///< until probes are let through
  std::size_t probes = 1;  ///< calls let through while half open; their successes needed to close
  /// Which errors are the callee's failure. Default: all but `operation_canceled`, which is the
  /// caller's own doing and counts for nothing.
  std::function<bool(std::error_code)> is_failure{};
  /// Called after each change, with no lock held, in the fiber whose call or result made it. Two
  /// changes in quick succession may be told by two fibers at the same time; `at` has their order.
  std::function<void(const circuit_change&)> on_change{};
  /// The clock. It may stand still, and is not asked to be steady: a time before one that was seen
  /// counts as that one.
  time_point (*now)() noexcept = &clock::now;
};

class circuit_breaker {
 public:
  class permit;

  /// (Not explicit: an aggregate makes its members from {}.)
  circuit_breaker() : circuit_breaker(circuit_options{}) {}
  /// Throws logic_error for a ratio outside (0, 1], no min_calls or probes, a duration that is not
  /// positive, no clock.
  WEFT_EXPORT explicit circuit_breaker(circuit_options o);
  circuit_breaker(const circuit_breaker&) = delete;
  circuit_breaker& operator=(const circuit_breaker&) = delete;

  /// Calls fn unless the circuit is open (then errc::circuit_open), and counts what comes of it. fn
  /// returns result<T>, std::error_code (both as is_failure says), or anything else: then it fails
  /// by throwing only. Its exceptions count as failures and pass through.
  template <detail::borrowed_function F>
  [[nodiscard]] WEFT_INLINE detail::outcome_of<std::invoke_result_t<F&>>::type run(F&& fn) {
    return run_call(detail::launder_ptr(&fn));
  }

  /// The same in two steps, for calls that do not fit a function: errc::circuit_open, or the right
  /// to make one call and the duty to tell of it.
  [[nodiscard]] WEFT_EXPORT result<permit> try_acquire();

  /// As the next call would find it: an open circuit whose time is up is half open.
  [[nodiscard]] WEFT_EXPORT circuit_state state() const;
  /// Opens it for open_for from now, whatever the window says.
  WEFT_EXPORT void trip();
  /// Closes it and forgets the window.
  WEFT_EXPORT void reset();

 private:
  struct window_part {
    std::int64_t number = -1;  // time / part width; what is older than the window does not count
    std::uint64_t calls = 0;
    std::uint64_t failures = 0;
  };
  static constexpr std::size_t window_parts = 10;

  template <class F>
  auto run_call(F* fn);

  [[nodiscard]] bool is_failure(std::error_code e) const;
  [[nodiscard]] std::int64_t now_ns() const noexcept;
  WEFT_EXPORT void settle(std::uint64_t word, bool ok);
  WEFT_EXPORT void settle(std::uint64_t word, std::error_code e);
  WEFT_EXPORT void give_back(std::uint64_t word) noexcept;
  [[nodiscard]] bool count(std::int64_t now, bool ok) noexcept;
  [[nodiscard]] circuit_change change(circuit_state to, std::int64_t now) noexcept;
  void move_to(circuit_state to);
  void tell(const std::optional<circuit_change>& c) const;

  const circuit_options options_;
  const std::int64_t part_ns_;
  // 4 * number of changes so far + state: what a permit remembers. Written with lock_ held.
  std::atomic<std::uint64_t> word_{0};
  mutable detail::spin_lock lock_;  // guards all below
  std::int64_t since_ = 0;          // of the state; half open: of the last sign of life
  std::size_t probes_out_ = 0;
  std::size_t probes_ok_ = 0;
  std::array<window_part, window_parts> window_{};
};

/// One call that was let through. Move-only. Dropped without a word it counts for nothing, and a
/// probe's place is free again. The breaker must outlive it.
class [[nodiscard]] circuit_breaker::permit {
 public:
  permit(permit&& o) noexcept : breaker_(std::exchange(o.breaker_, nullptr)), word_(o.word_) {}
  permit& operator=(permit&& o) noexcept {
    if (this != &o) {
      drop();
      breaker_ = std::exchange(o.breaker_, nullptr);
      word_ = o.word_;
    }
    return *this;
  }
  ~permit() { drop(); }

  /// It went well. Only the first word counts, here and below.
  void success() {
    if (circuit_breaker* b = std::exchange(breaker_, nullptr)) b->settle(word_, true);
  }
  /// It failed.
  void failure() {
    if (circuit_breaker* b = std::exchange(breaker_, nullptr)) b->settle(word_, false);
  }
  /// It ended with e: empty is success, else what circuit_options::is_failure says.
  void record(std::error_code e) {
    if (circuit_breaker* b = std::exchange(breaker_, nullptr)) b->settle(word_, e);
  }

 private:
  friend class circuit_breaker;
  permit(circuit_breaker* b, std::uint64_t word) noexcept : breaker_(b), word_(word) {}
  void drop() noexcept {
    if (circuit_breaker* b = std::exchange(breaker_, nullptr)) b->give_back(word_);
  }

  circuit_breaker* breaker_;
  std::uint64_t word_;
};

template <class F>
auto circuit_breaker::run_call(F* fn) {
  using R = std::invoke_result_t<F&>;
  using outcome = detail::outcome_of<R>;
  using type = outcome::type;
  result<permit> p = try_acquire();
  if (!p) return type(weft::failure(p.error()));
  const auto call = [&]() -> R {
    try {
      return std::invoke(*fn);
    } catch (...) {
      p->failure();
      throw;
    }
  };
  if constexpr (std::is_void_v<R>) {
    call();
    p->success();
    return type();
  } else if constexpr (outcome::tells) {
    std::remove_cvref_t<R> r = call();
    if (outcome::failed(r)) {
      p->record(outcome::error(r));
    } else {
      p->success();
    }
    return type(outcome::as_result(std::move(r)));
  } else {
    type r(call());
    p->success();
    return r;
  }
}

}  // namespace weft::inline v0
