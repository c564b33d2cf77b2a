// SPDX-License-Identifier: Apache-2.0
// The HTTP/1.1 server: one fiber a connection, limits and timeouts at every stage, graceful
// shutdown. What it owns lives behind one pointer; connection fibers touch it through its lock or
// through single atomic words.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <source_location>

#include <weft/context.hpp>
#include <weft/detail/config.hpp>
#include <weft/error.hpp>
#include <weft/http/mux.hpp>
#include <weft/http/request.hpp>
#include <weft/http/response.hpp>
#include <weft/net.hpp>

namespace weft::inline v0::http {

namespace detail {
class server_core;
}  // namespace detail

/// Everything a server can be told. All limits are on by default.
struct server_options {
  http::handler handler;  ///< answers the requests; required

  std::size_t max_line_bytes = 8 << 10;     ///< request line (else 414) or one field (else 431)
  std::size_t max_header_bytes = 64 << 10;  ///< the whole head; else 431
  std::size_t max_fields = 100;             ///< else 431
  std::size_t max_body_bytes = 1 << 20;     ///< decoded; else 413
  std::size_t max_connections = 0;  ///< further ones wait in the kernel's queue; 0: no limit

  std::chrono::nanoseconds header_timeout = std::chrono::seconds(10);  ///< for the head; else 408
  std::chrono::nanoseconds body_timeout = std::chrono::seconds(30);    ///< for the body; else 408
  std::chrono::nanoseconds idle_timeout = std::chrono::seconds(60);    ///< between requests
  std::chrono::nanoseconds write_timeout = std::chrono::seconds(30);   ///< for one send at least

  /// How long shutdown() still accepts connections and waits for requests on idle ones. A
  /// connection that comes in the last moment has as long for its first request.
  std::chrono::nanoseconds grace = std::chrono::seconds(1);
  /// After the last answer of a connection: how long the client may take to close its side.
  std::chrono::nanoseconds drain_timeout = std::chrono::seconds(2);
};

/// A server's connections by state, and totals since it was made.
struct server_stats {
  std::size_t idle = 0;        ///< waiting for the first byte of a request
  std::size_t reading = 0;     ///< a request is on its way
  std::size_t handling = 0;    ///< in the handler, or sending its answer
  std::size_t closing = 0;     ///< the last answer is sent; waiting for the client to close
  std::uint64_t accepted = 0;  ///< connections, in all
  std::uint64_t requests = 0;  ///< complete requests handed to the handler, in all
  std::uint64_t refused = 0;   ///< requests answered with an error by the server itself, in all
  [[nodiscard]] std::size_t connections() const noexcept {
    return idle + reading + handling + closing;
  }
};

/// An HTTP/1.1 server. All members may be called from any fiber or thread.
///   weft::http::server s({.handler = mux});
///   auto r = s.serve(std::move(*weft::net::listen("tcp", "127.0.0.1:8080")));
class WEFT_EXPORT server {
 public:
  /// Throws logic_error if there is no handler. The accounts name `site` for the fibers.
  explicit server(server_options options,
                  std::source_location site = std::source_location::current());
  server(const server&) = delete;
  server& operator=(const server&) = delete;
  /// Closes what is still open, hard, and waits until the last handler has returned.
  ~server();

  /// Accepts and serves until shutdown(), then returns success; may run on several listeners at
  /// once. Running out of descriptors makes it wait and go on. Any other failure of accept is
  /// returned; errc::closed if the server was shut down before.
  [[nodiscard]] result<void> serve(net::listener listener);
  /// The same, at most until ctx is done: then its error, and the listener stays open and the
  /// caller's, with what waits in its queue. Connections that were accepted are served on.
  [[nodiscard]] result<void> serve(const context& ctx, net::listener&& listener);

  /// Ends gracefully. For options.grace everything goes on, but answers say "Connection: close".
  /// Then the accept queues are emptied, idle connections closed after a last look for a request,
  /// and every request that has begun is answered. Returns once no connection is left, or with
  /// ctx's error when that is done first: then what is left is cut off, and handlers still running
  /// find request::ctx() done.
  [[nodiscard]] result<void> shutdown(const context& ctx);

  [[nodiscard]] server_stats stats() const;

 private:
  std::unique_ptr<detail::server_core> core_;
};

}  // namespace weft::inline v0::http
