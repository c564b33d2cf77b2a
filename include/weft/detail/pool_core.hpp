// SPDX-License-Identifier: Apache-2.0
// The untyped core behind pool<T>: objects are blocks that open with a pool_node, and are kept in
// caches of the Ps and in a shared list (sync/pool.cpp says how).
//
// A core lives until its owner has closed it and the last object has come back, so a handle that
// outlives its pool is reported and harmless.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

struct pool_core_impl;

/// Heads every object of a pool. `site` is written by whoever has the object; the rest is the
/// core's.
struct pool_node {
  pool_node* next = nullptr;               // in a cache or list
  std::atomic<const void*> site{nullptr};  // of the line that has it; null while it is in the pool
  pool_node* next_chain = nullptr;         // first ones of chains in the shared list
  pool_node* all_next = nullptr;           // every object of the pool, wherever it is
  pool_node* all_prev = nullptr;
};

struct pool_counts {
  std::uint64_t created = 0;
  std::uint64_t destroyed = 0;
  std::uint64_t out = 0;
};

/// Base of what a pool<T> keeps on the heap (its make and reset functions).
class WEFT_EXPORT pool_core {
 public:
  /// How the typed side ends an object, and itself.
  struct operations {
    void (*destroy)(pool_node* n) noexcept;
    void (*dispose)(pool_core* core) noexcept;
  };

  /// counted: objects that are out are in the accounts.
  pool_core(const operations* ops, std::int64_t idle_timeout_ns, bool counted = true);
  pool_core(const pool_core&) = delete;
  pool_core& operator=(const pool_core&) = delete;
  ~pool_core();

  /// An object of the pool for `site` (not null), or null when there is none to be reused.
  [[nodiscard]] pool_node* take(const void* site) noexcept;
  /// n has just been made: it belongs to the pool from here on, and is out, for `site`.
  void adopt(pool_node* n, const void* site) noexcept;
  /// n, which is out, comes back.
  void give(pool_node* n) noexcept;
  /// n, which is out, is not to be used again.
  void discard(pool_node* n) noexcept;
  /// Ends a generation now: what was not used during the last one is destroyed.
  void age() noexcept;
  /// The owner goes. Reports objects that are out; the last of them ends the core.
  void close() noexcept;
  [[nodiscard]] bool closed() const noexcept;
  [[nodiscard]] pool_counts counts() const noexcept;

 private:
  pool_core_impl* impl_;
};

/// Fatal: n is in the pool already.
[[noreturn]] WEFT_EXPORT void report_not_out() noexcept;
inline void require_out(const pool_node* n) noexcept {
  if (n->site.load(std::memory_order_relaxed) == nullptr) [[unlikely]]
    report_not_out();
}

/// The reset function of a user has thrown: says so in the log.
WEFT_EXPORT void report_reset_failure() noexcept;

}  // namespace weft::inline v0::detail
