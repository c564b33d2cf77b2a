// SPDX-License-Identifier: Apache-2.0
// See server_core.hpp: accepting, the phases of a shutdown, the list of connections.
#include "http/server_core.hpp"

#include <linux/filter.h>
#include <sys/socket.h>

#include <cerrno>
#include <exception>
#include <utility>

#include <weft/fiber.hpp>
#include <weft/time.hpp>

#include "http/connection.hpp"
#include "netpoll/socket.hpp"
#include "runtime/debug.hpp"

namespace weft::inline v0::http::detail {
namespace {

[[nodiscard]] parse_limits limits_of(const server_options& o) {
  parse_limits l;
  l.line = o.max_line_bytes;
  l.head = o.max_header_bytes;
  l.fields = o.max_fields;
  l.body = o.max_body_bytes;
  return l;
}

/// From here on the kernel drops what arrives for the listening socket itself: no handshake can
/// complete between the last accept and the close, which would reset it. Refused (unix sockets,
/// seccomp): the gap is as small as it was.
void stop_handshakes(int fd) noexcept {
  sock_filter drop_all{BPF_RET | BPF_K, 0, 0, 0};
  const sock_fprog program{1, &drop_all};
  (void)::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

/// A socket from the kernel's queue, until somebody takes it over.
class queued_socket {
 public:
  /// The next one; never waits.
  explicit queued_socket(int listening) noexcept : fd_(net::sys::accept(listening)) {}
  queued_socket(const queued_socket&) = delete;
  queued_socket& operator=(const queued_socket&) = delete;
  ~queued_socket() {
    if (fd_ >= 0) net::sys::close(fd_);
  }
  /// Below zero there is none, and that is why.
  [[nodiscard]] int fd() const noexcept { return fd_; }
  void release() noexcept { fd_ = -1; }

 private:
  int fd_;
};

}  // namespace

server_core::server_core(server_options options, std::source_location site)
    : options_(std::move(options)),
      limits_(limits_of(options_)),
      site_(site),
      requests_(with_cancel(background(), site)) {
  if (!options_.handler) throw logic_error("weft::http::server: no handler");
  if (options_.max_connections > 0) slots_ = make_chan<unit>(options_.max_connections);
}

server_core::~server_core() {
  end_accepting();
  acceptors_.wait();
  abort();
  connections_.wait();
}

// ---- accepting ----

/// A serve() under way; lives in its frame.
class server_core::acceptor {
 public:
  acceptor(server_core& server, const context& parent) : server_(server) {
    mine_.push_back(with_cancel(parent, server.site_));
    place_ = mine_.begin();
    const std::lock_guard lock(server_.mutex_);
    // Whoever ends the grace sets the phase first: it finds us in the list, or we see the phase. It
    // waits for the last acceptor after that, so none is counted beside the wait.
    admitted_ = server_.phase() < server_phase::closing;
    if (!admitted_) return;
    server_.acceptors_.add(1);
    server_.accepting_.splice(server_.accepting_.begin(), mine_);
  }
  acceptor(const acceptor&) = delete;
  acceptor& operator=(const acceptor&) = delete;
  ~acceptor() {
    if (!admitted_) return;
    {
      const std::lock_guard lock(server_.mutex_);
      mine_.splice(mine_.begin(), server_.accepting_, place_);
    }
    server_.acceptors_.done();  // the server may be gone after it
  }

  [[nodiscard]] bool admitted() const noexcept { return admitted_; }
  /// Done when the caller's context is, or the grace is over.
  [[nodiscard]] const context& ctx() const noexcept { return place_->ctx; }

