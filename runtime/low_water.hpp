// SPDX-License-Identifier: Apache-2.0
// How many things of a pool nobody has wanted for a while: the least that were there at a time
// during a period. Those, and no others, can go without being missed; a load that comes and goes
// within a period keeps all it uses. Guarded by the lock of its pool.
#pragma once

#include <algorithm>
#include <cstddef>

namespace weft::inline v0::detail {

class low_water {
 public:
  void add(std::size_t n = 1) noexcept { have_ += n; }

  /// One is taken to be used.
  void take() noexcept {
    --have_;
    least_ = std::min(least_, have_);
  }

  /// One is taken to be given up. False: all that are left have been wanted lately.
  [[nodiscard]] bool give_up() noexcept {
    if (unwanted_ == 0 || have_ == 0) return false;
    --unwanted_;
    --have_;
    least_ = std::min(least_, have_);
    return true;
  }

  /// A period is over.
  void end_period() noexcept {
    unwanted_ = least_;
    least_ = have_;
  }

  /// All but `reserve` are unwanted from here on.
  void keep_only(std::size_t reserve) noexcept {
    unwanted_ = have_ > reserve ? have_ - reserve : 0;
    least_ = have_;
  }

  [[nodiscard]] std::size_t have() const noexcept { return have_; }
  [[nodiscard]] bool some_unwanted() const noexcept { return unwanted_ != 0 && have_ != 0; }

 private:
  std::size_t have_ = 0;
  std::size_t least_ = 0;
  std::size_t unwanted_ = 0;
};

}  // namespace weft::inline v0::detail
