// SPDX-License-Identifier: Apache-2.0
// Accounts by creation site: what is alive, which line made it, and what changed between two
// moments.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include <weft/detail/config.hpp>

namespace weft::inline v0::leak {

/// One creation site and what it has alive.
struct row {
  std::string kind;  ///< "fiber", "channel", "timer", "ticker", "context", "connection", ...
  std::string file;
  std::uint32_t line = 0;
  std::string function;
  std::int64_t live = 0;
};

/// The accounts at one moment, sorted by kind, file and line; sites with nothing alive left out.
struct accounts_snapshot {
  std::vector<row> rows;
  /// What is alive in all.
  [[nodiscard]] WEFT_EXPORT std::int64_t total() const noexcept;
};

/// What is alive in the process now. From any thread; exact when nothing changes meanwhile.
[[nodiscard]] WEFT_EXPORT accounts_snapshot snapshot();

/// What has been added (live > 0) or has gone (live < 0) since `before`.
[[nodiscard]] WEFT_EXPORT accounts_snapshot diff(const accounts_snapshot& before);

/// "+2 fiber app.cpp:88 (worker)" a line; "nothing" when empty.
WEFT_EXPORT std::ostream& operator<<(std::ostream& os, const accounts_snapshot& s);

/// Notices in its destructor whether anything made inside the scope outlives it. Objects that are
/// on their way out (a fiber between its last line and its end) get `patience` to go.
class WEFT_EXPORT guard {
 public:
  /// What to do with a leak: called with the difference. The default logs it.
  using reporter = void (*)(const accounts_snapshot&);
  explicit guard(reporter on_leak);
  /// (Not explicit: an aggregate makes its members from {}.)
  guard() : guard(nullptr) {}
  guard(const guard&) = delete;
  guard& operator=(const guard&) = delete;
  ~guard();

 private:
  accounts_snapshot before_;
  reporter on_leak_;
};

}  // namespace weft::inline v0::leak
