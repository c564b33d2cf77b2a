// SPDX-License-Identifier: Apache-2.0
// The cheapest echo server known to us on this kernel: one thread, io_uring with multishot accept,
// multishot recv into provided buffers, direct send, DEFER_TASKRUN. 1.00 in the network tables.
//
// Law: one ring, one buffer group; a buffer goes back to the group as soon as its bytes were sent.
#include <liburing.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <vector>

#include "echo/listen.hpp"

namespace {

constexpr unsigned buffer_count = 1024;
constexpr unsigned buffer_bytes = 4096;
constexpr int buffer_group = 0;

class server {
 public:
  server() : listener_(bench::listen_and_announce(0)), buffers_(buffer_count * buffer_bytes) {
    io_uring_params p{};
    p.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    if (io_uring_queue_init_params(4096, &ring_, &p) != 0) bench::die("io_uring_queue_init");
    register_buffers();
  }

  [[noreturn]] void run() {
    arm_accept();
    for (;;) {
      io_uring_submit_and_wait(&ring_, 1);
      unsigned head = 0;
      unsigned seen = 0;
      io_uring_cqe* cqe = nullptr;
      io_uring_for_each_cqe(&ring_, head, cqe) {
        ++seen;
        if (static_cast<int>(cqe->user_data) == listener_) {
          accepted(*cqe);
        } else {
          received(*cqe);
        }
      }
      io_uring_buf_ring_advance(group_, returned_);
      returned_ = 0;
      io_uring_cq_advance(&ring_, seen);
    }
  }

 private:
  // By hand: liburing 2.3 has no helper that allocates the group's ring.
  void register_buffers() {
    void* memory = nullptr;
    if (posix_memalign(&memory, 4096, buffer_count * sizeof(io_uring_buf)) != 0) {
      bench::die("posix_memalign");
    }
    io_uring_buf_reg reg{};
    reg.ring_addr = reinterpret_cast<std::uintptr_t>(memory);
    reg.ring_entries = buffer_count;
    reg.bgid = buffer_group;
    if (io_uring_register_buf_ring(&ring_, &reg, 0) != 0) bench::die("register_buf_ring");
    group_ = static_cast<io_uring_buf_ring*>(memory);
    io_uring_buf_ring_init(group_);
    for (unsigned id = 0; id < buffer_count; ++id) give_back(id);
    io_uring_buf_ring_advance(group_, returned_);
    returned_ = 0;
  }

  char* buffer(unsigned id) { return &buffers_[std::size_t{id} * buffer_bytes]; }

  void give_back(unsigned id) {
    io_uring_buf_ring_add(group_, buffer(id), buffer_bytes, static_cast<std::uint16_t>(id),
                          io_uring_buf_ring_mask(buffer_count), returned_++);
  }

  io_uring_sqe* next_sqe() {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    if (sqe == nullptr) {
      io_uring_submit(&ring_);
      sqe = io_uring_get_sqe(&ring_);
    }
    return sqe;
  }

  void arm_accept() {
    io_uring_sqe* sqe = next_sqe();
    io_uring_prep_multishot_accept(sqe, listener_, nullptr, nullptr, SOCK_CLOEXEC);
    sqe->user_data = static_cast<std::uint64_t>(listener_);
  }

  void arm_receive(int fd) {
    io_uring_sqe* sqe = next_sqe();
    io_uring_prep_recv_multishot(sqe, fd, nullptr, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = buffer_group;
    sqe->user_data = static_cast<std::uint64_t>(fd);
  }

  void accepted(const io_uring_cqe& cqe) {
    if (cqe.res >= 0) {
      const int on = 1;
      ::setsockopt(cqe.res, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      arm_receive(cqe.res);
    }
    if ((cqe.flags & IORING_CQE_F_MORE) == 0) arm_accept();
  }

  void received(const io_uring_cqe& cqe) {
    const int fd = static_cast<int>(cqe.user_data);
    bool open = cqe.res > 0 || cqe.res == -ENOBUFS;
    if ((cqe.flags & IORING_CQE_F_BUFFER) != 0) {
      const unsigned id = cqe.flags >> IORING_CQE_BUFFER_SHIFT;
      if (cqe.res > 0) {
        open = ::send(fd, buffer(id), static_cast<std::size_t>(cqe.res), MSG_NOSIGNAL) == cqe.res;
      }
      give_back(id);
    }
    if (!open) {
      ::shutdown(fd, SHUT_RDWR);
      if ((cqe.flags & IORING_CQE_F_MORE) == 0) ::close(fd);
      return;
    }
    if ((cqe.flags & IORING_CQE_F_MORE) == 0) arm_receive(fd);
  }

  int listener_;
  io_uring ring_{};
  io_uring_buf_ring* group_ = nullptr;
  int returned_ = 0;
  std::vector<char> buffers_;
};

}  // namespace

int main() {
  server s;
  s.run();
}
