// SPDX-License-Identifier: Apache-2.0
// What weft asks of a user's function: that it can be called the way it will be. That is as an
// lvalue, whatever it was when it was handed over, since it has a name by then.
#pragma once

#include <concepts>
#include <type_traits>

namespace weft::inline v0::detail {

/// Called where it is, before the function it was given to returns.
template <class F, class... Args>
concept borrowed_function = std::invocable<F&, Args...>;

/// Copied or moved away, and the copy is called: what fibers run. (The copy of a const one is not
/// const.)
template <class F, class... Args>
concept held_function =
    std::is_constructible_v<std::decay_t<F>, F> && std::invocable<std::decay_t<F>&, Args...>;

}  // namespace weft::inline v0::detail
