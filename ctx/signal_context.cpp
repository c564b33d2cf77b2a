// SPDX-License-Identifier: Apache-2.0
// Contexts that a signal cancels. The handler may do next to nothing, so it marks the signal and
// posts a semaphore; one thread of ours, started with the first such context, does the rest. While
// that thread lives, a program whose fibers all sleep is not deadlocked: a signal may come.
//
// A registration lies in its node and ends with it: a signal stays caught while the context or its
// handle lives, also after the first one has arrived (a second Ctrl-C does not cut a drain short).
// `state().lock` guards the list, the counts and the saved dispositions; the handler touches only
// `pending` and the semaphore.
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include <weft/context.hpp>

namespace weft::inline v0 {
namespace detail {
namespace {

constexpr int signal_count = NSIG;

class signal_registration;

struct signal_state {
  std::mutex lock;
  signal_registration* first = nullptr;
  std::array<int, signal_count> users{};
  std::array<struct sigaction, signal_count> saved{};
  bool thread_started = false;
  std::array<std::atomic<bool>, signal_count> pending{};
  sem_t arrived;

  signal_state() { ::sem_init(&arrived, 0, 0); }
};

// Never destroyed: the thread and the handler use it until the process ends.
signal_state& state() {
  static auto* s = new signal_state;
  return *s;
}
std::atomic<signal_state*> state_for_handler{nullptr};

void on_signal(int signo) {
  const int saved_errno = errno;
  signal_state* s = state_for_handler.load(std::memory_order_acquire);
  s->pending[static_cast<std::size_t>(signo)].store(true, std::memory_order_release);
  ::sem_post(&s->arrived);
  errno = saved_errno;
}

class signal_registration {
 public:
  signal_registration(context_node* node, const sigset_t& set) : node_(node), set_(set) {
    signal_state& s = state();
    const std::lock_guard guard(s.lock);
    start_thread(s);
    for (int i = 1; i < signal_count; ++i) {
      if (::sigismember(&set_, i) == 1) catch_signal(s, i);
    }
    next_ = s.first;
    if (next_ != nullptr) next_->prev_ = this;
    s.first = this;
  }
  signal_registration(const signal_registration&) = delete;
  signal_registration& operator=(const signal_registration&) = delete;
  ~signal_registration() {
    signal_state& s = state();
    const std::lock_guard guard(s.lock);
    (prev_ != nullptr ? prev_->next_ : s.first) = next_;
    if (next_ != nullptr) next_->prev_ = prev_;
    release(s);
  }

 private:
  void catch_signal(signal_state& s, int signo) {
    const auto i = static_cast<std::size_t>(signo);
    if (s.users[i] == 0) {
      struct sigaction action{};
      action.sa_handler = &on_signal;
      action.sa_flags = SA_RESTART | SA_ONSTACK;
      sigfillset(&action.sa_mask);
      if (::sigaction(signo, &action, &s.saved[i]) != 0) {
        const int error = errno;
        ::sigdelset(&set_, signo);
        for (int later = signo + 1; later < signal_count; ++later) ::sigdelset(&set_, later);
        release(s);
        throw std::system_error(error, std::system_category(), "weft::signal_context");
      }
    }
    ++s.users[i];
  }

  void release(signal_state& s) noexcept {
    for (int i = 1; i < signal_count; ++i) {
      if (::sigismember(&set_, i) != 1) continue;
      const auto k = static_cast<std::size_t>(i);
      if (--s.users[k] == 0) ::sigaction(i, &s.saved[k], nullptr);
    }
  }

  static void start_thread(signal_state& s) {
    if (s.thread_started) return;
    state_for_handler.store(&s, std::memory_order_release);
    // It must not take the signals that others wait for.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    const int error = ::pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
          for (;;) serve();
        },
        nullptr);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (error != 0) {
      throw std::system_error(error, std::system_category(), "weft::signal_context");
    }
    ::pthread_setname_np(thread, "weft-signals");
    ::pthread_detach(thread);
    s.thread_started = true;
  }

  static void serve() {
    signal_state& s = state();
    while (::sem_wait(&s.arrived) != 0) {
    }
    for (int i = 1; i < signal_count; ++i) {
      if (s.pending[static_cast<std::size_t>(i)].exchange(false, std::memory_order_acq_rel)) {
        cancel_all(s, i);
      }
    }
  }

  static void cancel_all(signal_state& s, int signo) {
    std::vector<context> hit;
    {
      const std::lock_guard guard(s.lock);
      for (signal_registration* r = s.first; r != nullptr; r = r->next_) {
        if (::sigismember(&r->set_, signo) == 1 && node_try_ref(r->node_)) {
          hit.push_back(context_access::adopt(r->node_));
        }
      }
    }
    for (const context& ctx : hit) {
      node_cancel(context_access::node(ctx), make_error_code(errc::canceled),
                  std::error_code(signo, signal_category()));
    }
  }

  context_node* node_;
  sigset_t set_;
  signal_registration* next_ = nullptr;
  signal_registration* prev_ = nullptr;
};

class signal_category_type final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "signal"; }
  [[nodiscard]] std::string message(int signo) const override {
    const char* text = ::sigdescr_np(signo);
    return text != nullptr ? text : "signal " + std::to_string(signo);
  }
};

}  // namespace
}  // namespace detail

const std::error_category& signal_category() noexcept {
  static const detail::signal_category_type category;
  return category;
}

cancelable_context signal_context(const context& parent, std::initializer_list<int> signals,
                                  std::source_location where) {
  using namespace detail;
  sigset_t set;
  sigemptyset(&set);
  for (const int signo : signals) {
    if (::sigaddset(&set, signo) != 0) {
      throw std::system_error(EINVAL, std::system_category(), "weft::signal_context");
    }
  }
  cancelable_context out = with_cancel(parent, where);
  context_node* n = context_access::node(out.ctx);
  emplace_payload<signal_registration>(n, n, set);
  return out;
}

}  // namespace weft::inline v0
