// SPDX-License-Identifier: Apache-2.0
// Fibers: starting them, waiting for them, and what the running one can say about itself.
#pragma once

#include <concepts>
#include <cstdint>
#include <exception>
#include <functional>
#include <new>
#include <optional>
#include <source_location>
#include <string_view>
#include <type_traits>
#include <utility>

#include <weft/detail/callable.hpp>
#include <weft/detail/cancel_node.hpp>
#include <weft/detail/config.hpp>
#include <weft/detail/park.hpp>
#include <weft/detail/spawn.hpp>
#include <weft/error.hpp>
#include <weft/options.hpp>

namespace weft::inline v0 {

class context;

namespace detail {

[[nodiscard]] cancel_node* node_of(const context& ctx) noexcept;

WEFT_EXPORT void fiber_join(fiber_core* g);
[[nodiscard]] WEFT_EXPORT std::error_code fiber_join_ctx(fiber_core* g, cancel_node* node);
[[nodiscard]] WEFT_EXPORT bool fiber_ended(const fiber_core* g) noexcept;

/// Counted pointer to a G.
class fiber_handle {
 public:
  fiber_handle() noexcept = default;
  explicit fiber_handle(fiber_core* g) noexcept : g_(g) {}
  fiber_handle(fiber_handle&& other) noexcept : g_(std::exchange(other.g_, nullptr)) {}
  fiber_handle& operator=(fiber_handle&& other) noexcept {
    if (this != &other) {
      reset();
      g_ = std::exchange(other.g_, nullptr);
    }
    return *this;
  }
  ~fiber_handle() { reset(); }
  [[nodiscard]] fiber_core* get() const noexcept { return g_; }
  void reset() noexcept {
    if (g_ != nullptr) fiber_unref(std::exchange(g_, nullptr));
  }

 private:
  fiber_core* g_ = nullptr;
};

template <class F>
WEFT_INLINE fiber_handle spawn_handle(runtime_state* rt, F&& fn, const void* site,
                                      const fiber_options* o) {
  fiber_core* g = fiber_make_in(rt, std::forward<F>(fn), site, o);
  fiber_add_handle(g);
  fiber_start(g);
  return fiber_handle(g);
}

}  // namespace detail

/// Starts a fiber. The closure is moved into the pooled fiber: no heap up to 64 bytes. An exception
/// that leaves it ends the process, like a Go panic. From fibers and, while a runtime is running,
/// plain threads. Throws no_runtime_error, std::bad_alloc.
template <detail::held_function F>
WEFT_INLINE void go(F&& fn, std::source_location loc = std::source_location::current()) {
  detail::fiber_start(detail::fiber_make(std::forward<F>(fn), detail::site_of(loc), nullptr));
}

/// The same with options.
template <detail::held_function F>
WEFT_INLINE void go(const fiber_options& o, F&& fn,
                    std::source_location loc = std::source_location::current()) {
  detail::fiber_start(detail::fiber_make(std::forward<F>(fn), detail::site_of(loc), &o));
}

/// Tag: an exception that leaves the fiber goes to the panic handler as an exception_ptr, and the
/// process goes on.
struct catching_t {
  explicit catching_t() = default;
};
inline constexpr catching_t catching{};

/// What set_panic_handler's function is told.
struct panic_info {
  std::uint64_t fiber_id = 0;
  std::string_view what;         ///< "" if the exception is no std::exception
  std::exception_ptr exception;  ///< null if std::terminate was called without one
  bool fatal = true;             ///< the process ends after the handler
};

/// Observes panics; it cannot resume. Called in the panicking fiber, so by several at once if
/// several panic. Empty removes it. It may be replaced at any time, by itself as well: a call under
/// way goes on in the handler that it began with, which lives until then. What it throws is a panic
/// where the process would have gone on, and is dropped where it ends anyway.
WEFT_EXPORT void set_panic_handler(std::function<void(const panic_info&)> handler);
/// The same for one that wants the exception alone.
template <class F>
  requires(!std::invocable<F&, const panic_info&>) && std::invocable<F&, std::exception_ptr> &&
          std::copy_constructible<F>
WEFT_INLINE void set_panic_handler(F handler) {
  std::function<void(std::exception_ptr)> f(std::move(*detail::launder_ptr(&handler)));
  if (!f) return set_panic_handler(nullptr);
  set_panic_handler([f = std::move(f)](const panic_info& p) { f(p.exception); });
}

namespace detail {
/// Gives it to the panic handler, as not fatal. False: there is no handler.
[[nodiscard]] WEFT_EXPORT bool report_caught(const std::exception_ptr& e) noexcept;

/// What a `catching` fiber runs.
template <class F>
struct catching_closure {
  F fn;
  void operator()() {
    try {
      static_cast<void>(fn());
    } catch (...) {
      static_cast<void>(report_caught(std::current_exception()));
    }
  }
};
}  // namespace detail

/// Starts a fiber whose exceptions do not end the process; see `catching`. (The tag is deduced, as
/// go({}, fn) could otherwise mean it as well as options.)
template <std::same_as<catching_t> Tag, detail::held_function F>
WEFT_INLINE void go(Tag /*tag*/, F&& fn,
                    std::source_location loc = std::source_location::current()) {
  using closure = detail::catching_closure<std::decay_t<F>>;
  detail::fiber_start(detail::fiber_make(closure{std::forward<F>(*detail::launder_ptr(&fn))},
                                         detail::site_of(loc), nullptr));
}

/// A fiber that can be waited for. Move-only; dropping it detaches.
class [[nodiscard]] fiber {
 public:
  fiber() noexcept = default;
  explicit fiber(detail::fiber_handle h) noexcept : handle_(std::move(h)) {}

