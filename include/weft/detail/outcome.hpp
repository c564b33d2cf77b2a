// SPDX-License-Identifier: Apache-2.0
// What retry and circuit_breaker can tell from what a user's function returns: whether it failed,
// with which error, and what a result<> of it is.
#pragma once

#include <system_error>
#include <type_traits>
#include <utility>

#include <weft/error.hpp>

namespace weft::inline v0::detail {

/// A plain value: the function fails by throwing only.
template <class R>
struct outcome {
  using type = result<R>;
  static constexpr bool tells = false;
};

template <>
struct outcome<std::error_code> {
  using type = result<void>;
  static constexpr bool tells = true;
  [[nodiscard]] static bool failed(std::error_code e) noexcept { return static_cast<bool>(e); }
  [[nodiscard]] static std::error_code error(std::error_code e) noexcept { return e; }
  [[nodiscard]] static type as_result(std::error_code e) noexcept {
    if (e) return failure(e);
    return {};
  }
};

template <class T>
struct outcome<result<T>> {
  using type = result<T>;
  static constexpr bool tells = true;
  [[nodiscard]] static bool failed(const result<T>& r) noexcept { return !r.has_value(); }
  [[nodiscard]] static std::error_code error(const result<T>& r) noexcept {
    return r.has_value() ? std::error_code{} : r.error();
  }
  [[nodiscard]] static type as_result(result<T>&& r) { return std::move(r); }
};

template <class R>
using outcome_of = outcome<std::remove_cvref_t<R>>;

}  // namespace weft::inline v0::detail
