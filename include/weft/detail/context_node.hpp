// SPDX-License-Identifier: Apache-2.0
// A node of the context tree: a cancel_node with a place in the tree, a deadline and a payload
// (a value, a callback). context.hpp puts handles on it; ctx/ holds the protocol.
//
// Two relations. `parent` (counted) is where values are looked up. `cancel_parent` is the nearest
// ancestor that can be cancelled; the node hangs in its list of children, uncounted, and is taken
// out when it is finished or dies. Value nodes and detached ones hang in no list.
//
// Who may touch what:
//   kind, parent, cancel_parent, target, deadline, timer.fire, site, payload
//                                                    immutable once linked
//   refs                                             atomic
//   children, done_chan (writing)                    this node's lock
//   next_child, prev_child, linked                   the lock of cancel_parent
//   timer                                            its heap's lock (rank 1; never under a lock
//                                                    of rank 2)
// Lock order: a node's lock is never held while another node's or a channel's is taken.
//
// A cancellation walks the subtree without recursion: mark a node, wake its waiters, close its done
// channel, descend into its first child with a reference, and on the way up take the finished child
// out of the list. Several may walk the same tree at once and help each other: a child leaves the
// list only when its whole subtree is finished, so whoever returns from a cancel has seen the
// subtree finished, also when somebody else had begun.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <weft/detail/cancel_node.hpp>
#include <weft/detail/config.hpp>
#include <weft/detail/timer_node.hpp>

namespace weft::inline v0::detail {

struct chan_core;

enum class node_kind : std::uint8_t {
  cancel,    ///< can be cancelled, may have a deadline
  value,     ///< carries a value
  detached,  ///< without_cancel
  callback,  ///< after_func: a child whose cancellation starts a fiber
  frame,     ///< a scoped_context's, not counted; copies are of a child on the heap
};

struct context_node;

/// A deadline, which finds its way back to the node.
struct deadline_timer : timer_node {
  context_node* node = nullptr;
};

inline constexpr std::size_t node_payload_size =
    32;  // a std::string, or a pointer and 24 bytes of closure

struct context_node : cancel_node {
  node_kind kind = node_kind::cancel;
  bool linked = false;
  bool of_frame = false;  // cancel_parent is a frame's node: may be gone, only it looks after us
  std::atomic<std::uint32_t> refs{1};
  context_node* parent = nullptr;
  context_node* cancel_parent = nullptr;
  context_node* target = nullptr;  // the node that says whether this context is done; null: never
  context_node* children = nullptr;
  context_node* next_child = nullptr;
  context_node* prev_child = nullptr;
  std::atomic<chan_core*> done_chan{nullptr};
  std::int64_t deadline = never;
  deadline_timer timer;
  const void* site = nullptr;
  void (*on_cancel)(context_node*) noexcept = nullptr;  // once, by the canceller, without locks
  const void* key = nullptr;                            // of a value
  void* data = nullptr;                                 // the payload, in `payload` or on the heap
  void (*destroy_data)(void* data, bool on_heap) noexcept = nullptr;
  alignas(16) std::byte payload[node_payload_size];

  [[nodiscard]] bool data_on_heap() const noexcept { return data != payload; }
};

/// A new node below `parent` (null: background) on the heap with one reference; parent is counted
/// by the node. Not yet in the tree. Throws bad_alloc.
[[nodiscard]] WEFT_EXPORT context_node* node_make(node_kind kind, context_node* parent,
                                                  const void* site);
/// Puts it into the tree: it is cancelled with its cancel_parent from now on, or born cancelled.
WEFT_EXPORT void node_link(context_node* n) noexcept;
/// The same with a deadline of its own. Throws no_runtime_error if nothing could ever fire it.
WEFT_EXPORT void node_link_with_deadline(context_node* n, std::int64_t deadline);
/// Cancels n's subtree; returns when all of it is cancelled. The caller keeps n alive.
WEFT_EXPORT void node_cancel(context_node* n, std::error_code err, std::error_code cause) noexcept;
/// A reference on a node that a list or registry leads to, under that one's lock; false if it is
/// dying.
[[nodiscard]] WEFT_EXPORT bool node_try_ref(context_node* n) noexcept;
/// Takes n out of parent's children if it is there; parent's lock held.
WEFT_EXPORT void node_unlink(context_node* parent, context_node* n) noexcept;
/// The last reference has gone.
WEFT_EXPORT void node_last_ref(context_node* n) noexcept;
/// The child on the heap that stands for a frame's node in copies of its handle; with a new
/// reference.
[[nodiscard]] WEFT_EXPORT context_node* node_promote(context_node* frame);
/// Ends a frame's node: cancels, and waits for others that are just passing through it.
WEFT_EXPORT void node_end_frame(context_node* frame) noexcept;
/// Builds a frame's node and links it. `deadline` may be never.
WEFT_EXPORT void node_init_frame(context_node* frame, context_node* parent, std::int64_t deadline,
                                 const void* site);
/// The done channel's core of the node that `n` listens to, made on first use; null: never done.
[[nodiscard]] WEFT_EXPORT chan_core* node_done_channel(context_node* n);

/// A counted copy of a handle's pointer.
[[nodiscard]] WEFT_INLINE context_node* node_share(context_node* n) {
  if (n == nullptr) return nullptr;
  if (n->kind == node_kind::frame) [[unlikely]]
    return node_promote(n);
  // relaxed: the caller has a reference.
  n->refs.fetch_add(1, std::memory_order_relaxed);
  return n;
}
WEFT_INLINE void node_drop(context_node* n) noexcept {
  if (n == nullptr || n->kind == node_kind::frame) return;
  // acq_rel: whoever drops the last one sees what all others did.
  if (n->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) node_last_ref(n);
}

/// Storage for a payload of `size`: in the node if it fits, else the caller allocates.
[[nodiscard]] constexpr bool payload_fits(std::size_t size, std::size_t align) noexcept {
  return size <= node_payload_size && align <= 16;
}

template <class T>
void destroy_payload(void* data, bool on_heap) noexcept {
  if (on_heap) {
    delete static_cast<T*>(data);
  } else {
    static_cast<T*>(data)->~T();
  }
}

/// Builds a T as n's payload.
template <class T, class... Args>
T* emplace_payload(context_node* n, Args&&... args) {
  T* data;
  if constexpr (payload_fits(sizeof(T), alignof(T))) {
    data = ::new (static_cast<void*>(n->payload)) T(static_cast<Args&&>(args)...);
  } else {
    data = new T(static_cast<Args&&>(args)...);
  }
  n->data = data;
  n->destroy_data = &destroy_payload<T>;
  return data;
}

}  // namespace weft::inline v0::detail
