// SPDX-License-Identifier: Apache-2.0
#include <weft/leak.hpp>

#include <algorithm>
#include <array>
#include <map>
#include <ostream>
#include <sstream>
#include <tuple>

#include <weft/time.hpp>
#include "runtime/debug.hpp"
#include "runtime/fiber_pool.hpp"
#include "runtime/ledger.hpp"

namespace weft::inline v0::leak {
namespace {

constexpr std::array<const char*, detail::account_kinds> kind_names = {
    "fiber", "channel", "timer", "ticker", "context", "connection", "pool object"};

// One line of source can have several site objects (a template, an inline function in two files):
// they are one row here.
using key = std::tuple<std::string, std::string, std::uint32_t>;  // kind, file, line
struct value {
  std::string function;
  std::int64_t live = 0;
};
using table = std::map<key, value>;

void add(table& t, detail::account_kind kind, const void* site, std::int64_t live) {
  const detail::site_text text = detail::describe_site(site);
  value& v = t[{kind_names[static_cast<std::size_t>(kind)], text.file, text.line}];
  v.function = text.function;
  v.live += live;
}

accounts_snapshot to_snapshot(const table& t) {
  accounts_snapshot s;
  for (const auto& [k, v] : t) {
    if (v.live == 0) continue;
    s.rows.push_back({std::get<0>(k), std::get<1>(k), std::get<2>(k), v.function, v.live});
  }
  return s;
}

void add_rows(table& t, const accounts_snapshot& s, int sign) {
  for (const row& r : s.rows) {
    value& v = t[{r.kind, r.file, r.line}];
    v.function = r.function;
    v.live += sign * r.live;
  }
}

}  // namespace

std::int64_t accounts_snapshot::total() const noexcept {
  std::int64_t n = 0;
  for (const row& r : rows) n += r.live;
  return n;
}

accounts_snapshot snapshot() {
  table t;
  detail::ledger_visit(
      [](const detail::ledger_row& r, void* context) {
        add(*static_cast<table*>(context), r.kind, r.site, r.live);
      },
      &t);
  detail::fiber_visit(
      [](detail::fiber_core* g, void* context) {
        if (g->state.load(std::memory_order_acquire) == detail::fiber_state::dead) return;
        const void* site = std::atomic_ref<const void*>(g->site).load(std::memory_order_relaxed);
        add(*static_cast<table*>(context), detail::account_kind::fiber, site, 1);
      },
      &t);
  return to_snapshot(t);
}

accounts_snapshot diff(const accounts_snapshot& before) {
  table t;
  add_rows(t, snapshot(), 1);
  add_rows(t, before, -1);
  return to_snapshot(t);
}

std::ostream& operator<<(std::ostream& os, const accounts_snapshot& s) {
  if (s.rows.empty()) return os << "nothing\n";
  for (const row& r : s.rows) {
    os << (r.live > 0 ? "+" : "") << r.live << ' ' << r.kind << ' ' << r.file << ':' << r.line
       << " (" << r.function << ")\n";
  }
  return os;
}

guard::guard(reporter on_leak) : before_(snapshot()), on_leak_(on_leak) {}

guard::~guard() {
  // A fiber that has done its work may still be on its way out on another worker.
  accounts_snapshot left = diff(before_);
  for (int tries = 0; tries < 100 && left.total() > 0; ++tries) {
    weft::sleep_for(std::chrono::milliseconds(1));
    left = diff(before_);
  }
  const bool leaked =
      std::any_of(left.rows.begin(), left.rows.end(), [](const row& r) { return r.live > 0; });
  if (!leaked) return;
  if (on_leak_ != nullptr) {
    on_leak_(left);
    return;
  }
  std::ostringstream text;
  text << "weft: leaked:\n" << left;
  detail::log_line(text.str().c_str());
}

}  // namespace weft::inline v0::leak
