// SPDX-License-Identifier: Apache-2.0
#include "runtime/chunks.hpp"

#include <sys/prctl.h>

#include <array>
#include <atomic>
#include <cerrno>

#include "runtime/os.hpp"

namespace weft::inline v0::detail {
namespace {

// 48 bits of address: 9 choose the leaf, 13 the entry, 26 lie within the chunk.
constexpr unsigned chunk_bits = 26;
constexpr unsigned leaf_bits = 13;
constexpr std::size_t leaves = std::size_t{1} << (48 - chunk_bits - leaf_bits);
static_assert(chunk_bytes == std::size_t{1} << chunk_bits);

// index * 4 + use; 0: no chunk of ours. Release when it is set, acquire in find_chunk: what the
// owner wrote about it before is seen.
using entry = std::atomic<std::uint32_t>;
using leaf = std::array<entry, std::size_t{1} << leaf_bits>;

std::array<std::atomic<leaf*>, leaves> directory;

std::size_t leaf_of(std::uintptr_t address) noexcept { return address >> (chunk_bits + leaf_bits); }
std::size_t entry_of(std::uintptr_t address) noexcept {
  return (address >> chunk_bits) % (std::size_t{1} << leaf_bits);
}

entry* entry_for(const char* base) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(base);
  if (leaf_of(address) >= leaves) return nullptr;  // beyond 48 bits: nobody asked for that
  std::atomic<leaf*>& slot = directory[leaf_of(address)];
  leaf* l = slot.load(std::memory_order_acquire);
  if (l == nullptr) {
    auto* made = static_cast<leaf*>(os::map_anonymous(sizeof(leaf)));  // zeroes: no chunks
    if (made == nullptr) return nullptr;
    if (slot.compare_exchange_strong(l, made, std::memory_order_acq_rel)) {
      l = made;
    } else {
      ::munmap(made, sizeof(leaf));
    }
  }
  return &(*l)[entry_of(address)];
}

// The kernel places one below the other, so that all but the first are aligned by themselves.
char* map_aligned() noexcept {
  auto* base = static_cast<char*>(os::map_anonymous(chunk_bytes, MAP_NORESERVE));
  if (base == nullptr || offset_in_chunk(base) == 0) return base;
  ::munmap(base, chunk_bytes);
  base = static_cast<char*>(os::map_anonymous(2 * chunk_bytes, MAP_NORESERVE));
  if (base == nullptr) return nullptr;
  const std::size_t before = (chunk_bytes - offset_in_chunk(base)) % chunk_bytes;
  if (before != 0) ::munmap(base, before);
  ::munmap(base + before + chunk_bytes, chunk_bytes - before);
  return base + before;
}

}  // namespace

char* chunk_map(chunk_owner owner, const char* name) noexcept {
  char* base = map_aligned();
  if (base == nullptr) return nullptr;
  entry* e = entry_for(base);
  if (e == nullptr) {
    ::munmap(base, chunk_bytes);
    return nullptr;
  }
  // Neither has to work (a kernel without huge pages, or without names), and a fiber that starts
  // another keeps its errno.
  const int saved_errno = errno;
  ::madvise(base, chunk_bytes, MADV_NOHUGEPAGE);  // one touched page must not become 2 MiB
#ifdef PR_SET_VMA
  ::prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, base, chunk_bytes, name);
#else
  static_cast<void>(name);
#endif
  errno = saved_errno;
  e->store(owner.index * 4 + static_cast<std::uint32_t>(owner.use), std::memory_order_release);
  return base;
}

void chunk_unmap(char* base) noexcept {
  if (entry* e = entry_for(base)) e->store(0, std::memory_order_release);
  ::munmap(base, chunk_bytes);
}

chunk_owner find_chunk(const void* address) noexcept {
  const auto a = reinterpret_cast<std::uintptr_t>(address);
  if (leaf_of(a) >= leaves) return {};
  const leaf* l = directory[leaf_of(a)].load(std::memory_order_acquire);
  if (l == nullptr) return {};
  const std::uint32_t word = (*l)[entry_of(a)].load(std::memory_order_acquire);
  return {static_cast<chunk_use>(word % 4), word / 4};
}

}  // namespace weft::inline v0::detail
