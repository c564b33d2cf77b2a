// SPDX-License-Identifier: Apache-2.0
// The public face of the server; all work is in server_core.
#include <weft/http/server.hpp>

#include <utility>

#include "http/server_core.hpp"

namespace weft::inline v0::http {

server::server(server_options options, std::source_location site)
    : core_(std::make_unique<detail::server_core>(std::move(options), site)) {}

server::~server() = default;

result<void> server::serve(net::listener listener) { return core_->serve(background(), listener); }

result<void> server::serve(const context& ctx, net::listener&& listener) {
  return core_->serve(ctx, listener);
}

result<void> server::shutdown(const context& ctx) { return core_->shutdown(ctx); }

server_stats server::stats() const { return core_->stats(); }

}  // namespace weft::inline v0::http
