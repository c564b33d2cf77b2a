// SPDX-License-Identifier: Apache-2.0
// What all connections of a server share: options, the phase of its life, the list of open
// connections, the pool of scratch memory.
//
// Law: the phase only grows. A connection sets its read deadline and then looks at the phase; the
// closer sets the phase and then everybody's deadline (poke). Both are sequentially consistent, so
// one of them sees the other and nobody sleeps through the end.
// A connection enlists before its first read and leaves the list before its descriptor is closed:
// whoever holds `mutex_` may use the descriptors of the listed ones.
// Lock order: mutex_ is a leaf but for what conn::set_deadline and a cancellation take.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <source_location>

#include <weft/context.hpp>
#include <weft/http/server.hpp>
#include <weft/net.hpp>
#include <weft/wait_group.hpp>

#include "http/framing_guard.hpp"
#include "http/scratch.hpp"

namespace weft::inline v0::http::detail {

class connection;

enum class server_phase : std::uint8_t {
  serving,
  grace,     // goes on, but answers say "Connection: close"
  closing,   // no request may begin any more
  aborting,  // out of time: leave at once
};

class server_core {
 public:
  server_core(server_options options, std::source_location site);
  server_core(const server_core&) = delete;
  server_core& operator=(const server_core&) = delete;
  ~server_core();

  [[nodiscard]] const server_options& options() const noexcept { return options_; }
  [[nodiscard]] const parse_limits& limits() const noexcept { return limits_; }
  [[nodiscard]] const context& ctx() const noexcept { return requests_.ctx; }
  [[nodiscard]] scratch_pool& scratches() noexcept { return scratches_; }
  [[nodiscard]] server_phase phase() const noexcept {
    return phase_.load(std::memory_order_seq_cst);
  }

  /// Closes the listener, unless ctx ends it.
  [[nodiscard]] result<void> serve(const context& ctx, const net::listener& listener);
  [[nodiscard]] result<void> shutdown(const context& ctx);
  [[nodiscard]] server_stats stats() const;

  /// By a connection's fiber: first and last thing it does.
  void enlist(connection& c);
  void leave(connection& c);

 private:
  class acceptor;

  void start(net::conn c);
  void accept_queued(const net::listener& listener);
  [[nodiscard]] result<void> accept_until_told(const context& ctx, const net::listener& listener);
  [[nodiscard]] bool wait_for_slot(const context& ctx);
  void give_slot_back();
  void advance(server_phase to) noexcept;
  void end_accepting();
  void wake_all(bool cut_off);
  void abort();

  const server_options options_;
  const parse_limits limits_;
  const std::source_location site_;

  std::atomic<server_phase> phase_{server_phase::serving};
  std::atomic<std::uint64_t> accepted_{0};
  scratch_pool scratches_;

  const cancelable_context requests_;  // done when the server aborts
  wait_group acceptors_;
  wait_group connections_;

  mutable std::mutex mutex_;
  // Of each serve() under way; guarded by mutex_. On the heap, as a frame may be abandoned.
  std::list<cancelable_context> accepting_;
  connection* first_ = nullptr;      // guarded by mutex_
  std::size_t open_ = 0;             // guarded by mutex_
  std::uint64_t past_requests_ = 0;  // of connections that have left; guarded by mutex_
  std::uint64_t past_refused_ = 0;   // guarded by mutex_
  chan<unit> slots_;                 // one value a connection, if their number is limited
};

}  // namespace weft::inline v0::http::detail
