// SPDX-License-Identifier: Apache-2.0
#include <weft/retry.hpp>

#include <algorithm>
#include <stdexcept>

#include <weft/detail/random.hpp>
#include <weft/time.hpp>

namespace weft::inline v0 {
namespace {

bool worth_it(const retry_options& o, std::error_code e) {
  return o.retryable ? o.retryable(e) : e != std::errc::operation_canceled;
}

/// The code of a std::system_error; empty for anything else.
std::error_code code_of(const std::exception_ptr& x) {
  try {
    std::rethrow_exception(x);
  } catch (const std::system_error& e) {
    return e.code();
  } catch (...) {
    return {};
  }
}

bool is_logic_error(const std::exception_ptr& x) {
  try {
    std::rethrow_exception(x);
  } catch (const std::logic_error&) {
    return true;
  } catch (...) {
    return false;
  }
}

/// Uniform in [0, most].
std::int64_t uniform(std::int64_t most) noexcept {
  __extension__ typedef unsigned __int128 wide;
  constexpr std::uint32_t steps = std::uint32_t{1} << 31;  // 5 ns of 10 s
  const wide range = static_cast<wide>(most) + 1;
  return static_cast<std::int64_t>(range * detail::fast_rand(steps) / steps);
}

}  // namespace

backoff::backoff(const retry_options& o)
    : first_ns_(std::min(o.initial, o.max_delay).count()),
      max_ns_(o.max_delay.count()),
      ceiling_ns_(first_ns_),
      multiplier_(o.multiplier),
      jitter_(o.jitter) {
  // Written so that NaN is refused.
  const bool sensible =
      first_ns_ >= 0 && multiplier_ >= 1 && jitter_ >= 0 && jitter_ <= 1 && o.timeout.count() >= 0;
  if (!sensible) throw logic_error("weft::retry: options that make no sense");
}

std::chrono::nanoseconds backoff::next() noexcept {
  const std::int64_t ceiling = ceiling_ns_;
  const double higher = static_cast<double>(ceiling) * multiplier_;
  ceiling_ns_ = higher < static_cast<double>(max_ns_) ? static_cast<std::int64_t>(higher) : max_ns_;
  const auto random_part = std::min(
      ceiling,
      jitter_ < 1 ? static_cast<std::int64_t>(static_cast<double>(ceiling) * jitter_) : ceiling);
  return std::chrono::nanoseconds(ceiling - random_part + uniform(random_part));
}

namespace detail {

retry_loop::retry_loop(const retry_options& o, cancel_node* node, std::int64_t deadline)
    : options_(o), node_(node), deadline_(deadline), backoff_(o) {
  if (o.timeout.count() > 0) deadline_ = std::min(deadline, deadline_after(o.timeout.count()));
}

bool retry_loop::again(std::error_code e) { return worth_it(options_, e) && pause(e, nullptr); }

bool retry_loop::again(const std::exception_ptr& x) {
  const std::error_code e = code_of(x);
  if (options_.retryable_exception) {
    if (!options_.retryable_exception(x)) return false;
  } else if (e ? !worth_it(options_, e) : is_logic_error(x)) {
    return false;
  }
  return pause(e, x);
}

bool retry_loop::pause(std::error_code e, const std::exception_ptr& x) {
  if (options_.max_attempts != 0 && attempt_ >= options_.max_attempts) return false;
  if (node_ != nullptr && node_->done()) return false;
  const std::chrono::nanoseconds delay = backoff_.next();
  const std::int64_t until = deadline_after(delay.count());
  if (until >= deadline_ && deadline_ != never) return false;  // no attempt could follow it
  if (options_.on_retry) {
    options_.on_retry({.attempt = attempt_, .error = e, .exception = x, .delay = delay});
  }
  if (!sleep_until_ctx(node_, until) || (node_ != nullptr && node_->done())) return false;
  // The kernel may have let us sleep for longer than that.
  if (deadline_ != never && now_ns() >= deadline_) return false;
  ++attempt_;
  return true;
}

}  // namespace detail
}  // namespace weft::inline v0
