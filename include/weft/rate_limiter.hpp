// SPDX-License-Identifier: Apache-2.0
// A token bucket: `rate` tokens a second flow in, at most `burst` are kept, an event takes n of
// them. Over any span of time no more than burst + rate * span events are let through (one that
// waited, and woke late, counts from when its turn was). Modelled on golang.org/x/time/rate (Allow,
// Wait, Reserve).
//
//   weft::rate_limiter limiter(100, 10);                    // 100 a second, 10 at once
//   if (!limiter.try_acquire()) return too_many_requests();  // or
//   if (auto r = limiter.acquire(ctx); !r) return r;         // waits its turn
//
// Waiters are served strictly in order; who asks while others wait does not overtake them. A wait
// that could not be over by its deadline fails at once, without a token and without holding others
// up; one that ends early (its context is done) gives its place to those behind it. A change of
// rate or burst holds for those who wait already.
//
// Nothing drifts: time and tokens are whole numbers. A token is worth as many units as the rate's
// period has nanoseconds, and each nanosecond brings as many units as the rate has tokens. All
// products fit 128 bits (periods of up to 2^60 ns, 2^62 tokens), so no rate, burst or time, however
// extreme, overflows.
//
// Fields are guarded by `guard_`. From fibers and plain threads; waiting on a plain thread needs no
// runtime. No heap.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <utility>

#include <weft/clock.hpp>
#include <weft/context.hpp>
#include <weft/detail/cancel_node.hpp>
#include <weft/detail/waiter.hpp>
#include <weft/error.hpp>

namespace weft::inline v0 {

/// Tokens in a time. A plain number means tokens a second: `rate_limiter(2.5, 1)`.
class token_rate {
 public:
  /// Infinity is unlimited(). Throws logic_error for less than 0 and for NaN.
  WEFT_EXPORT token_rate(double per_second);  // NOLINT(google-explicit-constructor)

  /// Exactly n in each d: per(5, 1min). Throws logic_error for a d that is not positive.
  template <class Rep, class Period>
  [[nodiscard]] static token_rate per(std::uint64_t n, std::chrono::duration<Rep, Period> d) {
    return per_ns(n, detail::to_ns(d));
  }
  /// Exactly one each d.
  template <class Rep, class Period>
  [[nodiscard]] static token_rate every(std::chrono::duration<Rep, Period> d) {
    return per_ns(1, detail::to_ns(d));
  }
  /// Everything passes, whatever the burst.
  [[nodiscard]] static token_rate unlimited() noexcept { return {0, 0}; }

  [[nodiscard]] bool is_unlimited() const noexcept { return period_ns_ == 0; }
  [[nodiscard]] WEFT_EXPORT double per_second() const noexcept;

 private:
  friend class rate_limiter;
  token_rate(std::uint64_t tokens, std::uint64_t period_ns) noexcept
      : tokens_(tokens), period_ns_(period_ns) {}
  [[nodiscard]] WEFT_EXPORT static token_rate per_ns(std::uint64_t n, std::int64_t period);

  std::uint64_t tokens_;     // at most 2^62
  std::uint64_t period_ns_;  // at most 2^60; 0: unlimited
};

class rate_limiter {
 public:
  class reservation;

  /// The bucket is full at first. A rate of 0 gives no more than that; a burst of 0 nothing.
  WEFT_EXPORT rate_limiter(token_rate rate, std::uint64_t burst) noexcept;
  rate_limiter(const rate_limiter&) = delete;
  rate_limiter& operator=(const rate_limiter&) = delete;

  /// Takes n tokens, waiting for them. More than the burst: throws logic_error.
  WEFT_EXPORT void acquire(std::uint64_t n = 1);
  /// The same, or until the context is done. At once: deadline_exceeded if they cannot come before
  /// the context's deadline, quota_exceeded for more than the burst.
  [[nodiscard]] result<void> acquire(const context& ctx, std::uint64_t n = 1) {
    return acquire_until(n, detail::node_of(ctx), detail::deadline_of(ctx));
  }
  /// The same for at most d; false at once if they cannot come by then.
  template <class Rep, class Period>
  [[nodiscard]] bool try_acquire_for(std::chrono::duration<Rep, Period> d, std::uint64_t n = 1) {
    return acquire_until(n, nullptr, detail::deadline_in(d)).has_value();
  }
  /// Takes them if they are there and nobody waits.
  [[nodiscard]] bool try_acquire(std::uint64_t n = 1) noexcept {
    return try_acquire_ns(detail::now_ns(), n);
  }
  /// The same at a given time, for tests and replays. A time before one that was given already
  /// counts as that one.
  [[nodiscard]] bool try_acquire_at(time_point now, std::uint64_t n = 1) noexcept {
    return try_acquire_ns(detail::deadline_at(now), n);
  }

  /// Takes n tokens that may be still to come, and tells when the caller may act on them: for those
  /// who wait in a way of their own. Its time is a promise that later calls do not move.
  /// quota_exceeded: more than the burst, or they would never come.
  [[nodiscard]] result<reservation> reserve(std::uint64_t n = 1);
  [[nodiscard]] result<reservation> reserve_at(time_point now, std::uint64_t n = 1);

