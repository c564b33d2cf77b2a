// SPDX-License-Identifier: Apache-2.0
// The tree of contexts: birth, cancellation, deadlines and death of nodes. The law is at the top of
// weft/detail/context_node.hpp.
//
// Locked instructions of with_cancel + cancel below a cancellable parent: 3 locks (link, mark,
// unlink) and 4 reference counts; 2 more if it is ended by an explicit cancel() and not by its
// scope.
#include <sched.h>

#include <new>
#include <utility>

#include <weft/chan.hpp>
#include <weft/detail/chan_core.hpp>
#include <weft/detail/context_node.hpp>
#include <weft/detail/fatal.hpp>
#include <weft/detail/ledger.hpp>
#include <weft/detail/spawn.hpp>
#include "chan/block_pool.hpp"

namespace weft::inline v0::detail {
namespace {

void unref(context_node* n) noexcept {
  if (n->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) node_last_ref(n);
}

// --- the list of children; parent's lock held

void push_child(context_node* parent, context_node* n) noexcept {
  n->prev_child = nullptr;
  n->next_child = parent->children;
  if (parent->children != nullptr) parent->children->prev_child = n;
  parent->children = n;
  n->linked = true;
}

/// The first child, with a reference; dying ones are taken out on the way.
context_node* first_child(context_node* parent) noexcept {
  while (context_node* c = parent->children) {
    if (node_try_ref(c)) return c;
    node_unlink(parent, c);
  }
  return nullptr;
}

/// Takes n out of its parent's list, unless that parent is a frame's node, which may be gone.
void leave_parent(context_node* n) noexcept {
  context_node* parent = n->cancel_parent;
  if (parent == nullptr || n->of_frame) return;
  parent->lock.lock();
  node_unlink(parent, n);
  parent->lock.unlock();
}

void close_done_channel(chan_core* c) noexcept {
  if (c != nullptr) chan_close(c);
}

/// What only the one canceller of n does, without locks.
void after_cancel(context_node* n) noexcept {
  if (n->timer.fire != nullptr) static_cast<void>(timer_stop(&n->timer));
  if (n->on_cancel != nullptr) n->on_cancel(n);
}

/// Marks n done and wakes everything that waits on it. Returns its first child, with a reference.
context_node* cancel_one(context_node* n, std::error_code err, std::error_code cause) noexcept {
  fiber_core* woken = nullptr;
  n->lock.lock();
  const bool ours = cancel_locked(n, err, cause, &woken);
  chan_core* done = n->done_chan.load(std::memory_order_relaxed);
  context_node* child = first_child(n);
  n->lock.unlock();
  // By everybody who passes, not only the one who marked it: whoever returns from a cancel must
  // find the channel closed.
  close_done_channel(done);
  ready_all(woken);
  if (ours) after_cancel(n);
  return child;
}

void cancel_by_deadline(context_node* n) noexcept {
  const std::error_code err = make_error_code(errc::deadline_exceeded);
  node_cancel(n, err, err);
}

/// What the fiber of a deadline runs; it holds a reference, and gives it back also if the end of
/// its runtime has come before it.
class subtree_end {
 public:
  explicit subtree_end(context_node* n) noexcept : n_(n) {}
  subtree_end(subtree_end&& o) noexcept : n_(std::exchange(o.n_, nullptr)) {}
  ~subtree_end() {
    if (n_ != nullptr) unref(n_);
  }
  void operator()() const { cancel_by_deadline(n_); }

