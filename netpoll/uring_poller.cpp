// SPDX-License-Identifier: Apache-2.0
#include "netpoll/uring_poller.hpp"

#include <poll.h>

#include <cerrno>
#include <cstring>

#include "netpoll/poll_desc.hpp"

namespace weft::inline v0::detail {
namespace {

// Entries are submitted at every look around (64 dispatches at most), so 256 are seldom all used;
// four times as many completions take the burst of a wave of connections without overflow.
constexpr unsigned submission_entries = 256;
constexpr unsigned completion_entries = 4 * submission_entries;

// Keys of our own: slots that no descriptor has.
constexpr std::uint64_t event_slot = 0xffffffff;
constexpr std::uint64_t ignored_key = 0xfffffffe'00000000;
constexpr std::uint64_t disarm_all_key = 0xfffffffe'00000001;

constexpr std::uint64_t event_key(std::uint32_t round) noexcept { return event_slot << 32 | round; }

// A removal carries the key of the poll that it is to remove, marked; slots are far below the mark.
constexpr std::uint64_t removal_mark = std::uint64_t{1} << 62;

constexpr bool is_own_key(std::uint64_t key) noexcept { return key >> 33 == event_slot >> 1; }

io_uring_params make_params(unsigned flags) noexcept {
  io_uring_params params{};
  params.flags = flags | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;
  params.cq_entries = completion_entries;
  return params;
}

const char* missing_feature(io_uring& ring) noexcept {
  if ((ring.features & IORING_FEAT_EXT_ARG) == 0) return "a timeout of its own (EXT_ARG)";
  if ((ring.features & IORING_FEAT_NODROP) == 0) return "completions without loss (NODROP)";
  io_uring_probe* probe = io_uring_get_probe_ring(&ring);
  if (probe == nullptr) return "the probe";
  const bool polls = io_uring_opcode_supported(probe, IORING_OP_POLL_ADD) != 0 &&
                     io_uring_opcode_supported(probe, IORING_OP_POLL_REMOVE) != 0;
  io_uring_free_probe(probe);
  return polls ? nullptr : "POLL_ADD and POLL_REMOVE";
}

}  // namespace

uring_support probe_uring() noexcept {
  // The best set first; SUBMIT_ALL came with Linux 5.18, COOP_TASKRUN with 5.19.
  constexpr unsigned sets[] = {
      IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
      IORING_SETUP_SUBMIT_ALL,
      0,
  };
  uring_support support;
  for (const unsigned flags : sets) {
    io_uring ring{};
    io_uring_params params = make_params(flags);
    support.error = -io_uring_queue_init_params(submission_entries, &ring, &params);
    if (support.error == EINVAL) continue;
    if (support.error != 0) return support;
    support.flags = flags;
    support.features = params.features;
    support.missing = missing_feature(ring);
    if (support.missing != nullptr) support.error = EOPNOTSUPP;
    io_uring_queue_exit(&ring);
    return support;
  }
  return support;
}

uring_poller::~uring_poller() {
  if (open_) io_uring_queue_exit(&ring_);
}

std::error_code uring_poller::open_ring() noexcept {
  io_uring_params params = make_params(support_.flags);
  const int error = io_uring_queue_init_params(submission_entries, &ring_, &params);
  if (error < 0) return {-error, std::system_category()};
  static_cast<void>(io_uring_ring_dontfork(&ring_));  // best effort; the fd is CLOEXEC anyway
  open_ = true;
  return {};
}

// A free submission entry; null if the kernel takes none at the moment.
io_uring_sqe* uring_poller::next_entry() noexcept {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  if (entry == nullptr) {
    static_cast<void>(io_uring_submit(&ring_));
    entry = io_uring_get_sqe(&ring_);
  }
  return entry;
}

std::error_code uring_poller::arm(int fd, unsigned direction, std::uint64_t key) noexcept {
  if (!open_) {
    if (auto error = open_ring()) return error;
  }
  if (!desc_may_arm(key)) return {};  // closed on the way here; nobody waits
  io_uring_sqe* entry = next_entry();
  if (entry == nullptr) return {EBUSY, std::system_category()};
  io_uring_prep_poll_add(entry, fd, direction == poll_read ? POLLIN : POLLOUT);
  io_uring_sqe_set_data64(entry, key);
  armed_.store(armed() + 1, std::memory_order_relaxed);
  return {};
}

void uring_poller::disarm(int, unsigned, std::uint64_t key) noexcept {
  if (!open_) return;
  remove_poll(key);
  // At once: the poll holds the file, so its close (and the peer's end of stream) waits for us.
  static_cast<void>(io_uring_submit(&ring_));
}

bool uring_poller::disarm_all() noexcept {
  if (!open_ || armed() == 0) return true;
  if (!can_disarm_all_) return false;
  io_uring_sqe* entry = next_entry();
  if (entry == nullptr) return true;  // the caller asks again
  io_uring_prep_cancel64(entry, 0, IORING_ASYNC_CANCEL_ANY);
  io_uring_sqe_set_data64(entry, disarm_all_key);
  static_cast<void>(io_uring_submit(&ring_));
  return true;
}

void uring_poller::remove_poll(std::uint64_t key) noexcept {
  io_uring_sqe* entry = next_entry();
  if (entry == nullptr) return;  // it stays armed until it fires
  io_uring_prep_poll_remove(entry, key);
  io_uring_sqe_set_data64(entry, key | removal_mark);
}

unsigned uring_poller::ring_flags() const noexcept {
  return __atomic_load_n(ring_.sq.kflags, __ATOMIC_RELAXED);
}

bool uring_poller::has_completions() const noexcept {
  if (wake_.pending()) return true;  // poll() must take it, or the next wait() would not sleep
  return open_ && (io_uring_cq_ready(&ring_) != 0 || io_uring_sq_ready(&ring_) != 0 ||
                   (ring_flags() & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0);
}

// Gives entries to the kernel, runs completion work that waits for this thread, and has it refill
// the completion queue after an overflow.
void uring_poller::submit_and_flush() noexcept {
  const unsigned flags = ring_flags();
  if ((flags & IORING_SQ_CQ_OVERFLOW) != 0) ++overflows_;
  if (io_uring_sq_ready(&ring_) != 0) {
    // Looks at the flags as well. An error (EAGAIN, EBUSY: no memory just now) leaves the entries
    // for the next time.
    static_cast<void>(io_uring_submit(&ring_));
  } else if ((flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0) {
    static_cast<void>(io_uring_get_events(&ring_));
  }
}

void uring_poller::reap(fiber_list& ready) noexcept {
  unsigned head = 0;
  unsigned count = 0;
  std::uint32_t fired = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    ++count;
    const std::uint64_t key = cqe->user_data;
    if (is_own_key(key)) {
      if (key == event_key(event_round_)) event_armed_ = false;
      if (key == disarm_all_key && cqe->res == -EINVAL) can_disarm_all_ = false;  // before 5.19
      continue;
    }
    if ((key & removal_mark) != 0) {
      // A wake-up of that poll was being looked at. If it turns out to mean nothing (somebody else
      // took the connection that it told of), the poll stays, and with it the file: once more.
      if (cqe->res == -EALREADY) remove_poll(key & ~removal_mark);
      continue;
    }
    // Whatever the result: cancelled (its thread ended, or disarm) and failed polls count as ready
    // too; the system call that follows finds out, and arms again if it must.
    ++fired;
    poll_fire(key, ready);
  }
  io_uring_cq_advance(&ring_, count);
  armed_.store(armed() - fired, std::memory_order_relaxed);
}

fiber_list uring_poller::poll() noexcept {
  fiber_list ready;
  if (!open_) {
    if (wake_.pending()) static_cast<void>(wake_.drain());
    return ready;
  }
  submit_and_flush();
  const bool event_was_armed = event_armed_;
  reap(ready);
  const bool woken = wake_.pending() || (event_was_armed && !event_armed_);
  if (woken && !wake_.drain() && !event_armed_) {
    // Somebody who slept for this P has not left yet: it needs a completion that it can see.
    if (arm_event()) static_cast<void>(io_uring_submit(&ring_));
  }
  return ready;
}

bool uring_poller::arm_event() noexcept {
  io_uring_sqe* entry = next_entry();
  if (entry == nullptr) return false;
  io_uring_prep_poll_add(entry, wake_.fd(), POLLIN);
  io_uring_sqe_set_data64(entry, event_key(++event_round_));
  event_armed_ = true;
  event_thread_ = this_thread_number();
  return true;
}

// What io_uring_submit does before its system call, which wait() makes together with the sleep.
unsigned uring_poller::publish_entries() noexcept {
  io_uring_sq& sq = ring_.sq;
  unsigned tail = *sq.ktail;
  for (; sq.sqe_head != sq.sqe_tail; ++sq.sqe_head, ++tail) {
    sq.array[tail & sq.ring_mask] = sq.sqe_head & sq.ring_mask;
  }
  io_uring_smp_store_release(sq.ktail, tail);
  return tail - io_uring_smp_load_acquire(sq.khead);
}

void uring_poller::prepare_wait() noexcept {
  sleep_ticket& ticket = this_sleep_ticket();
  ticket = {.sequence = wake_.ticket(), .kernel_fd = -1, .to_submit = 0, .event_armed = false};
  if (!open_) return;
  if (event_armed_ && event_thread_ != this_thread_number()) {
    if (io_uring_sqe* entry = next_entry()) {
      io_uring_prep_poll_remove(entry, event_key(event_round_));
      io_uring_sqe_set_data64(entry, ignored_key);
      event_armed_ = false;
    }
  }
  ticket.event_armed = event_armed_ || arm_event();
  ticket.kernel_fd = ring_.ring_fd;
  ticket.to_submit = publish_entries();
}

void uring_poller::wait(std::int64_t timeout_ns) noexcept {
  const sleep_ticket ticket = this_sleep_ticket();
  if (!wake_.enter(ticket.sequence)) {
    wake_.leave();
    return;
  }
  if (ticket.kernel_fd < 0 || !ticket.event_armed) {
    // No ring yet, or (never seen) no free entry for the eventfd: both as plain descriptors.
    sleep_on(wake_.fd(), ticket.kernel_fd, timeout_ns);
  } else {
    __kernel_timespec ts{};
    io_uring_getevents_arg arg{};
    if (timeout_ns >= 0) {
      ts.tv_sec = timeout_ns / 1'000'000'000;
      ts.tv_nsec = timeout_ns % 1'000'000'000;
      arg.ts = reinterpret_cast<std::uint64_t>(&ts);
    }
    unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
    if ((support_.features & IORING_FEAT_NO_IOWAIT) != 0) flags |= IORING_ENTER_NO_IOWAIT;
    // Returns as well when a new owner has submitted our entries meanwhile, on a signal (EINTR), on
    // the timeout (ETIME), and when the kernel lacks memory: every return is only a hint.
    static_cast<void>(io_uring_enter2(static_cast<unsigned>(ticket.kernel_fd), ticket.to_submit, 1,
                                      flags, reinterpret_cast<sigset_t*>(&arg), sizeof(arg)));
  }
  wake_.leave();
}

}  // namespace weft::inline v0::detail
