// SPDX-License-Identifier: Apache-2.0
// Reading side of the accounts (the writing side is weft/detail/ledger.hpp).
#pragma once

#include <cstdint>

#include <weft/detail/ledger.hpp>

namespace weft::inline v0::detail {

struct ledger_row {
  account_kind kind;
  const void* site;
  std::int64_t live;
  std::uint64_t created;
};

/// Calls visit(row, context) for every account that was ever used. Figures are relaxed: exact when
/// nothing changes meanwhile.
void ledger_visit(void (*visit)(const ledger_row&, void*), void* context);

/// Somebody whose objects are counted by walking them, so that making one costs nothing: pools.
/// Embedded in its owner; linked under a lock of the ledger, which is held during `walk`.
struct ledger_source {
  account_kind kind = account_kind::pool_object;
  /// Calls visit(row, context) for its objects; several rows may have one site.
  void (*walk)(ledger_source* self, void (*visit)(const ledger_row&, void*),
               void* context) = nullptr;
  ledger_source* next = nullptr;
  ledger_source* prev = nullptr;
};
void ledger_link(ledger_source* source) noexcept;
/// After it nobody walks `source`.
void ledger_unlink(ledger_source* source) noexcept;

/// Live objects of one kind, all sites.
[[nodiscard]] std::int64_t ledger_live(account_kind kind) noexcept;

/// The source location behind a site, for printing. Null site: "?" and 0.
struct site_text {
  const char* file;
  const char* function;
  std::uint32_t line;
};
[[nodiscard]] site_text describe_site(const void* site) noexcept;

}  // namespace weft::inline v0::detail
