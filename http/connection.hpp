// SPDX-License-Identifier: Apache-2.0
// One connection of the server: the loop read - parse - handle - answer, its timeouts and its end.
// Lives on the stack of its fiber. Other fibers see it through the server's list only, and touch
// nothing but what is marked so.
//
// Law: the descriptor is closed by this fiber alone, after it left the list, and never with unread
// bytes in the socket while the peer may still read (the kernel would answer with a reset, and the
// peer lose our last answer): first the write side is closed, then the read side is emptied.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <weft/http/response.hpp>
#include <weft/net.hpp>
#include <weft/time.hpp>

#include "http/scratch.hpp"
#include "http/server_core.hpp"

namespace weft::inline v0::http::detail {

enum class conn_state : std::uint8_t { idle, reading, handling, closing };

class connection final : public answer_sink {
 public:
  connection(server_core& core, net::conn conn) : core_(core), conn_(std::move(conn)) {}

  /// The fiber's whole life.
  void run();

  // ---- for the server, under its lock, while enlisted ----

  [[nodiscard]] conn_state state() const noexcept { return state_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t requests() const noexcept {
    return requests_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t refused() const noexcept {
    return refused_.load(std::memory_order_relaxed);
  }
  /// Makes a blocked read return, so that the fiber looks at the phase. cut_off: writes as well,
  /// and the peer is told.
  void wake(bool cut_off);

  connection* next = nullptr;
  connection* previous = nullptr;

  // ---- answer_sink, for the response ----

  [[nodiscard]] std::string& pending() noexcept override { return scratch_->out; }
  [[nodiscard]] result<void> send(std::string_view tail) override;
  [[nodiscard]] bool must_close() override;

 private:
  using time_point = clock::time_point;

  enum class verdict : std::uint8_t {
    go_on,  // more to do
    end,    // everything is said: end in peace
    dead,   // the peer is gone, or cut off: nothing more can be said
  };
  enum class arrival : std::uint8_t { bytes, end_of_stream, too_late, broken };

  [[nodiscard]] verdict serve();
  [[nodiscard]] verdict step();
  [[nodiscard]] verdict wait_for_request();
  [[nodiscard]] verdict wake_up_idle(time_point idle_deadline, time_point since);
  [[nodiscard]] verdict read_more();
  [[nodiscard]] verdict invite_body();
  [[nodiscard]] verdict handle();
  void call_handler(const request& q);
  void recover(const char* what);
  [[nodiscard]] verdict refuse(fault f);
  [[nodiscard]] verdict flush();
  void drain();

  [[nodiscard]] arrival read_before(time_point deadline, std::span<char> into, std::size_t& n);
  void arm_read(time_point at);
  void arm_write();
  [[nodiscard]] bool has_unread_bytes() const noexcept;
  void borrow_scratch();
  void return_scratch();
  void become(conn_state s) noexcept { state_.store(s, std::memory_order_relaxed); }
  static void count(std::atomic<std::uint64_t>& n) noexcept {
    // Only this fiber writes: no locked instruction.
    n.store(n.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  server_core& core_;
  net::conn conn_;
  std::unique_ptr<scratch> scratch_;
  std::atomic<conn_state> state_{conn_state::idle};
  std::atomic<std::uint64_t> requests_{0};
  std::atomic<std::uint64_t> refused_{0};
  time_point read_armed_{};  // what the socket's deadlines are set to
  time_point write_armed_{};
  time_point message_deadline_{};  // for the head, then for the body; zero: not running
  bool body_deadline_running_ = false;
  bool invited_ = false;  // "100 Continue" was sent for this request
  bool peer_closed_ = false;
};

}  // namespace weft::inline v0::http::detail
