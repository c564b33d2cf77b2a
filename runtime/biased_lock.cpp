// SPDX-License-Identifier: Apache-2.0
// The slots of workers, and what their locks need of the rest of the house.
#include <weft/detail/biased_lock.hpp>

#include <array>
#include <cstddef>

#include <weft/detail/spin_lock.hpp>
#include "runtime/asymmetric_barrier.hpp"
#include "runtime/back_off.hpp"
#include "runtime/debug.hpp"

namespace weft::inline v0::detail {
namespace {

constexpr std::size_t max_slots = 1024;  // workers beyond go without

std::array<bias_slot, max_slots> slots;
constinit thread_local bias_slot* slot_of_thread = nullptr;

// Under `free_lock`: slots never used yet, and those given back, the last one first.
spin_lock free_lock;
std::size_t unused = 0;
std::array<std::uint16_t, max_slots> given_back;
std::size_t given_back_count = 0;

bias_slot* take_slot() noexcept {
  if (given_back_count > 0) return &slots[given_back[--given_back_count]];
  if (unused == max_slots) return nullptr;
  bias_slot* s = &slots[unused++];
  s->tag = static_cast<std::uint32_t>(2 * unused);
  s->mark = static_cast<std::uint8_t>(unused % 255 + 1);
  // So many locked instructions cost more than a barrier. Randomised runs are to test what follows,
  // not to be quick.
  s->price = debug_switch("random") ? 1 : 256;
  return s;
}

}  // namespace

bias_slot* bias_slot_acquire() noexcept {
  if (!membarrier_available) return nullptr;
  free_lock.lock();
  bias_slot* s = take_slot();
  free_lock.unlock();
  slot_of_thread = s;
  return s;
}

void bias_slot_release(bias_slot* s) noexcept {
  if (s == nullptr) return;
  slot_of_thread = nullptr;
  s->held.store(nullptr, std::memory_order_release);  // (is null already)
  free_lock.lock();
  given_back[given_back_count++] = static_cast<std::uint16_t>(s - slots.data());
  free_lock.unlock();
}

void lock_sync::heavy_barrier() noexcept { detail::heavy_barrier(); }

bias_slot* lock_sync::slot_of(std::uint32_t tag) noexcept { return &slots[tag / 2 - 1]; }

WEFT_NOINLINE bias_slot* lock_sync::own_slot() noexcept { return slot_of_thread; }

void lock_sync::pause(unsigned round) noexcept { back_off(round); }

}  // namespace weft::inline v0::detail
