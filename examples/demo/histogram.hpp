// SPDX-License-Identifier: Apache-2.0
// Durations in buckets that widen with their values: 32 to each power of two, so a quantile is off
// by 3 % at most. Any number of fibers may record at once.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace demo {

class histogram {
 public:
  void record(std::chrono::nanoseconds d) noexcept {
    const auto ns = d.count() > 0 ? static_cast<std::uint64_t>(d.count()) : 0;
    buckets_[index(ns)].fetch_add(1, std::memory_order_relaxed);
  }

  [[nodiscard]] std::uint64_t count() const noexcept {
    std::uint64_t n = 0;
    for (const auto& b : buckets_) n += b.load(std::memory_order_relaxed);
    return n;
  }

  /// The smallest bucket bound that at least this part of the values lies below, in nanoseconds.
  [[nodiscard]] double quantile(double part) const noexcept {
    const auto wanted = static_cast<std::uint64_t>(part * static_cast<double>(count()));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      seen += buckets_[i].load(std::memory_order_relaxed);
      if (seen > wanted) return static_cast<double>(upper_bound(i));
    }
    return 0;
  }

 private:
  static constexpr unsigned sub_bits = 5;
  static constexpr std::uint64_t sub = std::uint64_t{1} << sub_bits;
  static constexpr unsigned top_bit = 40;  // 18 minutes; longer counts as that

  /// Values below `sub` have a bucket each; above, the five bits after the leading one choose.
  [[nodiscard]] static std::size_t index(std::uint64_t ns) noexcept {
    if (ns >= std::uint64_t{1} << top_bit) ns = (std::uint64_t{1} << top_bit) - 1;
    if (ns < sub) return static_cast<std::size_t>(ns);
    const unsigned shift = static_cast<unsigned>(std::bit_width(ns)) - 1 - sub_bits;
    return static_cast<std::size_t>((shift + 1) * sub + ((ns >> shift) - sub));
  }
  [[nodiscard]] static std::uint64_t upper_bound(std::size_t i) noexcept {
    if (i < sub) return i + 1;
    const std::uint64_t shift = i / sub - 1;
    return (sub + i % sub + 1) << shift;
  }

  std::array<std::atomic<std::uint64_t>, (top_bit - sub_bits + 1) * sub> buckets_{};
};

}  // namespace demo