  [[nodiscard]] bool joinable() const noexcept { return handle_.get() != nullptr; }
  /// Id of the fiber, 0 when not joinable.
  [[nodiscard]] std::uint64_t id() const noexcept { return joinable() ? handle_.get()->id : 0; }
  /// Waits for its end, from fibers and plain threads. Throws logic_error when not joinable,
  /// and when somebody else waits for it already.
  WEFT_EXPORT void join();
  /// The same, at most until ctx is done: then its error, and the fiber stays joinable. A context
  /// that is done already is an error also when the fiber has ended.
  [[nodiscard]] WEFT_EXPORT result<void> join(const context& ctx);
  void detach() noexcept { handle_.reset(); }

 private:
  detail::fiber_handle handle_;
};

/// Starts a fiber and returns a handle on it.
template <detail::held_function F>
[[nodiscard]] WEFT_INLINE fiber spawn(F&& fn,
                                      std::source_location loc = std::source_location::current()) {
  return fiber(detail::spawn_handle(nullptr, std::forward<F>(fn), detail::site_of(loc), nullptr));
}
template <detail::held_function F>
[[nodiscard]] WEFT_INLINE fiber spawn(const fiber_options& o, F&& fn,
                                      std::source_location loc = std::source_location::current()) {
  return fiber(detail::spawn_handle(nullptr, std::forward<F>(fn), detail::site_of(loc), &o));
}

namespace detail {

/// The closure of an async fiber: the function until it has run, then what came of it. Lives in the
/// G (or its block) until the last handle is gone.
template <class F, class T>
struct async_closure {
  using stored =
      std::conditional_t<std::is_void_v<T>, char,
                         std::conditional_t<std::is_reference_v<T>, std::add_pointer_t<T>, T>>;
  std::optional<stored> value;
  std::exception_ptr exception;
  std::optional<F> fn;

  explicit async_closure(F&& f) : fn(std::move(f)) {}
  explicit async_closure(const F& f) : fn(f) {}
  async_closure(async_closure&&) = default;

  void run() noexcept {
    try {
      if constexpr (std::is_void_v<T>) {
        (*fn)();
        value.emplace();
      } else if constexpr (std::is_reference_v<T>) {
        value.emplace(std::addressof((*fn)()));
      } else {
        value.emplace((*fn)());
      }
    } catch (...) {
      exception = std::current_exception();
    }
    fn.reset();
  }

  static void entry(fiber_core* g, entry_op op) {
    auto* self = closure_of<async_closure>(g);
    if (op == entry_op::run) {
      self->run();
    } else if (op == entry_op::destroy) {
      self->~async_closure();
    }
  }
};

}  // namespace detail

namespace detail {
struct future_maker;
}  // namespace detail

/// The result of async(). Move-only; dropping it lets the fiber run on.
template <class T>
class [[nodiscard]] future {
 public:
  /// What get() with a context holds, where no reference can be.
  using value_type = std::conditional_t<std::is_reference_v<T>,
                                        std::reference_wrapper<std::remove_reference_t<T>>, T>;

