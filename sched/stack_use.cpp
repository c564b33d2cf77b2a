// SPDX-License-Identifier: Apache-2.0
#include <weft/stack_use.hpp>

#include <algorithm>
#include <map>
#include <ostream>
#include <sstream>
#include <tuple>

#include "runtime/debug.hpp"
#include "runtime/ledger.hpp"
#include "runtime/stack_pool.hpp"
#include "runtime/stack_watch.hpp"
#include "sched/runtime_state.hpp"

namespace weft::inline v0 {
namespace diag {
namespace {

// One line of source can have several site objects (a template, an inline function in two files):
// they are one row here.
using key = std::tuple<std::string, std::uint32_t, int>;  // file, line, class
using table = std::map<key, stack_use_row>;

void add(table& t, const detail::stack_use& use) {
  const detail::site_text site = detail::describe_site(use.site);
  stack_use_row& row = t[{site.file, site.line, use.stack_class}];
  row.file = site.file;
  row.line = site.line;
  row.function = site.function;
  row.fibers += use.fibers;
  row.high_water = std::max<std::size_t>(row.high_water, use.most);
  row.stack_size = detail::stack_class_size[static_cast<std::size_t>(use.stack_class)];
}

std::size_t enough_for(std::size_t high_water) noexcept {
  int c = 0;
  while (c + 1 < detail::stack_classes &&
         detail::stack_cache::usable_size(c) < high_water + high_water / 4) {
    ++c;
  }
  return detail::stack_class_size[static_cast<std::size_t>(c)];
}

}  // namespace

std::vector<stack_use_row> stack_use() {
  table t;
  detail::stack_use_visit(
      [](const detail::stack_use& use, void* context) { add(*static_cast<table*>(context), use); },
      &t);
  std::vector<stack_use_row> rows;
  for (auto& [k, row] : t) {
    row.enough_size = enough_for(row.high_water);
    rows.push_back(std::move(row));
  }
  return rows;
}

std::ostream& operator<<(std::ostream& os, const stack_use_row& row) {
  return os << row.high_water / 1024 << " KiB of " << row.stack_size / 1024 << " KiB ("
            << row.enough_size / 1024 << " KiB are enough): " << row.fibers << " fibers of "
            << row.file << ':' << row.line << " (" << row.function << ")";
}

}  // namespace diag

namespace detail {

void log_stack_use() noexcept {
  if (!stack_use_is_measured) return;
  try {
    log_line("weft: stacks: the most that fibers have used, by the line that started them");
    for (const diag::stack_use_row& row : diag::stack_use()) {
      std::ostringstream text;
      text << "weft: stacks: " << row;
      log_line(text.str().c_str());
    }
  } catch (...) {
    log_line("weft: stacks: no memory for the table");
  }
}

}  // namespace detail
}  // namespace weft::inline v0
