// SPDX-License-Identifier: Apache-2.0
// One open-addressed table of counters for the process, keyed by (kind, site). Sites are static
// data of the program, so the table is bounded by the program's text and entries are never removed.
// A slot's key is claimed once by CAS and then never changes (release there, acquire in readers);
// counters are relaxed: they order nothing.
#include "runtime/ledger.hpp"

#include <array>
#include <atomic>
#include <bit>
#include <mutex>
#include <source_location>

namespace weft::inline v0::detail {
namespace {

struct alignas(32) account {
  std::atomic<std::uintptr_t> key{0};
  std::atomic<std::int64_t> live{0};
  std::atomic<std::uint64_t> created{0};
};

constexpr std::size_t table_size = 8192;  // 256 KiB of zero pages, touched only as sites appear
static_assert(std::has_single_bit(table_size));
std::array<account, table_size> table;
std::array<account, account_kinds> overflow;  // sites that no longer fit share one account a kind

// Sites are at least 8-byte aligned static objects, so the low bits carry the kind + 1.
std::uintptr_t key_of(account_kind kind, const void* site) noexcept {
  return (reinterpret_cast<std::uintptr_t>(site) & ~std::uintptr_t{7}) |
         (static_cast<std::uintptr_t>(kind) + 1);
}
static_assert(account_kinds <= 7, "kind + 1 must fit in three bits");

account& find(account_kind kind, const void* site) noexcept {
  const std::uintptr_t key = key_of(kind, site);
  std::size_t i = (key * 0x9E3779B97F4A7C15) >> 51;
  for (std::size_t probes = 0; probes < 64; ++probes, ++i) {
    account& a = table[i & (table_size - 1)];
    std::uintptr_t seen = a.key.load(std::memory_order_acquire);
    if (seen == key) return a;
    if (seen == 0 && a.key.compare_exchange_strong(seen, key, std::memory_order_acq_rel)) return a;
    if (seen == key) return a;
  }
  return overflow[static_cast<std::size_t>(kind)];
}

// Not a spin lock: a visitor may allocate.
constinit std::mutex sources_lock;
constinit ledger_source* sources = nullptr;

void visit_counters(void (*visit)(const ledger_row&, void*), void* context) {
  for (const account& a : table) {
    const std::uintptr_t key = a.key.load(std::memory_order_acquire);
    if (key == 0) continue;
    const ledger_row row{static_cast<account_kind>((key & 7) - 1),
                         reinterpret_cast<const void*>(key & ~std::uintptr_t{7}),
                         a.live.load(std::memory_order_relaxed),
                         a.created.load(std::memory_order_relaxed)};
    visit(row, context);
  }
  for (std::size_t kind = 0; kind < overflow.size(); ++kind) {
    const account& a = overflow[kind];
    if (a.created.load(std::memory_order_relaxed) == 0) continue;
    visit({static_cast<account_kind>(kind), nullptr, a.live.load(std::memory_order_relaxed),
           a.created.load(std::memory_order_relaxed)},
          context);
  }
}

}  // namespace

void ledger_add(account_kind kind, const void* site) noexcept {
  account& a = find(kind, site);
  a.live.fetch_add(1, std::memory_order_relaxed);
  a.created.fetch_add(1, std::memory_order_relaxed);
}

void ledger_remove(account_kind kind, const void* site) noexcept {
  find(kind, site).live.fetch_sub(1, std::memory_order_relaxed);
}

void ledger_link(ledger_source* source) noexcept {
  const std::lock_guard<std::mutex> hold(sources_lock);
  source->prev = nullptr;
  source->next = sources;
  if (sources != nullptr) sources->prev = source;
  sources = source;
}

void ledger_unlink(ledger_source* source) noexcept {
  const std::lock_guard<std::mutex> hold(sources_lock);
  (source->prev != nullptr ? source->prev->next : sources) = source->next;
  if (source->next != nullptr) source->next->prev = source->prev;
}

void ledger_visit(void (*visit)(const ledger_row&, void*), void* context) {
  visit_counters(visit, context);
  const std::lock_guard<std::mutex> hold(sources_lock);
  for (ledger_source* s = sources; s != nullptr; s = s->next) s->walk(s, visit, context);
}

std::int64_t ledger_live(account_kind kind) noexcept {
  struct sum {
    account_kind kind;
    std::int64_t live;
  } s{kind, 0};
  const auto add = [](const ledger_row& row, void* context) {
    auto* out = static_cast<sum*>(context);
    if (row.kind == out->kind) out->live += row.live;
  };
  visit_counters(add, &s);
  const std::lock_guard<std::mutex> hold(sources_lock);
  for (ledger_source* from = sources; from != nullptr; from = from->next) {
    if (from->kind == kind) from->walk(from, add, &s);
  }
  return s.live;
}

site_text describe_site(const void* site) noexcept {
  if (site == nullptr) return {"?", "?", 0};
  const auto loc = __builtin_bit_cast(std::source_location, site);
  return {loc.file_name(), loc.function_name(), loc.line()};
}

}  // namespace weft::inline v0::detail