 private:
  server_core& server_;
  std::list<cancelable_context> mine_;  // the one of ours, while it is not the server's
  std::list<cancelable_context>::iterator place_;
  bool admitted_ = false;
};

result<void> server_core::serve(const context& ctx, const net::listener& listener) {
  if (const std::error_code e = ctx.err()) return failure(e);
  const acceptor self(*this, ctx);
  if (self.admitted()) return accept_until_told(self.ctx(), listener);
  listener.close();
  return failure(errc::closed);
}

/// Success: the grace is over. The context's error: it ended earlier, and the listener stays open.
/// A shortage of descriptors is waited out by accept() itself.
result<void> server_core::accept_until_told(const context& ctx, const net::listener& listener) {
  while (wait_for_slot(ctx)) {
    auto c = listener.accept(ctx, site_);
    if (c) {
      start(std::move(*c));
      continue;
    }
    give_slot_back();
    if (ctx.err()) break;
    listener.close();
    return failure(c.error());
  }
  if (phase() < server_phase::closing) return failure(ctx.err());
  accept_queued(listener);
  listener.close();
  return {};
}

/// False: told to end while waiting.
bool server_core::wait_for_slot(const context& ctx) {
  if (options_.max_connections == 0) return !ctx.err();
  return slots_.send(ctx, unit{}).has_value();
}

void server_core::give_slot_back() {
  if (options_.max_connections > 0) (void)slots_.try_recv();
}

/// The connections that the kernel had completed when the grace ended.
void server_core::accept_queued(const net::listener& listener) {
  stop_handshakes(listener.native_handle());
  for (;;) {
    queued_socket queued(listener.native_handle());
    if (queued.fd() == -ECONNABORTED) continue;
    if (queued.fd() < 0) return;
    auto c = net::adopt(queued.fd(), site_);
    if (!c) continue;
    queued.release();
    (void)c->set_no_delay(true);
    start(std::move(*c));
  }
}

void server_core::start(net::conn c) {
  connections_.add(1);
  accepted_.fetch_add(1, std::memory_order_relaxed);
  try {
    go(
        {.name = "http connection"},
        [this, conn = std::move(c)]() mutable {
          {
            connection self(*this, std::move(conn));
            self.run();
          }
          give_slot_back();
          connections_.done();
        },
        site_);
  } catch (const std::exception& e) {
    // No fiber to be had: this connection is dropped, the server goes on.
    weft::detail::log_format("weft: http: no fiber for a connection: %s", e.what());
    give_slot_back();
    connections_.done();
  }
}

// ---- the list ----

void server_core::enlist(connection& c) {
  const std::lock_guard lock(mutex_);
  c.next = first_;
  if (first_ != nullptr) first_->previous = &c;
  first_ = &c;
  ++open_;
}

void server_core::leave(connection& c) {
  const std::lock_guard lock(mutex_);
  (c.previous != nullptr ? c.previous->next : first_) = c.next;
  if (c.next != nullptr) c.next->previous = c.previous;
  --open_;
  past_requests_ += c.requests();
  past_refused_ += c.refused();
}

server_stats server_core::stats() const {
  server_stats s;
  s.accepted = accepted_.load(std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  s.requests = past_requests_;
  s.refused = past_refused_;
  for (const connection* c = first_; c != nullptr; c = c->next) {
    switch (c->state()) {
      case conn_state::idle:
        ++s.idle;
        break;
      case conn_state::reading:
        ++s.reading;
        break;
      case conn_state::handling:
        ++s.handling;
        break;
      case conn_state::closing:
        ++s.closing;
        break;
    }
    s.requests += c->requests();
    s.refused += c->refused();
  }
  return s;
}

// ---- the end ----

void server_core::advance(server_phase to) noexcept {
  server_phase now = phase_.load(std::memory_order_seq_cst);
  while (now < to && !phase_.compare_exchange_weak(now, to, std::memory_order_seq_cst)) {
  }
}

/// The grace is over.
void server_core::end_accepting() {
  advance(server_phase::closing);
  const std::lock_guard lock(mutex_);
  for (const cancelable_context& c : accepting_) c.cancel();
}

void server_core::wake_all(bool cut_off) {
  const std::lock_guard lock(mutex_);
  for (connection* c = first_; c != nullptr; c = c->next) c->wake(cut_off);
}

void server_core::abort() {
  advance(server_phase::aborting);
  requests_.cancel();
  wake_all(true);
}

result<void> server_core::shutdown(const context& ctx) {
  advance(server_phase::grace);
  auto r = sleep_for(ctx, options_.grace);
  end_accepting();
  if (r) r = acceptors_.wait(ctx);
  if (r) {
    wake_all(false);
    r = connections_.wait(ctx);
  }
  if (!r) abort();
  return r;
}

}  // namespace weft::inline v0::http::detail
