// SPDX-License-Identifier: Apache-2.0
// Birth and death of channels: one block for header and ring (pooled while small), chunks for
// unbounded ones, the accounts.
#include <algorithm>
#include <limits>
#include <new>

#include <weft/detail/fatal.hpp>
#include <weft/detail/ledger.hpp>
#include <weft/error.hpp>
#include "chan/block_pool.hpp"
#include "chan/chan_steps.hpp"

namespace weft::inline v0::detail {
namespace {

constexpr std::size_t round_up(std::size_t n, std::size_t align) noexcept {
  return (n + align - 1) & ~(align - 1);
}

struct block_shape {
  std::size_t align;
  std::size_t ring_at;
  std::size_t size;
};

block_shape shape_of(const element_ops& ops, chan_kind kind, std::size_t cap) {
  const std::size_t header =
      kind == chan_kind::unbounded ? sizeof(unbounded_core) : sizeof(chan_core);
  block_shape s{};
  s.align = std::max(alignof(unbounded_core), ops.align);
  s.ring_at = round_up(header, ops.align);
  if (cap > std::numeric_limits<std::uint32_t>::max() ||
      cap > (std::numeric_limits<std::ptrdiff_t>::max() - s.ring_at) / ops.size) {
    throw logic_error("weft::make_chan: no memory could hold such a capacity");
  }
  s.size = s.ring_at + cap * ops.size;
  return s;
}

constexpr std::size_t chunk_bytes = 4096;  // about a page of values at a time

chunk* make_chunk(const unbounded_core* u) {
  return static_cast<chunk*>(
      ::operator new(u->data_at + std::size_t{u->per_chunk} * u->ops->size,
                     std::align_val_t{std::max(u->ops->align, alignof(chunk))}));
}

void init(chan_core* c, const element_ops* ops, std::uint8_t width, chan_kind kind,
          std::uint32_t cap, std::byte* ring, const void* site) noexcept {
  c->kind = kind;
  c->width = width;
  c->may_bias = kind < chan_kind::conflated && ops->move == nullptr && ops->destroy == nullptr;
  c->cap = cap;
  c->ring = ring;
  c->ops = ops;
  c->site = site;
}

void destroy_values(chan_core* c) noexcept {
  if (c->ops->destroy == nullptr) return;
  if (c->kind == chan_kind::unbounded) {
    auto* u = static_cast<unbounded_core*>(c);
    chunk* k = u->first;
    for (std::uint32_t i = u->head; u->count > 0; --u->count, ++i) {
      if (i == u->per_chunk) {
        k = k->next;
        i = 0;
      }
      u->ops->destroy(chunk_slot(u, k, i));
    }
    return;
  }
  for (; c->count > 0; --c->count) {
    c->ops->destroy(ring_slot(c, c->head));
    if (++c->head == c->cap) c->head = 0;
  }
}

void free_chunks(unbounded_core* u) noexcept {
  for (chunk* k = u->first; k != nullptr;) {
    chunk* next = k->next;
    drop_garbage(u, k);
    k = next;
  }
  if (u->spare != nullptr) drop_garbage(u, u->spare);
}

void dispose_block(chan_core* c) noexcept {
  const std::size_t real_cap = c->kind == chan_kind::unbounded ? 0 : c->cap;
  const block_shape s = shape_of(*c->ops, c->kind, real_cap);
  destroy_values(c);
  ledger_remove(account_kind::channel, c->site);
  if (c->kind == chan_kind::unbounded) {
    auto* u = static_cast<unbounded_core*>(c);
    free_chunks(u);
    std::destroy_at(u);
  } else {
    std::destroy_at(c);
  }
  block_free(c, s.size, s.align);
}

}  // namespace

void drop_garbage(const chan_core* c, void* garbage) noexcept {
  ::operator delete(garbage, std::align_val_t{std::max(c->ops->align, alignof(chunk))});
}

chan_core* chan_make(const element_ops* ops, std::uint8_t width, chan_kind kind, std::size_t cap,
                     const void* site) {
  const block_shape s = shape_of(*ops, kind, cap);
  void* block = block_alloc(s.size, s.align);
  chan_core* c;
  if (kind == chan_kind::unbounded) {
    auto* u = ::new (block) unbounded_core;
    init(u, ops, width, kind, 0, nullptr, site);
    u->data_at = static_cast<std::uint32_t>(round_up(sizeof(chunk), ops->align));
    u->per_chunk = static_cast<std::uint32_t>(
        std::clamp<std::size_t>((chunk_bytes - sizeof(chunk)) / ops->size, 8, 256));
    try {
      u->first = u->last = make_chunk(u);
    } catch (...) {
      block_free(block, s.size, s.align);
      throw;
    }
    u->first->next = nullptr;
    c = u;
  } else {
    c = ::new (block) chan_core;
    init(c, ops, width, kind, static_cast<std::uint32_t>(cap),
         static_cast<std::byte*>(block) + s.ring_at, site);
  }
  c->dispose = &dispose_block;
  ledger_add(account_kind::channel, site);
  return c;
}

void chan_init(chan_core* c, const element_ops* ops, std::uint8_t width, std::uint32_t cap,
               std::byte* ring, const void* site) noexcept {
  init(c, ops, width, cap == 0 ? chan_kind::rendezvous : chan_kind::buffered, cap, ring, site);
  ledger_add(account_kind::channel, site);
}

void chan_fini(chan_core* c) noexcept {
  c->lock.lock();  // a partner's unlock is its last touch; this waits for it
  const bool waited_on = !c->recv_q.empty() || !c->send_q.empty();
  c->lock.unlock();
  if (waited_on) fatal("weft::channel destroyed while fibers wait on it");
  // acquire: what the dropped ends did is over.
  if (c->ends.load(std::memory_order_acquire) != both_ends) {
    fatal("weft::channel destroyed while ends of it exist");
  }
  destroy_values(c);
  ledger_remove(account_kind::channel, c->site);
}

void chan_last_end(chan_core* c) noexcept { c->dispose(c); }

}  // namespace weft::inline v0::detail