  future() noexcept = default;

  [[nodiscard]] bool valid() const noexcept { return handle_.get() != nullptr; }
  /// True once get() would not wait.
  [[nodiscard]] bool ready() const noexcept {
    return valid() && detail::fiber_ended(handle_.get());
  }
  /// Waits without taking the result. Throws logic_error when somebody else waits already.
  void wait() const {
    require_valid();
    detail::fiber_join(handle_.get());
  }
  /// The same, at most until ctx is done: then its error, also when the result is there already.
  [[nodiscard]] result<void> wait(const context& ctx) const {
    require_valid();
    if (auto e = detail::fiber_join_ctx(handle_.get(), detail::node_of(ctx))) return failure(e);
    return {};
  }
  /// Waits and moves the result out (once), or rethrows. From fibers and plain threads.
  T get() {
    wait();
    const detail::fiber_handle keep = std::move(handle_);
    access_(keep.get(), nullptr);  // rethrows
    if constexpr (std::is_void_v<T>) {
      return;
    } else if constexpr (std::is_reference_v<T>) {
      std::add_pointer_t<T> p = nullptr;
      access_(keep.get(), &p);
      return static_cast<T>(*p);
    } else {
      T* p = nullptr;
      access_(keep.get(), &p);
      return std::move(*p);
    }
  }
  /// The same, at most until ctx is done: then its error, and the result can still be had.
  [[nodiscard]] result<value_type> get(const context& ctx) {
    if (result<void> r = wait(ctx); !r) return failure(r.error());
    if constexpr (std::is_void_v<T>) {
      get();
      return {};
    } else {
      return result<value_type>(std::in_place, get());
    }
  }

 private:
  friend struct detail::future_maker;
  using accessor = void (*)(detail::fiber_core*, void* out);
  future(detail::fiber_handle h, accessor a) noexcept : handle_(std::move(h)), access_(a) {}
  void require_valid() const {
    if (!valid()) throw logic_error("weft::future: no state");
  }

  detail::fiber_handle handle_;
  accessor access_ = nullptr;
};

namespace detail {

struct future_maker {
  template <class F>
  [[nodiscard]] WEFT_INLINE static auto make(runtime_state* rt, F&& fn, const void* site) {
    fiber_core* g = prepare(rt, std::forward<F>(*launder_ptr(&fn)), site);
    fiber_start(g);
    return of<std::decay_t<F>>(g);
  }

  /// A fiber that is not started yet, with a second reference for of().
  template <class F>
  [[nodiscard]] WEFT_INLINE static fiber_core* prepare(runtime_state* rt, F&& fn,
                                                       const void* site) {
    using function = std::decay_t<F>;
    using closure = async_closure<function, std::invoke_result_t<function&>>;
    fiber_core* g = fiber_make_in(rt, closure(std::forward<F>(*launder_ptr(&fn))), site, nullptr);
    fiber_add_handle(g);
    return g;
  }

