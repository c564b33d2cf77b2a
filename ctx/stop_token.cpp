// SPDX-License-Identifier: Apache-2.0
// A context that listens to a std::stop_token. The callback lies in the node and goes with it; its
// destructor waits for a callback that is running elsewhere, so the node outlives it.
#include <optional>

#include <weft/context.hpp>

namespace weft::inline v0 {
namespace detail {
namespace {

struct cancel_on_stop {
  context_node* node;
  void operator()() const noexcept {
    const std::error_code err = make_error_code(errc::canceled);
    node_cancel(node, err, err);
  }
};

using stop_listener = std::stop_callback<cancel_on_stop>;

}  // namespace
}  // namespace detail

cancelable_context with_stop_token(const context& parent, std::stop_token token,
                                   std::source_location where) {
  using namespace detail;
  cancelable_context out = with_cancel(parent, where);
  context_node* n = context_access::node(out.ctx);
  emplace_payload<stop_listener>(n, std::move(token), cancel_on_stop{n});
  return out;
}

}  // namespace weft::inline v0
