// SPDX-License-Identifier: Apache-2.0
// Which backend a process gets. Decided once, by trying: io_uring unless it is not there or not
// allowed (ENOSYS, EPERM of seccomp and of kernel.io_uring_disabled, a kernel too old), then epoll.
// Want of memory or descriptors is an error and never decides. WEFT_NETPOLL forces.
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

#include <weft/error.hpp>

#include "netpoll/epoll_poller.hpp"
#include "runtime/debug.hpp"
#include "sched/poller.hpp"
#if WEFT_IO_URING
#include "netpoll/uring_poller.hpp"
#endif

namespace weft::inline v0::detail {
namespace {

enum class backend { undecided, io_uring, epoll };

struct decision {
  backend chosen = backend::undecided;
#if WEFT_IO_URING
  uring_support uring;
#endif
};

std::mutex decision_lock;  // taken by starting runtimes only
decision decided;          // under decision_lock

bool is_on(const char* option) noexcept {
  return option != nullptr && std::strcmp(option, "0") != 0;
}

#if WEFT_IO_URING

bool is_unavailable(int error) noexcept {
  return error == ENOSYS || error == EPERM || error == EACCES || error == EINVAL ||
         error == EOPNOTSUPP;
}

const char* reason_of(const uring_support& support) noexcept {
  if (support.missing != nullptr) return support.missing;
  return ::strerrordesc_np(support.error);
}

// 0, or the errno for which neither backend was chosen.
int decide(const char* forced) noexcept {
  const bool wants_epoll = forced != nullptr && std::strcmp(forced, "epoll") == 0;
  const bool wants_uring = forced != nullptr && std::strcmp(forced, "io_uring") == 0;
  if (wants_epoll) {
    decided.chosen = backend::epoll;
    if (is_on(debug_option("netpoll"))) log_line("weft: netpoll: epoll (WEFT_NETPOLL)");
    return 0;
  }
  const uring_support support = probe_uring();
  if (support.error == 0) {
    decided.chosen = backend::io_uring;
    decided.uring = support;
    if (is_on(debug_option("netpoll"))) {
      log_format(
          "weft: netpoll: io_uring (%s, %s)",
          (support.flags & IORING_SETUP_COOP_TASKRUN) != 0 ? "COOP_TASKRUN" : "no COOP_TASKRUN",
          (support.features & IORING_FEAT_NO_IOWAIT) != 0 ? "NO_IOWAIT" : "no NO_IOWAIT");
    }
    return 0;
  }
  if (wants_uring) {
    log_format("weft: netpoll: WEFT_NETPOLL=io_uring, but io_uring is unavailable: %s",
               reason_of(support));
    return support.error;
  }
  if (!is_unavailable(support.error)) return support.error;
  decided.chosen = backend::epoll;
  if (is_on(debug_option("netpoll"))) {
    log_format("weft: netpoll: epoll: io_uring unavailable: %s", reason_of(support));
  }
  return 0;
}

#else

int decide(const char* forced) noexcept {
  if (forced != nullptr && std::strcmp(forced, "io_uring") == 0) {
    log_line("weft: netpoll: WEFT_NETPOLL=io_uring, but weft was built without io_uring");
    return EOPNOTSUPP;
  }
  decided.chosen = backend::epoll;
  if (is_on(debug_option("netpoll"))) log_line("weft: netpoll: epoll: built without io_uring");
  return 0;
}

#endif

bool is_backend_name(const char* name) noexcept {
  return std::strcmp(name, "epoll") == 0 || std::strcmp(name, "io_uring") == 0;
}

// The decision, made at the first call.
std::error_code choose(decision& out) noexcept {
  const std::lock_guard guard(decision_lock);
  if (decided.chosen == backend::undecided) {
    const char* forced = std::getenv("WEFT_NETPOLL");
    if (forced != nullptr && *forced == '\0') forced = nullptr;
    if (forced != nullptr && !is_backend_name(forced)) {
      log_format("weft: netpoll: WEFT_NETPOLL is \"%s\", not io_uring or epoll", forced);
      return make_error_code(errc::invalid_argument);
    }
    if (const int error = decide(forced)) return {error, std::system_category()};
  }
  out = decided;
  return {};
}

template <class Poller, class... Args>
std::unique_ptr<poller> construct(std::error_code& error, const Args&... args) {
  std::unique_ptr<Poller> made(new (std::nothrow) Poller(args...));
  if (made == nullptr) {
    error = {ENOMEM, std::system_category()};
    return nullptr;
  }
  if (made->error() != 0) {
    error = {made->error(), std::system_category()};
    return nullptr;
  }
  return made;
}

}  // namespace

std::unique_ptr<poller> make_poller(std::error_code& error) {
  decision chosen;
  error = choose(chosen);
  if (error) return nullptr;
#if WEFT_IO_URING
  if (chosen.chosen == backend::io_uring) {
    return construct<uring_poller>(error, chosen.uring);
  }
#endif
  return construct<epoll_poller>(error);
}

}  // namespace weft::inline v0::detail
