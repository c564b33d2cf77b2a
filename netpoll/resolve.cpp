// SPDX-License-Identifier: Apache-2.0
#include "netpoll/resolve.hpp"

#include <netdb.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <string>

#include <weft/detail/cancel_node.hpp>
#include <weft/detail/park.hpp>
#include <weft/fiber.hpp>
#include <weft/net/dial.hpp>

namespace weft::inline v0::net {
namespace {

using detail::fiber_core;
using detail::waiter;

constexpr std::size_t resolver_stack = 1 << 20;  // glibc and its plug-ins take tens of KiB

class resolver_category_type final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "resolver"; }
  [[nodiscard]] std::string message(int value) const override { return ::gai_strerror(value); }
};

// One look-up. Shared by the asker and the resolving fiber: the asker may leave first.
class lookup : public detail::waitable {
 public:
  lookup(network_kind kind, host_port text, address_use use)
      : host_(text.host), service_(text.port) {
    hints_.ai_family = kind.family;
    hints_.ai_socktype = kind.type;
    hints_.ai_flags = use == address_use::listen ? AI_PASSIVE : 0;
  }

  WEFT_NOINLINE void run() {
    ::addrinfo* list = nullptr;
    const int code =
        ::getaddrinfo(host_.empty() ? nullptr : host_.c_str(), service_.c_str(), &hints_, &list);
    if (code != 0) {
      error_ = code == EAI_SYSTEM ? std::error_code(errno, std::system_category())
                                  : std::error_code(code, resolver_category());
      return;
    }
    for (const ::addrinfo* a = list; a != nullptr; a = a->ai_next) {
      found_.emplace_back(a->ai_addr, a->ai_addrlen);
    }
    ::freeaddrinfo(list);
  }

  // Tells the asker. Last touch is the unlock.
  void finish() noexcept {
    lock.lock();
    done_ = true;
    waiter* w = waiters_.pop_claimed();
    fiber_core* g = nullptr;
    if (w != nullptr) {
      g = w->g;
      g->wake_param = w;
    }
    lock.unlock();
    if (g != nullptr) ready(g);
  }

  [[nodiscard]] std::error_code wait(detail::cancel_node* ctx) noexcept {
    detail::wake_extras extras(ctx, detail::never);
    if (auto error = extras.check()) return error;
    fiber_core* g = detail::current_fiber();
    waiter w;
    park_begin(g, detail::wait_reason::io_wait, this);
    lock.lock();
    if (done_) {
      lock.unlock();
      park_abort(g);
      return {};
    }
    w.g = g;
    w.owner = this;
    w.multi = extras.needed();
    waiters_.push_back(&w);
    g->waiters = &w;
    lock.unlock();
    if (extras.needed()) extras.arm(g);
    detail::park_wait_slow(g);
    if (!extras.needed()) return {};
    extras.disarm();
    if (g->wake_param != extras.token()) return {};
    lock.lock();
    waiters_.remove(&w);
    lock.unlock();
    return extras.error();
  }

  [[nodiscard]] result<std::vector<address>> take() {
    if (error_) return failure(error_);
    if (found_.empty()) return failure(std::error_code(EAI_NONAME, resolver_category()));
    return std::move(found_);
  }

 private:
  std::string host_;
  std::string service_;
  ::addrinfo hints_{};
  std::error_code error_;
  std::vector<address> found_;
  bool done_ = false;  // under the lock, as the queue
  detail::wait_queue waiters_;
};

result<std::vector<address>> look_up(network_kind kind, host_port parts, address_use use,
                                     detail::cancel_node* ctx) {
  auto task = std::make_shared<lookup>(kind, parts, use);
  if (detail::current_fiber()->is_thread()) {
    task->run();  // has a thread's stack, and blocks nobody else
    return task->take();
  }
  go({.name = "weft resolver", .stack_size = resolver_stack}, [task] {
    blocking([&task] { task->run(); });
    task->finish();
  });
  if (auto error = task->wait(ctx)) return failure(error);
  return task->take();
}

}  // namespace

const std::error_category& resolver_category() noexcept {
  static const resolver_category_type category;
  return category;
}

result<std::vector<address>> resolve(network_kind kind, std::string_view network,
                                     std::string_view text, address_use use,
                                     detail::cancel_node* ctx) {
  const auto parts = split_host_port(text);
  const bool this_machine =
      kind.family != AF_UNIX && use == address_use::dial && parts && parts->host.empty();
  if (this_machine) {
    std::vector<address> loopback;
    for (const char* host : {"127.0.0.1:", "[::1]:"}) {
      if (auto a = address::parse(network, host + std::string(parts->port))) {
        loopback.push_back(*a);
      }
    }
    if (!loopback.empty()) return loopback;
  }
  if (auto numeric = address::parse(network, text)) return std::vector<address>{*numeric};
  if (kind.family == AF_UNIX || !parts || parts->port.empty()) {
    return failure(errc::invalid_argument);
  }
  return look_up(kind, *parts, use, ctx);
}

}  // namespace weft::inline v0::net
