// SPDX-License-Identifier: Apache-2.0
// What a connection needs only while a request is under way: buffers, parser, answer. Idle
// connections give theirs back, so a server's memory follows its active connections.
// A scratch belongs to one connection at a time; the pool hands it over under its lock.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "http/input_buffer.hpp"
#include "http/request_parser.hpp"
#include "http/response_writer.hpp"

namespace weft::inline v0::http::detail {

struct scratch {
  // Buffers above this size are given back after the request that needed them.
  static constexpr std::size_t keep_bytes = 128 << 10;

  input_buffer in;
  request_parser parser;
  std::string out;  // answers not sent yet
  response answer;

  /// Ready for another connection.
  void clear() {
    in.clear();
    parser.reset();
    out.clear();
  }

  void trim() {
    if (in.empty() && in.capacity() > keep_bytes) in = input_buffer();
    if (out.empty() && out.capacity() > keep_bytes) out = std::string();
    response_access::trim(answer, keep_bytes);
  }
};

class scratch_pool {
 public:
  [[nodiscard]] std::unique_ptr<scratch> take() {
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        auto s = std::move(free_.back());
        free_.pop_back();
        return s;
      }
    }
    return std::make_unique<scratch>();
  }

  void give_back(std::unique_ptr<scratch> s) {
    s->clear();
    s->trim();
    const std::lock_guard lock(mutex_);
    if (free_.size() < max_free) free_.push_back(std::move(s));
  }

 private:
  // About 6 KiB each: enough for a burst of connections, little enough to keep for ever.
  static constexpr std::size_t max_free = 256;

  std::mutex mutex_;  // held for a few instructions, never over a park
  std::vector<std::unique_ptr<scratch>> free_;
};

}  // namespace weft::inline v0::http::detail
