// SPDX-License-Identifier: Apache-2.0
// after_func on a context: a leaf of the tree whose cancellation starts a fiber.
//
// The move active -> done decides between running and stopping: whoever marks the node (the tree's
// cancellation, or stop()) has won. While it is registered the registration holds a reference,
// which the winner gives back: after the run (or when the end of its runtime has come before it),
// or in stop().
#include <optional>
#include <utility>

#include <weft/context.hpp>
#include <weft/detail/fatal.hpp>
#include "sched/machine.hpp"

namespace weft::inline v0::detail {
namespace {

// Holds the registration's reference: a run that ends before the fiber has started destroys it.
class held_callback {
 public:
  explicit held_callback(context_node* counted) noexcept : n_(counted) {}
  held_callback(held_callback&& o) noexcept : n_(std::exchange(o.n_, nullptr)) {}
  ~held_callback() {
    if (n_ != nullptr) node_drop(n_);
  }

  void operator()() {
    auto* callback = static_cast<callback_payload_base*>(n_->data);
    callback->run(callback);
  }

 private:
  context_node* n_;
};

/// False: there is no runtime.
bool start_fiber(held_callback& held, const void* site) noexcept {
  // In a section: making a fiber is where others leave a runtime that ends, and half a tree would
  // stay as it is.
  machine* m = this_machine();
  std::optional<rt_section> section;
  if (m != nullptr) section.emplace(m);
  try {
    fiber_start(fiber_make(std::move(held), site, nullptr));
    return true;
  } catch (const no_runtime_error&) {
    return false;
  } catch (...) {
    fatal("out of memory while starting an after_func");
  }
}

void start(context_node* n) noexcept {
  held_callback held(n);
  // (Moved only once there is a fiber.) Nobody else is left who could.
  if (!start_fiber(held, n->site)) held();
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
