// SPDX-License-Identifier: Apache-2.0
// The root context of a runtime: made by the first who asks, kept in the runtime's slot, cancelled
// by the runtime when its main fiber has returned.
#include <weft/context.hpp>
#include <weft/detail/runtime_hooks.hpp>

namespace weft::inline v0 {
namespace detail {
namespace {

void cancel_root(void* context) {
  const std::error_code err = make_error_code(errc::canceled);
  node_cancel(static_cast<context_node*>(context), err, err);
}

void destroy_root(void* context) {
  cancel_root(context);
  node_drop(static_cast<context_node*>(context));
}

}  // namespace
}  // namespace detail

context root_context() {
  using namespace detail;
  root_slot* slot = current_root_slot();
  if (slot == nullptr) return background();
  // Without a site: it is the runtime's, not a line of the user's.
  context_node* fresh = nullptr;
  for (;;) {
    slot->lock.lock();
    auto* n = static_cast<context_node*>(slot->context);
    if (n == nullptr && fresh != nullptr) {
      slot->cancel = &cancel_root;
      slot->destroy = &destroy_root;
      slot->context = n = std::exchange(fresh, nullptr);
    }
    if (n != nullptr) n->refs.fetch_add(1, std::memory_order_relaxed);
    slot->lock.unlock();
    if (n != nullptr) {
      node_drop(fresh);
      return context_access::adopt(n);
    }
    fresh = node_make(node_kind::cancel, nullptr, nullptr);
  }
}

}  // namespace weft::inline v0
