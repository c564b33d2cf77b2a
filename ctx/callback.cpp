// SPDX-License-Identifier: Apache-2.0
// after_func on a context: a leaf of the tree whose cancellation starts a fiber.
//
// The move active -> done decides between running and stopping: whoever marks the node (the tree's
// cancellation, or stop()) has won. While it is registered the registration holds a reference,
// which the winner gives back: after the run, or in stop().
#include <weft/context.hpp>
#include <weft/detail/fatal.hpp>

namespace weft::inline v0::detail {
namespace {

void run(context_node* n) {
  auto* callback = static_cast<callback_payload_base*>(n->data);
  callback->run(callback);
  node_drop(n);
}

void start(context_node* n) noexcept {
  try {
    fiber_start(fiber_make([n] { run(n); }, n->site, nullptr));
    return;
  } catch (const no_runtime_error&) {
  } catch (...) {
    fatal("out of memory while starting an after_func");
  }
  run(n);  // nobody else is left who could
}

bool stop(void* self) noexcept {
  auto* n = static_cast<context_node*>(self);
  fiber_core* woken = nullptr;
  n->lock.lock();
  const std::error_code err = make_error_code(errc::canceled);
  const bool ours = cancel_locked(n, err, err, &woken);
  n->lock.unlock();
  if (!ours) return false;
  if (context_node* parent = n->cancel_parent) {
    parent->lock.lock();
    node_unlink(parent, n);
    parent->lock.unlock();
    node_drop(n);  // the registration's
  }
  return true;
}

void drop(void* self) noexcept { node_drop(static_cast<context_node*>(self)); }

constexpr after_func_handle::operations operations{&stop, &drop};

}  // namespace

after_func_handle register_callback(context_node* n) noexcept {
  n->on_cancel = &start;
  // Below a context that is never done there is nothing to be registered with.
  if (n->cancel_parent != nullptr) {
    n->refs.fetch_add(1, std::memory_order_relaxed);
    node_link(n);
  }
  return after_func_handle(n, &operations);
}

}  // namespace weft::inline v0::detail
