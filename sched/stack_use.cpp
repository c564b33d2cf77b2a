// SPDX-License-Identifier: Apache-2.0
#include <weft/stack_use.hpp>

#include <algorithm>
#include <array>
#include <map>
#include <ostream>
#include <sstream>
#include <tuple>

#include "runtime/debug.hpp"
#include "runtime/fiber_pool.hpp"
#include "runtime/ledger.hpp"
#include "runtime/stack_pool.hpp"
#include "runtime/stack_watch.hpp"
#include "sched/runtime_state.hpp"
#include "sched/stack_hold.hpp"

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
  row.stack_size = detail::stack_class_asked[static_cast<std::size_t>(use.stack_class)];
}

std::size_t enough_for(std::size_t high_water) noexcept {
  int c = 0;
  while (c + 1 < detail::stack_classes &&
         detail::stack_cache::usable_size(c) < high_water + high_water / 4) {
    ++c;
  }
  return detail::stack_class_asked[static_cast<std::size_t>(c)];
}

// The parked fibers of a runtime, held for a look at their stacks, some at a time.
class parked_fibers {
 public:
  parked_fibers(const detail::runtime_state* rt, table* t) noexcept : rt_(rt), table_(t) {}

  void add_all() {
    detail::fiber_visit(
        [](detail::fiber_core* g, void* self) { static_cast<parked_fibers*>(self)->look_at(g); },
        this);
    add_candidates();
  }

 private:
  static constexpr std::size_t at_once = 16;

  [[nodiscard]] bool is_ours(detail::fiber_core* g) const { return detail::runtime_of(g) == rt_; }

  void look_at(detail::fiber_core* g) {
    if (g->state.load(std::memory_order_relaxed) != detail::fiber_state::waiting || !is_ours(g)) {
      return;
    }
    candidates_.add(g);
    if (candidates_.full()) add_candidates();
  }

  void add_candidates() {
    std::array<detail::stack_use, at_once> found{};
    std::size_t n = 0;
    candidates_.visit_held([this](detail::fiber_core* g) { return is_ours(g); },
                           [&](const detail::fiber_core* g) {
                             if ((g->flags & detail::fiber_is_watched) == 0) return;
                             found[n++] = {g->site, g->stack_class, 1,
                                           detail::bytes_in_memory(g->stack_class, g->stack_lo)};
                           });
    for (std::size_t i = 0; i < n; ++i) add(*table_, found[i]);
  }

  const detail::runtime_state* rt_;
  table* table_;
  detail::machine_head mark_;
  detail::basic_stack_hold<detail::native_sync, detail::fiber_core, detail::machine_head, at_once>
      candidates_{&mark_};
};

void add_parked(table& t) {
  if (!detail::stack_use_is_measured || !detail::membarrier_available) return;
  const detail::runtime_hold hold;
  if (hold.get() != nullptr) parked_fibers(hold.get(), &t).add_all();
}

}  // namespace

std::vector<stack_use_row> stack_use() {
  table t;
  add_parked(t);
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
