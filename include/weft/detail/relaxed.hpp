// SPDX-License-Identifier: Apache-2.0
// A variable that is written under a lock and may be looked at without it, as a hint: plain loads
// and stores for the machine, atomic ones for the language. Not for anything that orders others.
#pragma once

#include <atomic>

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

template <class T>
class relaxed {
 public:
  constexpr relaxed() noexcept = default;
  constexpr relaxed(T value) noexcept : value_(value) {}  // NOLINT(google-explicit-constructor)
  /// Copies the value; nobody else may be at either of them.
  relaxed(const relaxed& other) noexcept : value_(static_cast<T>(other)) {}
  relaxed& operator=(const relaxed& other) noexcept { return *this = static_cast<T>(other); }
  ~relaxed() = default;

  WEFT_INLINE relaxed& operator=(T value) noexcept {
    value_.store(value, std::memory_order_relaxed);
    return *this;
  }
  WEFT_INLINE operator T() const noexcept { return value_.load(std::memory_order_relaxed); }
  [[nodiscard]] WEFT_INLINE T operator->() const noexcept { return *this; }
  /// For whoever has not got the lock: what is read next is read after it.
  [[nodiscard]] WEFT_INLINE T look() const noexcept {
    return value_.load(std::memory_order_acquire);
  }
  WEFT_INLINE relaxed& operator++() noexcept { return *this = static_cast<T>(*this) + 1; }
  WEFT_INLINE relaxed& operator--() noexcept { return *this = static_cast<T>(*this) - 1; }

 private:
  std::atomic<T> value_{};
};

}  // namespace weft::inline v0::detail
