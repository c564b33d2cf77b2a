// SPDX-License-Identifier: Apache-2.0
// No code of the user's runs with `lock_` held: the clock is read before, on_change told after.
#include <weft/circuit_breaker.hpp>

#include <algorithm>

namespace weft::inline v0 {
namespace {

circuit_state state_of(std::uint64_t word) noexcept { return static_cast<circuit_state>(word & 3); }

circuit_options checked(circuit_options o) {
  // Written so that NaN is refused.
  const bool sensible = o.failure_ratio > 0 && o.failure_ratio <= 1 && o.min_calls > 0 &&
                        o.probes > 0 && o.window.count() > 0 && o.open_for.count() > 0 &&
                        o.now != nullptr;
  if (!sensible) throw logic_error("weft::circuit_breaker: options that make no sense");
  return o;
}

}  // namespace

const char* to_string(circuit_state s) noexcept {
  switch (s) {
    case circuit_state::closed:
      return "closed";
    case circuit_state::open:
      return "open";
    case circuit_state::half_open:
      return "half-open";
  }
  return "?";
}

circuit_breaker::circuit_breaker(circuit_options o)
    : options_(std::move(o)),
      part_ns_(std::max<std::int64_t>(
          1, checked(options_).window.count() / static_cast<std::int64_t>(window_parts))) {}

/// From 0, so that the parts of the window have numbers that are not negative.
std::int64_t circuit_breaker::now_ns() const noexcept {
  return std::max<std::int64_t>(0, options_.now().time_since_epoch().count());
}

bool circuit_breaker::is_failure(std::error_code e) const {
  return options_.is_failure ? options_.is_failure(e) : e != std::errc::operation_canceled;
}

/// Lock held. What on_change is to be told after it.
circuit_change circuit_breaker::change(circuit_state to, std::int64_t now) noexcept {
  const std::uint64_t word = word_.load(std::memory_order_relaxed);
  since_ = std::max(since_, now);
  probes_out_ = probes_ok_ = 0;
  if (to == circuit_state::closed) window_.fill({});
  // relaxed: a permit's word is compared under the lock; closed or not is all that is read without.
  word_.store((word / 4 + 1) * 4 + static_cast<std::uint64_t>(to), std::memory_order_relaxed);
  return {.from = state_of(word), .to = to, .at = time_point(clock::duration(since_))};
}

void circuit_breaker::tell(const std::optional<circuit_change>& c) const {
  if (c && options_.on_change) options_.on_change(*c);
}

/// Lock held. True: enough of the window's results are failures.
bool circuit_breaker::count(std::int64_t now, bool ok) noexcept {
  std::int64_t newest = now / part_ns_;
  for (const window_part& p : window_) newest = std::max(newest, p.number);
  window_part& part = window_[static_cast<std::size_t>(newest) % window_parts];
  if (part.number != newest) part = {.number = newest};
  ++part.calls;
  if (!ok) ++part.failures;
  std::uint64_t calls = 0;
  std::uint64_t failures = 0;
  for (const window_part& p : window_) {
    if (newest - p.number >= static_cast<std::int64_t>(window_parts)) continue;
    calls += p.calls;
    failures += p.failures;
  }
  return calls >= options_.min_calls && failures > 0 &&
         static_cast<double>(failures) >= options_.failure_ratio * static_cast<double>(calls);
}

result<circuit_breaker::permit> circuit_breaker::try_acquire() {
  const std::uint64_t seen = word_.load(std::memory_order_relaxed);
  if (state_of(seen) == circuit_state::closed) [[likely]]
    return permit(this, seen);
  const std::int64_t now = now_ns();
  std::optional<circuit_change> changed;
  std::optional<permit> ours;
  lock_.lock();
  std::uint64_t word = word_.load(std::memory_order_relaxed);
  const bool time_is_up = now - since_ >= options_.open_for.count();
  if (state_of(word) == circuit_state::open && time_is_up) {
    changed = change(circuit_state::half_open, now);
    word = word_.load(std::memory_order_relaxed);
  }
  if (state_of(word) == circuit_state::closed) {
    ours = permit(this, word);
  } else if (state_of(word) == circuit_state::half_open) {
    if (probes_out_ + probes_ok_ < options_.probes) {
      ++probes_out_;
      ours = permit(this, word);
    } else if (time_is_up) {
      changed = change(circuit_state::open, now);  // the probes have not been heard of
    }
  }
  lock_.unlock();
  tell(changed);
  if (!ours) return failure(errc::circuit_open);
  return std::move(*ours);
}

void circuit_breaker::settle(std::uint64_t word, bool ok) {
  const std::int64_t now = now_ns();
  std::optional<circuit_change> changed;
  lock_.lock();
  if (word == word_.load(std::memory_order_relaxed)) {
    if (state_of(word) == circuit_state::closed) {
      if (count(now, ok)) changed = change(circuit_state::open, now);
    } else if (!ok) {
      changed = change(circuit_state::open, now);
    } else {
      --probes_out_;
      since_ = std::max(since_, now);
      if (++probes_ok_ >= options_.probes) changed = change(circuit_state::closed, now);
    }
  }
  lock_.unlock();
  tell(changed);
}

void circuit_breaker::settle(std::uint64_t word, std::error_code e) {
  bool failed = false;
  try {
    failed = e && is_failure(e);
  } catch (...) {
    give_back(word);
    throw;
  }
  // An error that is nobody's failure says nothing of the callee.
  if (e && !failed) {
    give_back(word);
  } else {
    settle(word, !failed);
  }
}

void circuit_breaker::give_back(std::uint64_t word) noexcept {
  if (state_of(word) != circuit_state::half_open) return;
  lock_.lock();
  if (word == word_.load(std::memory_order_relaxed)) --probes_out_;
  lock_.unlock();
}

circuit_state circuit_breaker::state() const {
  const std::int64_t now = now_ns();
  lock_.lock();
  circuit_state s = state_of(word_.load(std::memory_order_relaxed));
  if (s == circuit_state::open && now - since_ >= options_.open_for.count()) {
    s = circuit_state::half_open;
  }
  lock_.unlock();
  return s;
}

void circuit_breaker::move_to(circuit_state to) {
  const std::int64_t now = now_ns();
  lock_.lock();
  const circuit_change c = change(to, now);
  lock_.unlock();
  if (c.from != c.to) tell(c);
}

void circuit_breaker::trip() { move_to(circuit_state::open); }

void circuit_breaker::reset() { move_to(circuit_state::closed); }

}  // namespace weft::inline v0
