// SPDX-License-Identifier: Apache-2.0
// after_func on a context: a leaf of the tree whose cancellation starts a fiber.
//
// The move active -> done decides between running and stopping: whoever marks the node (the tree's
// cancellation, or stop()) has won. While it is registered the registration holds a reference,
// which the winner gives back: after the run (or when the end of its runtime has come before it),
// or in stop().
#include <utility>

#include <weft/context.hpp>
#include <weft/detail/fatal.hpp>

namespace weft::inline v0::detail {
namespace {

/// What the fiber runs; it holds the registration's reference.
class callback_run {
 public:
  explicit callback_run(context_node* n) noexcept : n_(n) {}
  callback_run(callback_run&& o) noexcept : n_(std::exchange(o.n_, nullptr)) {}
  ~callback_run() { node_drop(n_); }
  void operator()() const {
    auto* callback = static_cast<callback_payload_base*>(n_->data);
    callback->run(callback);
  }

 private:
  context_node* n_;
};

void start(context_node* n) noexcept {
  callback_run run(n);
  try {
    fiber_start(fiber_make(std::move(run), n->site, nullptr));
    return;
  } catch (const no_runtime_error&) {
  } catch (...) {
    fatal("out of memory while starting an after_func");
  }
  // Nobody else is left who could. (Nothing was moved: it threw before that.)
  run();  // NOLINT(bugprone-use-after-move)
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
