// SPDX-License-Identifier: Apache-2.0
// The constructors of contexts that need no template, and the look-up of values.
#include <weft/context.hpp>

namespace weft::inline v0 {
namespace detail {

cancel_node* node_of(const context& ctx) noexcept {
  const context_node* n = context_access::node(ctx);
  return n == nullptr ? nullptr : n->target;
}

namespace {

/// Both handles on a node with one reference.
cancelable_context handles_on(context_node* n) {
  return {context_access::adopt(node_share(n)), context_access::adopt_cancel(n)};
}

}  // namespace

cancelable_context with_deadline_ns(const context& parent, std::int64_t deadline,
                                    const void* site) {
  // The handles first: they cancel and give the node back if there is no runtime for the timer.
  cancelable_context out =
      handles_on(node_make(node_kind::cancel, context_access::node(parent), site));
  node_link_with_deadline(context_access::node(out.ctx), deadline);
  return out;
}

}  // namespace detail

cancelable_context with_cancel(const context& parent, std::source_location where) {
  using namespace detail;
  context_node* n = node_make(node_kind::cancel, context_access::node(parent), site_of(where));
  node_link(n);
  return handles_on(n);
}

context without_cancel(const context& parent, std::source_location where) {
  using namespace detail;
  return context_access::adopt(
      node_make(node_kind::detached, context_access::node(parent), site_of(where)));
}

const void* context::find_value(const void* key) const noexcept {
  for (const detail::context_node* n = node_; n != nullptr; n = n->parent) {
    if (n->key == key) return n->data;
  }
  return nullptr;
}

}  // namespace weft::inline v0