  /// What stands for its result. F: the function, decayed.
  template <class F>
  [[nodiscard]] static auto of(fiber_core* g) noexcept {
    using T = std::invoke_result_t<F&>;
    using closure = async_closure<F, T>;
    return future<T>(fiber_handle(g), [](fiber_core* core, void* out) {
      auto* c = closure_of<closure>(core);
      // Taken out: else the fiber, on its way to its end, may be the last that holds the exception
      // and delete what the catcher reads. (In order, but by counts that TSan cannot see.)
      if (c->exception) std::rethrow_exception(std::exchange(c->exception, nullptr));
      if (out == nullptr) return;
      if constexpr (std::is_reference_v<T>) {
        *static_cast<std::add_pointer_t<T>*>(out) = *c->value;
      } else if constexpr (!std::is_void_v<T>) {
        *static_cast<T**>(out) = &*c->value;
      }
    });
  }
};

}  // namespace detail

/// Starts a fiber whose result, or exception, comes back through the future.
template <detail::held_function F>
[[nodiscard]] WEFT_INLINE auto async(F&& fn,
                                     std::source_location loc = std::source_location::current()) {
  return detail::future_maker::make(nullptr, std::forward<F>(fn), detail::site_of(loc));
}

namespace detail {

/// A function of a future, of its value, or of nothing.
template <class F, class T>
concept ready_handler =
    held_function<F, future<T>> || (!std::is_void_v<T> && held_function<F, T>) || held_function<F>;

/// What the fiber of on_ready runs.
template <class F, class T>
struct ready_closure {
  F fn;  // copied first: if that throws, the future is where it was
  future<T> r;
  void operator()() {
    r.wait();
    if constexpr (std::invocable<F&, future<T>>) {
      static_cast<void>(std::invoke(fn, std::move(r)));
    } else if constexpr (!std::is_void_v<T> && std::invocable<F&, T>) {
      static_cast<void>(std::invoke(fn, r.get()));
    } else {
      static_cast<void>(std::invoke(fn));
    }
  }
};

}  // namespace detail

/// Runs fn in a fiber of its own once the result is there, and consumes the future, which is left
/// without a state. fn takes the future; or the value (an exception in its place ends the process,
/// as one of fn's own would); or nothing, and is told only that it has ended. Throws logic_error
/// for a future without a state.
template <class T, detail::ready_handler<T> F>
WEFT_INLINE void on_ready(future<T>&& r, F&& fn,
                          std::source_location loc = std::source_location::current()) {
  if (!r.valid()) throw logic_error("weft::on_ready: no state");
  using closure = detail::ready_closure<std::decay_t<F>, T>;
  detail::fiber_start(
      detail::fiber_make(closure{std::forward<F>(*detail::launder_ptr(&fn)), std::move(r)},
                         detail::site_of(loc), nullptr));
}
template <class T, detail::ready_handler<T> F>
WEFT_INLINE void on_ready(future<T>& r, F&& fn,
                          std::source_location loc = std::source_location::current()) {
  weft::on_ready(std::move(r), std::forward<F>(*detail::launder_ptr(&fn)), loc);
}

/// Lets other runnable fibers run first.
WEFT_INLINE void yield() noexcept {
  const detail::switch_pair s = detail::yield_commit();
  if (s.to != nullptr) detail::switch_to(s.from, s.to);
}

namespace detail {

/// Gives the P away for the duration of a blocking call on this very thread.
class WEFT_EXPORT blocking_scope {
 public:
  blocking_scope() noexcept;
  blocking_scope(const blocking_scope&) = delete;
  blocking_scope& operator=(const blocking_scope&) = delete;
  ~blocking_scope();
};

}  // namespace detail

/// Runs fn on this very thread (same fiber, same thread_locals) after giving the P away, so that it
/// may block in the kernel without holding other fibers up. On a plain thread it just runs fn.
template <std::invocable F>
WEFT_INLINE decltype(auto) blocking(F&& fn) {
  const detail::blocking_scope scope;
  return std::invoke(std::forward<F>(*detail::launder_ptr(&fn)));
}

namespace this_fiber {

/// Id of the running fiber, 0 on a plain thread.
[[nodiscard]] WEFT_EXPORT std::uint64_t id() noexcept;
/// The name given in fiber_options, or "".
[[nodiscard]] WEFT_EXPORT std::string_view name() noexcept;
/// Sets a label of this fiber; fibers that it starts from now on inherit it. Throws logic_error on
/// a plain thread.
WEFT_EXPORT void set_label(std::string_view key, std::string_view value);
/// The value of a label, or "". Valid until the label is set again.
[[nodiscard]] WEFT_EXPORT std::string_view label(std::string_view key) noexcept;

}  // namespace this_fiber

namespace detail {
[[nodiscard]] WEFT_EXPORT void* fiber_local_get(const void* key) noexcept;
WEFT_EXPORT void fiber_local_set(const void* key, void* value, void (*destroy)(void*));
}  // namespace detail

/// A variable of which every fiber (and every plain thread that touches it) has its own, made by
/// T's default constructor on first use and destroyed when the fiber ends. Give it static duration.
template <class T>
class fiber_local {
 public:
  fiber_local() = default;
  fiber_local(const fiber_local&) = delete;
  fiber_local& operator=(const fiber_local&) = delete;

  [[nodiscard]] T& get() {
    if (void* p = detail::fiber_local_get(this)) return *static_cast<T*>(p);
    T* made = new T();
    try {
      detail::fiber_local_set(this, made, [](void* p) { delete static_cast<T*>(p); });
    } catch (...) {
      delete made;
      throw;
    }
    return *made;
  }
  T& operator*() { return get(); }
  T* operator->() { return &get(); }
};

}  // namespace weft::inline v0
