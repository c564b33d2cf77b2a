// SPDX-License-Identifier: Apache-2.0
// What an idle or busy worker needs of the I/O world. The scheduler declares it, netpoll/
// implements it (io_uring, epoll), tests pass a fake. One poller a P; it moves with the P.
//
// Data flows one way: poll() *returns* the fibers that became ready, linked by sched_next, each
// already claimed; it never calls the scheduler. arm() and poll() are for the P's owner only;
// wake() is for anybody.
#pragma once

#include <cstdint>
#include <memory>
#include <system_error>

#include <weft/detail/fiber_core.hpp>

namespace weft::inline v0::detail {

/// A descriptor's readiness record in the type-stable fd table (netpoll/poll_desc.hpp).
struct poll_desc;

inline constexpr unsigned poll_read = 1;
inline constexpr unsigned poll_write = 2;

struct fiber_list {
  fiber_core* head = nullptr;
  fiber_core* tail = nullptr;
  std::uint32_t size = 0;

  void push_back(fiber_core* g) noexcept {
    g->sched_next = nullptr;
    if (tail != nullptr) {
      tail->sched_next = g;
    } else {
      head = g;
    }
    tail = g;
    ++size;
  }
  [[nodiscard]] fiber_core* pop_front() noexcept {
    fiber_core* g = head;
    if (g != nullptr) {
      head = g->sched_next;
      if (head == nullptr) tail = nullptr;
      g->sched_next = nullptr;
      --size;
    }
    return g;
  }
  [[nodiscard]] bool empty() const noexcept { return head == nullptr; }
};

class poller {
 public:
  poller() = default;
  poller(const poller&) = delete;
  poller& operator=(const poller&) = delete;
  virtual ~poller() = default;

  /// Asks for one notification when `fd` is ready in `direction` (poll_read or poll_write; errors
  /// and hang-up count as ready). `key` names poll_desc slot, generation and direction; a firing
  /// whose key is stale is ignored. Owner only.
  virtual std::error_code arm(int fd, unsigned direction, std::uint64_t key) noexcept = 0;

  /// Takes an armed notification back; a request, may be too late. Owner only.
  virtual void disarm(int fd, unsigned direction, std::uint64_t key) noexcept = 0;

  /// Takes back all that is armed: poll() returns it as fired, at once or (of what other threads
  /// have armed) a little later. A request. False: this kernel cannot. Owner only.
  [[nodiscard]] virtual bool disarm_all() noexcept = 0;

  /// Hands what was armed to the kernel and returns the fibers that are ready; never waits. Owner
  /// only.
  [[nodiscard]] virtual fiber_list poll() noexcept = 0;

  /// First half of a sleep, while the caller still owns the P: notes where the kernel has to look.
  /// Costs nothing if no wait() follows. Any wake() from here on ends the wait() that this thread
  /// makes next, even if another thread takes the P and polls in between.
  virtual void prepare_wait() noexcept = 0;

  /// Second half, after the P was given up: sleeps until a notification fires, wake(), a signal or
  /// the timeout (ns; < 0: none). Touches nothing but kernel objects; the P's next owner reaps.
  /// Same thread as prepare_wait().
  virtual void wait(std::int64_t timeout_ns) noexcept = 0;

  /// Cheap hint for a busy worker: something may be there to reap.
  [[nodiscard]] virtual bool has_completions() const noexcept = 0;

  /// Ends a wait() that runs or the next one. Any thread, async-signal-safe.
  virtual void wake() noexcept = 0;

  /// Notifications armed and not fired (for deadlock detection and stats).
  [[nodiscard]] virtual std::uint32_t armed() const noexcept = 0;

  [[nodiscard]] virtual const char* name() const noexcept = 0;
};

/// Treats `key` as fired: its waiters become ready and are added to `ready_list` (plain threads are
/// woken at once). For pollers, and for a hand-over of io_arm() that failed or can no longer be
/// carried out. Any thread. Implemented by netpoll/.
void poll_fire(std::uint64_t key, fiber_list& ready_list) noexcept;

/// A runtime has ended, after its fibers were abandoned and before its memory goes: descriptors
/// that live on forget what its fibers held and what its pollers had armed; plain threads that
/// waited through it wake and try again. Implemented by netpoll/.
void poll_forget_runtime(const runtime_state* rt) noexcept;

/// Made by netpoll/: probes once a process, honours WEFT_NETPOLL. Null with an error if neither
/// backend can be had.
[[nodiscard]] std::unique_ptr<poller> make_poller(std::error_code& error);

}  // namespace weft::inline v0::detail