 private:
  context_node* n_;
};

/// A subtree is too much work under the heap's lock: a fiber does it. `n` comes with a reference.
void cancel_in_fiber(context_node* n) noexcept {
  subtree_end end(n);
  try {
    fiber_start(fiber_make(std::move(end), n->site, nullptr));
  } catch (...) {
    fatal("out of memory while a context's deadline passed");
  }
}

/// The deadline, under the heap's lock (rank 1): the node itself at once, its children in a fiber.
/// The node cannot die here: its last reference's owner stops the timer first.
void deadline_passed(timer_node* t, std::int64_t /*now*/) noexcept {
  context_node* n = static_cast<deadline_timer*>(t)->node;
  const std::error_code err = make_error_code(errc::deadline_exceeded);
  fiber_core* woken = nullptr;
  n->lock.lock();
  const bool ours = cancel_locked(n, err, err, &woken);
  chan_core* done = n->done_chan.load(std::memory_order_relaxed);
  const bool leaf = n->children == nullptr;
  // A frame's node does not wait for a fiber of ours when it ends, so that fiber works on its only
  // child, the one that copies of the handle use.
  context_node* top = nullptr;
  if (ours && !leaf) {
    if (n->kind == node_kind::frame) {
      top = first_child(n);
    } else if (node_try_ref(n)) {
      top = n;
    }
  }
  n->lock.unlock();
  if (!ours) return;
  close_done_channel(done);
  if (leaf) leave_parent(n);
  if (top != nullptr) cancel_in_fiber(top);
  ready_all(woken);
}

void init_relations(context_node* n, node_kind kind, context_node* parent) noexcept {
  context_node* above = parent == nullptr ? nullptr : parent->target;
  n->kind = kind;
  n->parent = parent;
  n->deadline = parent == nullptr ? never : parent->deadline;
  switch (kind) {
    case node_kind::value:
      n->target = above;
      break;
    case node_kind::detached:
      n->deadline = never;
      break;
    default:
      n->target = n;
      n->cancel_parent = above;
  }
}

/// Everything that a dead node leaves behind but its memory and its parent.
void clear_node(context_node* n) noexcept {
  if (n->timer.fire != nullptr) static_cast<void>(timer_stop(&n->timer));
  leave_parent(n);
  if (chan_core* done = n->done_chan.load(std::memory_order_relaxed)) {
    chan_drop_ends(done, one_send_end);
  }
  if (n->destroy_data != nullptr) n->destroy_data(n->data, n->data_on_heap());
  if (n->site != nullptr) ledger_remove(account_kind::context, n->site);
}

/// Links n and the timer of its own deadline, if that is nearer than what it inherits.
bool link_and_arm(context_node* n, std::int64_t deadline) noexcept {
  const bool own = deadline < n->deadline;
  if (own) {
    n->deadline = deadline;
    n->timer.fire = &deadline_passed;
    n->timer.node = n;
  }
  node_link(n);
  if (!own || n->done()) return true;
  if (deadline <= now_ns()) {
    cancel_by_deadline(n);
    return true;
  }
  if (!timer_start(&n->timer, deadline)) return false;
  // Cancelled meanwhile: its canceller may have looked for the timer too early.
  if (n->done()) static_cast<void>(timer_stop(&n->timer));
  return true;
}

}  // namespace

bool node_try_ref(context_node* n) noexcept {
  std::uint32_t refs = n->refs.load(std::memory_order_relaxed);
  while (refs != 0) {
    // relaxed: the list's lock, which we hold, orders us with the node's creator.
    if (n->refs.compare_exchange_weak(refs, refs + 1, std::memory_order_relaxed)) return true;
  }
  return false;
}

void node_unlink(context_node* parent, context_node* n) noexcept {
  if (!n->linked) return;
  (n->prev_child != nullptr ? n->prev_child->next_child : parent->children) = n->next_child;
  if (n->next_child != nullptr) n->next_child->prev_child = n->prev_child;
  n->next_child = n->prev_child = nullptr;
  n->linked = false;
}

context_node* node_make(node_kind kind, context_node* parent, const void* site) {
  parent = node_share(parent);
  void* block;
  try {
    block = block_alloc(sizeof(context_node));
  } catch (...) {
    node_drop(parent);
    throw;
  }
  auto* n = ::new (block) context_node;
  init_relations(n, kind, parent);
  n->site = site;
  if (site != nullptr) ledger_add(account_kind::context, site);
  return n;
}

void node_link(context_node* n) noexcept {
  context_node* parent = n->cancel_parent;
  if (parent == nullptr) return;
  parent->lock.lock();
  const bool born_done = parent->is_done.load(std::memory_order_relaxed);
  if (!born_done) push_child(parent, n);
  parent->lock.unlock();
  if (born_done) node_cancel(n, parent->err, parent->cause);
}

void node_link_with_deadline(context_node* n, std::int64_t deadline) {
  if (!link_and_arm(n, deadline)) throw no_runtime_error();
}

void node_cancel(context_node* root, std::error_code err, std::error_code cause) noexcept {
  context_node* n = root;
  for (;;) {
    context_node* child = cancel_one(n, err, cause);
    while (child == nullptr) {  // n's subtree is finished
      if (n == root) {
        leave_parent(root);
        return;
      }
      context_node* up =
          n->cancel_parent;  // we descended from it and hold a reference, or it is root
      up->lock.lock();
      node_unlink(up, n);
      child = first_child(up);
      up->lock.unlock();
      unref(n);
      n = up;
    }
    err = n->err;  // a node below keeps the reason of the one above it
    cause = n->cause;
    n = child;
  }
}

void node_last_ref(context_node* n) noexcept {
  while (n != nullptr) {  // not by recursion: chains may be long
    clear_node(n);
    context_node* parent = n->parent;
    std::destroy_at(n);
    block_free(n, sizeof(context_node));
    const bool last =
        parent != nullptr && parent->refs.fetch_sub(1, std::memory_order_acq_rel) == 1;
    n = last ? parent : nullptr;
  }
}

void node_init_frame(context_node* frame, context_node* parent, std::int64_t deadline,
                     const void* site) {
  parent = node_share(parent);
  init_relations(frame, node_kind::frame, parent);
  frame->site = site;
  ledger_add(account_kind::context, site);
  if (!link_and_arm(frame, deadline)) {
    node_end_frame(frame);
    throw no_runtime_error();
  }
}

void node_end_frame(context_node* frame) noexcept {
  const std::error_code err = make_error_code(errc::canceled);
  node_cancel(frame, err, err);
  // Others may just be climbing through us on their way; they do not park, so this is short.
  for (int spins = 0; frame->refs.load(std::memory_order_acquire) != 1; ++spins) {
    if (spins < 100) {
      cpu_relax();
    } else {
      ::sched_yield();
    }
  }
  frame->lock.lock();  // waits for the last unlock of those who went by
  auto* promoted = static_cast<context_node*>(std::exchange(frame->data, nullptr));
  frame->lock.unlock();
  clear_node(frame);
  node_drop(promoted);
  node_drop(frame->parent);
}

context_node* node_promote(context_node* frame) {
  frame->lock.lock();
  auto* n = static_cast<context_node*>(frame->data);
  frame->lock.unlock();
  if (n != nullptr) return node_share(n);

  n = node_make(node_kind::cancel, frame->parent, frame->site);
  n->cancel_parent = frame;
  n->of_frame = true;
  n->deadline = frame->deadline;
  n->refs.store(2, std::memory_order_relaxed);  // the frame's and the caller's
  frame->lock.lock();
  auto* first = static_cast<context_node*>(frame->data);
  const bool born_done = frame->is_done.load(std::memory_order_relaxed);
  if (first == nullptr) {
    frame->data = n;
    if (!born_done) push_child(frame, n);
  }
  frame->lock.unlock();
  if (first != nullptr) {  // somebody was faster
    n->refs.store(1, std::memory_order_relaxed);
    unref(n);
    return node_share(first);
  }
  if (born_done) node_cancel(n, frame->err, frame->cause);
  return n;
}

chan_core* node_done_channel(context_node* n) {
  context_node* t = n->target;
  if (t == nullptr) return nullptr;
  chan_core* c = t->done_chan.load(std::memory_order_acquire);
  if (c == nullptr) {
    chan_core* fresh = chan_make(&ops_of<unit>, width_of<unit>, chan_kind::rendezvous, 0, t->site);
    chan_drop_ends(fresh, one_recv_end);  // the node keeps the sending end
    t->lock.lock();
    c = t->done_chan.load(std::memory_order_relaxed);
    if (c == nullptr) t->done_chan.store(c = fresh, std::memory_order_release);
    t->lock.unlock();
    if (c != fresh) chan_drop_ends(fresh, one_send_end);
  }
  // Its canceller may have gone by before the channel was there.
  if (t->done()) chan_close(c);
  return c;
}

}  // namespace weft::inline v0::detail
