// SPDX-License-Identifier: Apache-2.0
// The bytes read from a connection and not yet consumed, contiguous, in memory that is reused from
// request to request. One fiber owns it; it knows nothing of HTTP.
//   [0, begin) consumed   [begin, end) pending   [end, capacity) free
// Growing or compacting moves the pending bytes: keep offsets from data(), not pointers.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

namespace weft::inline v0::http::detail {

class input_buffer {
 public:
  explicit input_buffer(std::size_t initial_bytes = 4096)
      : data_(std::make_unique_for_overwrite<char[]>(initial_bytes)), capacity_(initial_bytes) {}

  [[nodiscard]] char* data() noexcept { return data_.get() + begin_; }
  [[nodiscard]] const char* data() const noexcept { return data_.get() + begin_; }
  [[nodiscard]] std::size_t size() const noexcept { return end_ - begin_; }
  [[nodiscard]] bool empty() const noexcept { return begin_ == end_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

  /// Room for at least `min_bytes` more; compacts first, and doubles if that is not enough.
  [[nodiscard]] std::span<char> free_space(std::size_t min_bytes) {
    if (capacity_ - end_ < min_bytes) make_room(min_bytes);
    return {data_.get() + end_, capacity_ - end_};
  }

  /// `n` bytes were written into free_space().
  void commit(std::size_t n) noexcept { end_ += n; }

  void append(std::string_view bytes) {
    const auto room = free_space(bytes.size());
    std::memcpy(room.data(), bytes.data(), bytes.size());
    commit(bytes.size());
  }

  /// The first `n` pending bytes are done with.
  void consume(std::size_t n) noexcept {
    begin_ += n;
    if (begin_ == end_) begin_ = end_ = 0;
  }

  /// Takes the pending bytes [from, to) out; what follows moves down.
  void erase(std::size_t from, std::size_t to) noexcept {
    if (from == to) return;
    std::memmove(data() + from, data() + to, size() - to);
    end_ -= to - from;
  }

  void clear() noexcept { begin_ = end_ = 0; }

 private:
  void make_room(std::size_t min_bytes) {
    if (capacity_ - size() >= min_bytes) {
      std::memmove(data_.get(), data(), size());
    } else {
      std::size_t bigger = capacity_;
      while (bigger - size() < min_bytes) bigger *= 2;
      auto grown = std::make_unique_for_overwrite<char[]>(bigger);
      std::memcpy(grown.get(), data(), size());
      data_ = std::move(grown);
      capacity_ = bigger;
    }
    end_ -= begin_;
    begin_ = 0;
  }

  std::unique_ptr<char[]> data_;
  std::size_t capacity_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace weft::inline v0::http::detail
