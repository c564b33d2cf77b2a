// SPDX-License-Identifier: Apache-2.0
// The bucket and its queue.
//
// A waiter's record stays in the queue, in its place, until the waiter has its tokens or gives up.
// It sleeps until the time at which its turn should come (`turn::at`) and then looks; serve() gives
// tokens to the front as far as they reach. So a waiter wakes once, by itself, in the usual case.
//
// Invariant, with the guard free: the front's timer is not later than the time at which its tokens
// are there, or the front is awake (claimed) and about to look, and to serve others after itself.
// Where the front changes, or its time comes earlier (somebody before it gave up, set_rate, a
// cancelled reservation), serve() wakes it to look again unless its timer is right.
//
// Places: level_ is what came in less what was taken or reserved; what waiters want (queued_) is
// still in it, so a newcomer has to wait for level_ to reach queued_ + its own. A reservation takes
// from level_ at once, though its place is behind those who wait already: a waiter adds back what
// was reserved after it came (reserved_ - turn::reserved).
#include <weft/rate_limiter.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include "sync/queue_wait.hpp"

namespace weft::inline v0 {
namespace {

constexpr std::uint64_t most_tokens = std::uint64_t{1} << 62;
constexpr std::uint64_t longest_period = std::uint64_t{1} << 60;
constexpr std::uint64_t second = 1'000'000'000;

}  // namespace

// --- token_rate

// Whole numbers are exact. Others: below 1 as a whole number of nanoseconds for a token, above as
// billionths; the error is below 1e-9 either way.
token_rate::token_rate(double per_second) : tokens_(0), period_ns_(second) {
  if (!(per_second >= 0)) throw logic_error("weft::token_rate: less than 0 tokens a second");
  if (per_second > std::numeric_limits<double>::max()) {
    *this = unlimited();
  } else if (per_second >= static_cast<double>(most_tokens)) {
    const double per_ns = per_second / static_cast<double>(second);
    period_ns_ = 1;
    tokens_ = per_ns < static_cast<double>(most_tokens) ? static_cast<std::uint64_t>(per_ns)
                                                        : most_tokens;
  } else if (per_second >= 4e9 ||
             static_cast<double>(static_cast<std::uint64_t>(per_second)) == per_second) {
    tokens_ = static_cast<std::uint64_t>(per_second);
  } else if (per_second >= 1) {
    tokens_ = static_cast<std::uint64_t>(std::llround(per_second * static_cast<double>(second)));
    period_ns_ = second * second;
  } else {
    const double interval = static_cast<double>(second) / per_second + 0.5;
    tokens_ = 1;
    period_ns_ = interval < static_cast<double>(longest_period)
                     ? static_cast<std::uint64_t>(interval)
                     : longest_period;
  }
}

token_rate token_rate::per_ns(std::uint64_t n, std::int64_t period) {
  if (period <= 0) throw logic_error("weft::token_rate: a period that is not positive");
  auto period_ns = static_cast<std::uint64_t>(period);
  while (n > most_tokens || period_ns > longest_period) {
    if (n > 1) n /= 2;  // slower than one in 36 years counts as that
    period_ns = std::max<std::uint64_t>(1, period_ns / 2);
  }
  return {n, period_ns};
}

double token_rate::per_second() const noexcept {
  if (is_unlimited()) return std::numeric_limits<double>::infinity();
  return static_cast<double>(tokens_) * static_cast<double>(second) /
         static_cast<double>(period_ns_);
}

// --- the bucket; all with the guard held

/// One who waits; lies in its frame.
struct rate_limiter::turn : detail::waiter {
  std::uint64_t tokens = 0;
  std::uint64_t sequence = 0;
  // What was reserved after it came is reserved_ - this: reserved_ as it was then, corrected for
  // reservations that were cancelled since.
  std::uint64_t reserved = 0;
  std::int64_t at = detail::never;  // when its timer wakes it
};

rate_limiter::rate_limiter(token_rate rate, std::uint64_t burst) noexcept
    : rate_(rate), burst_(std::min(burst, most_tokens)) {
  keep_to_capacity();
  level_ = worth(static_cast<std::int64_t>(burst_));
}

/// In [-2^123, 2^123].
rate_limiter::units rate_limiter::worth(std::int64_t tokens) const noexcept {
  return static_cast<units>(tokens) * static_cast<units>(rate_.period_ns_);
}

void rate_limiter::keep_to_capacity() noexcept {
  constexpr units extreme = static_cast<units>(1) << 125;  // thousands of years at any rate
  // What the queue wants is kept beside the burst: tokens that came while a waiter was on its way
  // are not lost. queued_ is at most 2^62, see acquire_until.
  const units most =
      worth(static_cast<std::int64_t>(burst_)) + worth(static_cast<std::int64_t>(queued_));
  level_ = std::clamp(level_, -extreme, most);
}

/// Lets in what has come until now.
void rate_limiter::advance(std::int64_t now) noexcept {
  if (queue_.empty()) queued_ = 0;  // also if a runtime has ended and its waiters were unlinked
  if (now > last_) {
    // Below 2^63 * 2^62.
    level_ += static_cast<units>(now - last_) * static_cast<units>(rate_.tokens_);
    last_ = now;
  }
  keep_to_capacity();
}

/// How far the level is from what t needs.
rate_limiter::units rate_limiter::missing_for(const turn& t) const noexcept {
  if (rate_.is_unlimited()) return 0;
  const auto reserved_later = static_cast<std::int64_t>(reserved_ - t.reserved);
  return worth(static_cast<std::int64_t>(t.tokens)) - level_ - worth(reserved_later);
}

/// When the level will be higher by that much.
std::int64_t rate_limiter::time_of(units missing) const noexcept {
  if (missing <= 0) return last_;
  if (rate_.tokens_ == 0) return detail::never;
  const auto tokens = static_cast<units>(rate_.tokens_);
  const units ns = (missing + tokens - 1) / tokens;
  return ns >= detail::never - last_ ? detail::never : last_ + static_cast<std::int64_t>(ns);
}

/// Gives to the front what is there, and sees to it that whoever is the front then wakes in time.
/// `self` is the caller's own record, if it is in the queue: it is awake and needs no waking.
template <class List>
void rate_limiter::serve(List& woken, turn* self) noexcept {
  while (detail::waiter* w = queue_.front()) {
    turn& t = *static_cast<turn*>(w);
    const units missing = missing_for(t);
    if (missing > 0) {
      const std::int64_t at = time_of(missing);
      if (&t != self && at < t.at && claim(w)) {
        t.at = at;
        woken.add(w, false);
      }
      break;
    }
    if (&t != self && !claim(w)) break;  // awake: it serves itself, then those behind
    queue_.remove(w);
    queued_ -= std::min(queued_, t.tokens);
    level_ -= worth(static_cast<std::int64_t>(t.tokens));
    if (&t == self) {
      t.ok = true;
    } else {
      woken.add(w, true);
    }
  }
  keep_to_capacity();
}

/// t goes without tokens, and those behind it move up, but not past a reservation: its time was a
/// promise, so what was reserved after t came is lost for those who came after that.
template <class List>
void rate_limiter::leave(turn& t, List& woken) noexcept {
  queue_.remove(&t);
  queued_ -= std::min(queued_, t.tokens);
  const std::uint64_t lost = std::min(t.tokens, reserved_ - t.reserved);
  if (lost != 0) {
    // A reservation nobody holds, and whom it concerns.
    level_ -= worth(static_cast<std::int64_t>(lost));
    reserved_ += lost;
    for (detail::waiter* w = queue_.front(); w != nullptr; w = w->next) {
      turn& other = *static_cast<turn*>(w);
      const auto between = static_cast<std::int64_t>(other.reserved - t.reserved);
      if (between > 0) other.reserved += std::min(t.tokens, static_cast<std::uint64_t>(between));
    }
  }
  serve(woken, nullptr);
}

/// Another rate, whose tokens are worth another number of units.
void rate_limiter::convert(token_rate to) noexcept {
  const token_rate from = rate_;
  rate_ = to;
  if (to.is_unlimited()) return;
  if (from.is_unlimited()) {
    level_ = worth(static_cast<std::int64_t>(burst_));
    return;
  }
  if (from.period_ns_ == to.period_ns_) return;
  const auto old_worth = static_cast<units>(from.period_ns_);
  const auto new_worth = static_cast<units>(to.period_ns_);
  units whole = level_ / old_worth;
  units part = level_ % old_worth;
  if (part < 0) {
    --whole;
    part += old_worth;
  }
  constexpr units extreme = static_cast<units>(1) << 125;
  units level = 0;
  if (__builtin_mul_overflow(whole, new_worth, &level)) level = whole < 0 ? -extreme : extreme;
  level_ = std::clamp(level, -extreme, extreme) + part * new_worth / old_worth;
}

// --- calls

bool rate_limiter::try_acquire_ns(std::int64_t now, std::uint64_t n) noexcept {
  guard_.lock.lock();
  advance(now);
  bool ours = rate_.is_unlimited() || n == 0;
  if (!ours && n <= burst_ && queue_.empty()) {
    const units wanted = worth(static_cast<std::int64_t>(n));
    ours = wanted <= level_;
    if (ours) level_ -= wanted;
  }
  guard_.lock.unlock();
  return ours;
}

void rate_limiter::acquire(std::uint64_t n) {
  if (!acquire_until(n, nullptr, detail::never)) {
    throw logic_error("weft::rate_limiter: more tokens than the burst");
  }
}

result<void> rate_limiter::acquire_until(std::uint64_t n, detail::cancel_node* node,
                                         std::int64_t deadline) {
  if (node != nullptr && node->done()) return failure(node->err);
  if (n == 0) return {};
  const std::int64_t now = detail::now_ns();
  guard_.lock.lock();
  advance(now);
  if (rate_.is_unlimited()) {
    guard_.lock.unlock();
    return {};
  }
  // The second: more than the arithmetic bears is wanted already.
  if (n > burst_ || n > most_tokens - queued_) {
    guard_.lock.unlock();
    return failure(errc::quota_exceeded);
  }
  const units wanted = worth(static_cast<std::int64_t>(n));
  if (queue_.empty() && wanted <= level_) {
    level_ -= wanted;
    guard_.lock.unlock();
    return {};
  }
  turn t;
  t.tokens = n;
  t.sequence = ++sequence_;
  t.reserved = reserved_;
  t.at = time_of(wanted + worth(static_cast<std::int64_t>(queued_)) - level_);
  if (t.at > deadline) {
    guard_.lock.unlock();
    return failure(errc::deadline_exceeded);
  }
  if (t.at <= last_) t.at = detail::never;  // those before it are due, and serve it
  queued_ += n;
  return wait_turn(t, node, deadline);
}

/// Guard held; gives it back.
result<void> rate_limiter::wait_turn(turn& t, detail::cancel_node* node, std::int64_t deadline) {
  detail::fiber_core* g = detail::current_fiber();
  t.g = g;
  t.owner = &guard_;
  t.multi = true;  // the record stays linked while it is woken: claimed, so that nobody else does
  queue_.push_back(&t);
  for (;;) {
    detail::wake_extras extras(node, std::min(t.at, deadline));
    park_begin(g, detail::wait_reason::semacquire, this);
    g->waiters = &t;
    guard_.lock.unlock();
    extras.arm(g);
    park_wait(g);
    extras.disarm();
    // Served: the limiter may be gone.
    if (g->wake_param == static_cast<detail::waiter*>(&t) && t.ok) return {};
    for (bool looked = false; !looked;) {
      detail::wake_list woken;
      const std::int64_t now = detail::now_ns();
      guard_.lock.lock();
      advance(now);
      const std::error_code why = look(t, node, deadline, woken);
      // With nobody to ready the guard stays held until we have parked; else we look once more,
      // as nobody could serve us in between.
      looked = !why && !t.ok && woken.empty();
      if (looked) continue;
      guard_.lock.unlock();
      woken.ready();
      if (why) return failure(why);
      if (t.ok) return {};
    }
  }
}

/// t is awake: is it served (t.ok), does it give up (the error), or is it to wait until t.at?
template <class List>
std::error_code rate_limiter::look(turn& t, detail::cancel_node* node, std::int64_t deadline,
                                   List& woken) noexcept {
  if (node != nullptr && node->done()) {
    leave(t, woken);
    return node->err;
  }
  serve(woken, &t);
  if (t.ok) return {};
  bool in_time = last_ < deadline;
  if (queue_.front() == &t) {
    t.at = time_of(missing_for(t));
    in_time = in_time && t.at <= deadline;
  } else if (t.at <= last_) {
    t.at = detail::never;  // those before it are awake, and serve it
  } else {
    in_time = in_time && t.at <= deadline;
  }
  if (in_time) return {};
  leave(t, woken);
  return make_error_code(errc::deadline_exceeded);
}

void rate_limiter::set_rate(token_rate rate) noexcept {
  const std::int64_t now = detail::now_ns();
  detail::wake_list woken;
  guard_.lock.lock();
  advance(now);
  convert(rate);
  serve(woken, nullptr);
  // The others by their new times, also so that they see in time that it is too late.
  units ahead = 0;
  for (detail::waiter* w = queue_.front(); w != nullptr; w = w->next) {
    turn& t = *static_cast<turn*>(w);
    const std::int64_t at = time_of(missing_for(t) + ahead);
    ahead += worth(static_cast<std::int64_t>(t.tokens));
    if (at == t.at) continue;
    t.at = at;
    if (claim(w)) woken.add(w, false);
  }
  guard_.lock.unlock();
  woken.ready();
}

void rate_limiter::set_burst(std::uint64_t burst) noexcept {
  const std::int64_t now = detail::now_ns();
  guard_.lock.lock();
  advance(now);
  burst_ = std::min(burst, most_tokens);
  keep_to_capacity();
  guard_.lock.unlock();
}

result<rate_limiter::booking> rate_limiter::reserve_ns(std::int64_t now, std::uint64_t n) noexcept {
  guard_.lock.lock();
  advance(now);
  booking b{.at = last_, .end = reserved_, .sequence = ++sequence_};
  bool possible = true;
  if (!rate_.is_unlimited() && n != 0) {
    possible = n <= burst_ && n <= most_tokens - queued_;
    if (possible) {
      b.at = time_of(worth(static_cast<std::int64_t>(n + queued_)) - level_);
      possible = b.at != detail::never;
    }
    if (possible) {
      level_ -= worth(static_cast<std::int64_t>(n));
      reserved_ += n;
      b.end = reserved_;
    }
  }
  guard_.lock.unlock();
  if (!possible) return failure(errc::quota_exceeded);
  return b;
}

void rate_limiter::unreserve(const booking& b, std::int64_t now, std::uint64_t n) noexcept {
  detail::wake_list woken;
  guard_.lock.lock();
  advance(now);
  const std::uint64_t later = reserved_ - b.end;
  if (!rate_.is_unlimited() && now < b.at && later < n) {
    const std::uint64_t back = n - later;
    level_ += worth(static_cast<std::int64_t>(back));
    // For those who wait behind it that is a gain, for those before it it never was there.
    if (later == 0) reserved_ -= n;
    for (detail::waiter* w = queue_.front(); w != nullptr; w = w->next) {
      turn& t = *static_cast<turn*>(w);
      const bool behind = t.sequence > b.sequence;
      if (later == 0 && behind) t.reserved -= n;
      if (later != 0 && !behind) t.reserved += back;
    }
    serve(woken, nullptr);
  }
  guard_.lock.unlock();
  woken.ready();
}

// --- looks

token_rate rate_limiter::rate() const noexcept {
  guard_.lock.lock();
  const token_rate r = rate_;
  guard_.lock.unlock();
  return r;
}

std::uint64_t rate_limiter::burst() const noexcept {
  guard_.lock.lock();
  const std::uint64_t n = burst_;
  guard_.lock.unlock();
  return n;
}

double rate_limiter::tokens() const noexcept {
  const std::int64_t now = detail::now_ns();
  guard_.lock.lock();
  double n = std::numeric_limits<double>::infinity();
  if (!rate_.is_unlimited()) {
    const std::uint64_t queued = queue_.empty() ? 0 : queued_;
    units level = level_;
    if (now > last_) level += static_cast<units>(now - last_) * static_cast<units>(rate_.tokens_);
    level -= worth(static_cast<std::int64_t>(queued));
    level = std::min(level, worth(static_cast<std::int64_t>(burst_)));
    n = static_cast<double>(level) / static_cast<double>(rate_.period_ns_);
  }
  guard_.lock.unlock();
  return n;
}

std::size_t rate_limiter::waiting() const noexcept {
  std::size_t n = 0;
  guard_.lock.lock();
  for (const detail::waiter* w = queue_.front(); w != nullptr; w = w->next) ++n;
  guard_.lock.unlock();
  return n;
}

}  // namespace weft::inline v0