  /// From now on. Who waits is served by the new rate, in the same order; who can no longer make
  /// its deadline fails.
  WEFT_EXPORT void set_rate(token_rate rate) noexcept;
  /// From now on. Who waits for more than that still gets it.
  WEFT_EXPORT void set_burst(std::uint64_t burst) noexcept;

  [[nodiscard]] WEFT_EXPORT token_rate rate() const noexcept;
  [[nodiscard]] WEFT_EXPORT std::uint64_t burst() const noexcept;
  /// Tokens in the bucket now, less those promised and waited for: may be negative.
  [[nodiscard]] WEFT_EXPORT double tokens() const noexcept;
  /// How many callers wait now.
  [[nodiscard]] WEFT_EXPORT std::size_t waiting() const noexcept;

 private:
  struct turn;
  __extension__ typedef __int128 units;  // period_ns_ of them are a token

  struct booking {
    std::int64_t at;    // when to act, ns
    std::uint64_t end;  // reserved_ after it
    std::uint64_t sequence;
  };

  [[nodiscard]] WEFT_EXPORT result<void> acquire_until(std::uint64_t n, detail::cancel_node* node,
                                                       std::int64_t deadline);
  [[nodiscard]] WEFT_EXPORT bool try_acquire_ns(std::int64_t now, std::uint64_t n) noexcept;
  [[nodiscard]] WEFT_EXPORT result<booking> reserve_ns(std::int64_t now, std::uint64_t n) noexcept;
  WEFT_EXPORT void unreserve(const booking& b, std::int64_t now, std::uint64_t n) noexcept;

  [[nodiscard]] result<void> wait_turn(turn& t, detail::cancel_node* node, std::int64_t deadline);
  void advance(std::int64_t now) noexcept;
  void keep_to_capacity() noexcept;
  [[nodiscard]] units worth(std::int64_t tokens) const noexcept;
  [[nodiscard]] units missing_for(const turn& t) const noexcept;
  [[nodiscard]] std::int64_t time_of(units missing) const noexcept;
  template <class List>
  void serve(List& woken, turn* self) noexcept;
  template <class List>
  void leave(turn& t, List& woken) noexcept;
  template <class List>
  [[nodiscard]] std::error_code look(turn& t, detail::cancel_node* node, std::int64_t deadline,
                                     List& woken) noexcept;
  void convert(token_rate to) noexcept;

  mutable detail::waitable guard_;
  token_rate rate_;
  std::uint64_t burst_;       // at most 2^62
  units level_ = 0;           // came in, less taken and reserved; what waiters want is still there
  std::uint64_t queued_ = 0;  // tokens that the queue wants
  std::uint64_t reserved_ = 0;  // tokens reserved so far, modulo 2^64
  std::uint64_t sequence_ = 0;  // of the last one that waits or has reserved: who came first
  std::int64_t last_ = 0;       // until when `level_` is right
  detail::wait_queue queue_;
};

/// Tokens that were taken ahead of time. Dropping it before its time cancels it; detach() keeps
/// the tokens taken. Move-only. The limiter must outlive it.
class [[nodiscard]] rate_limiter::reservation {
 public:
  reservation(reservation&& o) noexcept
      : limiter_(std::exchange(o.limiter_, nullptr)), booking_(o.booking_), n_(o.n_) {}
  reservation& operator=(reservation&& o) noexcept {
    if (this != &o) {
      cancel();
      limiter_ = std::exchange(o.limiter_, nullptr);
      booking_ = o.booking_;
      n_ = o.n_;
    }
    return *this;
  }
  ~reservation() { cancel(); }

  /// When the caller may act; not later than now if at once.
  [[nodiscard]] time_point time() const noexcept {
    return time_point(clock::duration(booking_.at));
  }
  /// How long that is from now; 0 if it has come.
  [[nodiscard]] clock::duration delay() const noexcept { return delay_at(clock::now()); }
  [[nodiscard]] clock::duration delay_at(time_point now) const noexcept {
    return now < time() ? time() - now : clock::duration::zero();
  }
  /// The caller will not act. Before its time the tokens go back, as far as no later reservation
  /// rests on them; afterwards nothing happens.
  void cancel() noexcept { cancel_at(clock::now()); }
  void cancel_at(time_point now) noexcept {
    if (rate_limiter* l = std::exchange(limiter_, nullptr)) {
      l->unreserve(booking_, detail::deadline_at(now), n_);
    }
  }
  /// The tokens stay taken whatever becomes of this handle.
  void detach() noexcept { limiter_ = nullptr; }

 private:
  friend class rate_limiter;
  reservation(rate_limiter* l, const booking& b, std::uint64_t n) noexcept
      : limiter_(l), booking_(b), n_(n) {}

  rate_limiter* limiter_;
  booking booking_;
  std::uint64_t n_;
};

inline result<rate_limiter::reservation> rate_limiter::reserve(std::uint64_t n) {
  return reserve_at(clock::now(), n);
}

inline result<rate_limiter::reservation> rate_limiter::reserve_at(time_point now, std::uint64_t n) {
  const result<booking> b = reserve_ns(detail::deadline_at(now), n);
  if (!b) return failure(b.error());
  return reservation(this, *b, n);
}

}  // namespace weft::inline v0
