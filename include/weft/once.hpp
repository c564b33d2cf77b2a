// SPDX-License-Identifier: Apache-2.0
// call_once for fibers and threads: the others wait, suspended, until the one who runs is through.
// As in std, a call that throws does not count: the next one runs.
#pragma once

#include <atomic>
#include <functional>
#include <utility>

#include <weft/detail/callable.hpp>
#include <weft/detail/config.hpp>
#include <weft/detail/waiter.hpp>
#include <weft/error.hpp>
#include <weft/mutex.hpp>

namespace weft::inline v0 {

class once_flag {
 public:
  constexpr once_flag() noexcept = default;
  once_flag(const once_flag&) = delete;
  once_flag& operator=(const once_flag&) = delete;

 private:
  enum : std::uint32_t { fresh, running, finished };

  [[nodiscard]] bool is_done() const noexcept {
    // acquire: pairs with the release in end(); the caller sees what the function did.
    return state_.load(std::memory_order_acquire) == finished;
  }
  /// True: the caller is to run the function and to call end(). False: it has been run.
  [[nodiscard]] WEFT_EXPORT result<bool> begin(detail::cancel_node* node);
  WEFT_EXPORT void end(bool done) noexcept;

  template <class F>
  WEFT_INLINE void run(F& fn) {
    struct ender {
      once_flag* flag;
      bool done = false;
      ~ender() { flag->end(done); }
    } e{this};
    static_cast<void>(std::invoke(fn));
    e.done = true;
  }

  template <detail::borrowed_function F>
  friend void call_once(once_flag& flag, F&& fn);
  template <detail::borrowed_function F>
  friend result<void> call_once(const context& ctx, once_flag& flag, F&& fn);

  std::atomic<std::uint32_t> state_{fresh};
  detail::waitable guard_;
  detail::wait_queue queue_;
};

/// Runs fn unless it has been run for this flag; returns when it has.
template <detail::borrowed_function F>
WEFT_INLINE void call_once(once_flag& flag, F&& fn) {
  if (flag.is_done()) [[likely]]
    return;
  if (flag.begin(nullptr).value()) flag.run(*detail::launder_ptr(&fn));
}

/// The same; gives up waiting for another caller when ctx is done.
template <detail::borrowed_function F>
[[nodiscard]] WEFT_INLINE result<void> call_once(const context& ctx, once_flag& flag, F&& fn) {
  detail::cancel_node* node = detail::node_of(ctx);
  if (node != nullptr && node->done()) return failure(node->err);
  if (flag.is_done()) return {};
  const result<bool> ours = flag.begin(node);
  if (!ours) return failure(ours.error());
  if (*ours) flag.run(*detail::launder_ptr(&fn));
  return {};
}

}  // namespace weft::inline v0
