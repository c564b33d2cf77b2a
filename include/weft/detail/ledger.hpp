// SPDX-License-Identifier: Apache-2.0
// The accounts: how many objects of each kind are alive, by the line of user code that created
// them. Fibers and objects of a pool<T> are not counted here (they are walked on demand, so a spawn
// and a get pay nothing); everything else adds and removes itself. Lock-free, from any thread,
// never allocates from malloc.
#pragma once

#include <cstdint>

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

enum class account_kind : std::uint8_t {
  fiber,
  channel,
  timer,
  ticker,
  context,
  connection,
  pool_object,
};
inline constexpr int account_kinds = 7;

/// `site` is site_of(std::source_location) (spawn.hpp) or null.
WEFT_EXPORT void ledger_add(account_kind kind, const void* site) noexcept;
WEFT_EXPORT void ledger_remove(account_kind kind, const void* site) noexcept;

}  // namespace weft::inline v0::detail
