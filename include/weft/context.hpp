// SPDX-License-Identifier: Apache-2.0
// Contexts: how a request's end, deadline and values travel with its calls. Handles over
// detail/context_node.hpp.
//
// A context is passed as `const context&`, first argument. Whoever derives one holds its
// cancel_handle; leaving that scope cancels. Cancelling reaches the whole subtree before it
// returns.
#pragma once

#include <concepts>
#include <initializer_list>
#include <optional>
#include <source_location>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>

#include <weft/chan.hpp>
#include <weft/clock.hpp>
#include <weft/detail/callable.hpp>
#include <weft/detail/context_node.hpp>
#include <weft/detail/spawn.hpp>
#include <weft/error.hpp>

namespace weft::inline v0 {

/// Base of the keys of context values: `struct tenant : weft::context_key<std::string> {};`
template <class T>
struct context_key {
  using value_type = T;
};

namespace detail {
template <class K>
concept context_key_type = requires { typename K::value_type; } &&
                           std::derived_from<K, context_key<typename K::value_type>>;

/// One address a key.
template <class K>
struct WEFT_EXPORT key_tag {
  static constexpr char tag = 0;
};

struct context_access;
}  // namespace detail

/// A counted handle on a node of the context tree. Default-constructed it is the background.
/// Copies and all const members are safe from any fiber and thread.
class context {
 public:
  context() noexcept = default;
  context(const context& o) : node_(detail::node_share(o.node_)) {}
  // Moving a scoped_context's handle makes a child node, which may lack memory: not noexcept.
  // NOLINTBEGIN(performance-noexcept-move-constructor)
  context(context&& o) : node_(o.take()) {}
  context& operator=(const context& o) {
    if (this != &o) reset(detail::node_share(o.node_));
    return *this;
  }
  context& operator=(context&& o) {
    if (this != &o) reset(o.take());
    return *this;
  }
  // NOLINTEND(performance-noexcept-move-constructor)
  ~context() { detail::node_drop(node_); }

  /// A channel that is closed when the context is done; nil if that can never be.
  [[nodiscard]] recv_chan<unit> done() const {
    return detail::channel_access::share<recv_chan<unit>>(
        node_ == nullptr ? nullptr : detail::node_done_channel(node_), detail::one_recv_end);
  }

  /// Why it is done: canceled or deadline_exceeded; empty while it is not.
  [[nodiscard]] std::error_code err() const noexcept {
    const detail::cancel_node* t = target();
    return t != nullptr && t->done() ? t->err : std::error_code{};
  }

  /// What the canceller gave as the reason, else err(); empty while it is not done.
  [[nodiscard]] std::error_code cause() const noexcept {
    const detail::cancel_node* t = target();
    return t != nullptr && t->done() ? t->cause : std::error_code{};
  }

  /// When it will be done at the latest.
  [[nodiscard]] std::optional<time_point> deadline() const noexcept {
    if (node_ == nullptr || node_->deadline == detail::never) return std::nullopt;
    return time_point(clock::duration(node_->deadline));
  }

  /// The nearest value of key K on the way to the root, or null. It lives as long as this context.
  template <detail::context_key_type K>
  [[nodiscard]] const typename K::value_type* value() const noexcept {
    return static_cast<const typename K::value_type*>(find_value(&detail::key_tag<K>::tag));
  }

  /// Handles on the same node?
  [[nodiscard]] friend bool operator==(const context& a, const context& b) noexcept {
    return a.node_ == b.node_;
  }

 protected:
  /// Takes over a node that is counted already.
  explicit context(detail::context_node* counted) noexcept : node_(counted) {}
  /// Points to a frame's node, or away from it.
  void refer_to_frame(detail::context_node* frame) noexcept { node_ = frame; }

 private:
  friend struct detail::context_access;
  friend detail::cancel_node* detail::node_of(const context& ctx) noexcept;

  [[nodiscard]] const detail::cancel_node* target() const noexcept {
    return node_ == nullptr ? nullptr : node_->target;
  }
  [[nodiscard]] WEFT_EXPORT const void* find_value(const void* key) const noexcept;
  /// A frame's node stays with its scoped_context; what moves away from there is a child of it.
  [[nodiscard]] detail::context_node* take() {
    if (node_ != nullptr && node_->kind == detail::node_kind::frame) return node_share(node_);
    return std::exchange(node_, nullptr);
  }
  void reset(detail::context_node* n) noexcept { detail::node_drop(std::exchange(node_, n)); }

  detail::context_node* node_ = nullptr;
};

namespace detail {
/// When ctx is done at the latest, as the core counts it.
[[nodiscard]] inline std::int64_t deadline_of(const context& ctx) noexcept {
  const std::optional<time_point> at = ctx.deadline();
  return at ? at->time_since_epoch().count() : never;
}
}  // namespace detail

/// The root of all contexts: never done, no deadline, no values.
[[nodiscard]] inline context background() noexcept { return {}; }

/// The right and the duty to end a context. Move-only; its destructor cancels.
class [[nodiscard]] cancel_handle {
 public:
  cancel_handle() noexcept = default;
  cancel_handle(cancel_handle&& o) noexcept : node_(std::exchange(o.node_, nullptr)) {}
  cancel_handle& operator=(cancel_handle&& o) noexcept {
    if (this != &o) {
      drop();
      node_ = std::exchange(o.node_, nullptr);
    }
    return *this;
  }
  ~cancel_handle() { drop(); }

  /// Ends the context and everything below it, before it returns. Idempotent; the first reason
  /// stays. Safe from any fiber and thread, also while its owner, seeing the end, drops the handle.
  void operator()() const noexcept { (*this)({}); }
  /// The same, telling why: cause() of the subtree. err() is still `canceled`.
  void operator()(std::error_code cause) const noexcept {
    if (node_ == nullptr) return;
    // A reference of our own: whoever sees the end may drop this handle while we are inside.
    detail::context_node* n = detail::node_share(node_);
    const std::error_code err = make_error_code(errc::canceled);
    detail::node_cancel(n, err, cause ? cause : err);
    detail::node_drop(n);
  }

 private:
  friend struct detail::context_access;
  explicit cancel_handle(detail::context_node* counted) noexcept : node_(counted) {}
  void drop() noexcept {
    if (node_ == nullptr) return;
    const std::error_code err = make_error_code(errc::canceled);
    detail::node_cancel(node_, err, err);
    detail::node_drop(node_);
  }

  detail::context_node* node_ = nullptr;
};

/// What the functions below return: `auto [ctx, cancel] = with_cancel(parent);`
/// Kept whole, `auto scope = with_cancel(parent);`, it can be used as its context. But
/// `context c = with_cancel(parent);` makes one that is cancelled from the start: nobody keeps the
/// handle, which goes, and cancels, at the end of that very line.
struct [[nodiscard]] cancelable_context {
  context ctx;
  cancel_handle cancel;

  /// So that it can be passed on without taking it apart.
  operator const context&() const noexcept { return ctx; }

  /// Those of ctx.
  [[nodiscard]] recv_chan<unit> done() const { return ctx.done(); }
  [[nodiscard]] std::error_code err() const noexcept { return ctx.err(); }
  [[nodiscard]] std::error_code cause() const noexcept { return ctx.cause(); }
  [[nodiscard]] std::optional<time_point> deadline() const noexcept { return ctx.deadline(); }
  template <detail::context_key_type K>
  [[nodiscard]] const typename K::value_type* value() const noexcept {
    return ctx.value<K>();
  }
};

/// A child that ends with its parent or by its handle.
[[nodiscard]] WEFT_EXPORT cancelable_context
with_cancel(const context& parent, std::source_location where = std::source_location::current());

namespace detail {
/// What the library itself does with handles.
struct context_access {
  [[nodiscard]] static context_node* node(const context& c) noexcept { return c.node_; }
  [[nodiscard]] static context adopt(context_node* counted) noexcept { return context(counted); }
  [[nodiscard]] static cancel_handle adopt_cancel(context_node* counted) noexcept {
    return cancel_handle(counted);
  }
};
[[nodiscard]] WEFT_EXPORT cancelable_context with_deadline_ns(const context& parent,
                                                              std::int64_t deadline,
                                                              const void* site);
}  // namespace detail

/// The same, and it ends with errc::deadline_exceeded at `at`. Throws no_runtime_error when there
/// is no runtime whose timers could end it.
template <class Clock, class Duration>
[[nodiscard]] cancelable_context with_deadline(
    const context& parent, std::chrono::time_point<Clock, Duration> at,
    std::source_location where = std::source_location::current()) {
  return detail::with_deadline_ns(parent, detail::deadline_at(at), detail::site_of(where));
}

/// The same, `d` from now.
template <class Rep, class Period>
[[nodiscard]] cancelable_context with_timeout(
    const context& parent, std::chrono::duration<Rep, Period> d,
    std::source_location where = std::source_location::current()) {
  return detail::with_deadline_ns(parent, detail::deadline_in(d), detail::site_of(where));
}

/// A child that carries a value for key K.
template <detail::context_key_type K, class V>
  requires std::constructible_from<typename K::value_type, V>
[[nodiscard]] context with_value(const context& parent, V&& value,
                                 std::source_location where = std::source_location::current()) {
  using namespace detail;
  // The handle first: it gives the node back if the value's constructor throws.
  context_node* n = node_make(node_kind::value, context_access::node(parent), site_of(where));
  context out = context_access::adopt(n);
  emplace_payload<typename K::value_type>(n, std::forward<V>(value));
  n->key = &key_tag<K>::tag;
  return out;
}

/// The same values, but neither the parent's end nor its deadline.
[[nodiscard]] WEFT_EXPORT context
without_cancel(const context& parent, std::source_location where = std::source_location::current());

/// A context that is cancelled by the first of the signals; cause() tells which (category "signal",
/// the number as its value). While it or its handle lives, the signals do not have their default
/// effect. Throws std::system_error for a signal that cannot be caught.
[[nodiscard]] WEFT_EXPORT cancelable_context
signal_context(const context& parent, std::initializer_list<int> signals,
               std::source_location where = std::source_location::current());

/// The category of signal_context's causes.
[[nodiscard]] WEFT_EXPORT const std::error_category& signal_category() noexcept;

/// The context that ends when the main fiber of the caller's runtime has returned; background where
/// there is no runtime.
[[nodiscard]] WEFT_EXPORT context root_context();

/// A child that is also cancelled by a std::stop_token.
[[nodiscard]] WEFT_EXPORT cancelable_context
with_stop_token(const context& parent, std::stop_token token,
                std::source_location where = std::source_location::current());

/// A registered callback. Dropping it stops the callback; detach() lets it run.
class [[nodiscard]] after_func_handle {
 public:
  /// How a handle speaks to what it stands for.
  struct operations {
    bool (*stop)(void* self) noexcept;
    void (*drop)(void* self) noexcept;
  };

  after_func_handle() noexcept = default;
  after_func_handle(void* counted, const operations* ops) noexcept : self_(counted), ops_(ops) {}
  after_func_handle(after_func_handle&& o) noexcept
      : self_(std::exchange(o.self_, nullptr)), ops_(o.ops_) {}
  after_func_handle& operator=(after_func_handle&& o) noexcept {
    if (this != &o) {
      drop();
      self_ = std::exchange(o.self_, nullptr);
      ops_ = o.ops_;
    }
    return *this;
  }
  ~after_func_handle() { drop(); }

  /// True if this call prevented the run; it will never happen then.
  [[nodiscard]] bool stop() const noexcept { return self_ != nullptr && ops_->stop(self_); }
  /// Lets the callback run without anybody holding it.
  void detach() noexcept {
    if (self_ != nullptr) ops_->drop(std::exchange(self_, nullptr));
  }

 private:
  void drop() noexcept {
    if (self_ == nullptr) return;
    static_cast<void>(stop());
    ops_->drop(self_);
  }

  void* self_ = nullptr;
  const operations* ops_ = nullptr;
};

namespace detail {

struct callback_payload_base {
  void (*run)(callback_payload_base*);
};
template <class F>
struct callback_payload : callback_payload_base {
  template <class G>
  explicit callback_payload(G&& g) : fn(std::forward<G>(g)) {
    run = [](callback_payload_base* self) {
      static_cast<void>(static_cast<callback_payload*>(self)->fn());
    };
  }
  F fn;
};

/// Registers a callback node whose payload is built.
[[nodiscard]] WEFT_EXPORT after_func_handle register_callback(context_node* n) noexcept;

}  // namespace detail

/// Runs `fn` in a fiber of its own once ctx is done (at once if it is), never inside cancel(). With
/// no runtime left it runs in the cancelling thread.
template <detail::held_function F>
[[nodiscard]] after_func_handle after_func(
    const context& ctx, F&& fn, std::source_location where = std::source_location::current()) {
  using namespace detail;
  context_node* n = node_make(node_kind::callback, context_access::node(ctx), site_of(where));
  try {
    emplace_payload<callback_payload<std::decay_t<F>>>(n, std::forward<F>(fn));
  } catch (...) {
    node_drop(n);
    throw;
  }
  return register_callback(n);
}

/// A std::stop_source that is asked to stop when a context is done, for code that takes a
/// std::stop_token.
class [[nodiscard]] stop_bridge {
 public:
  explicit stop_bridge(const context& ctx,
                       std::source_location where = std::source_location::current())
      : handle_(after_func(ctx, [s = source_]() mutable { s.request_stop(); }, where)) {
    if (ctx.err()) source_.request_stop();
  }
  [[nodiscard]] std::stop_token get_token() const noexcept { return source_.get_token(); }

 private:
  std::stop_source source_;
  after_func_handle handle_;
};

/// A cancelable child whose node lies in the frame: no heap. Usable as const context&; a copy of
/// the handle, and everything derived from it, hangs on a child node made on first need. The
/// destructor cancels. Neither copied nor moved.
class scoped_context : public context {
 public:
  explicit scoped_context(const context& parent,
                          std::source_location where = std::source_location::current()) {
    begin(parent, detail::never, where);
  }
  /// With a timeout. Throws no_runtime_error as with_deadline does.
  template <class Rep, class Period>
  scoped_context(const context& parent, std::chrono::duration<Rep, Period> d,
                 std::source_location where = std::source_location::current()) {
    begin(parent, detail::deadline_in(d), where);
  }
  /// With a deadline.
  template <class Clock, class Duration>
  scoped_context(const context& parent, std::chrono::time_point<Clock, Duration> at,
                 std::source_location where = std::source_location::current()) {
    begin(parent, detail::deadline_at(at), where);
  }
  /// A child of another one, by the first rule: copying a handle makes a child.
  scoped_context(const scoped_context& parent,  // NOLINT(bugprone-copy-constructor-init)
                 std::source_location where = std::source_location::current())
      : context() {
    begin(parent, detail::never, where);
  }
  scoped_context& operator=(const scoped_context&) = delete;
  ~scoped_context() {
    refer_to_frame(nullptr);
    detail::node_end_frame(&storage_);
  }

  /// Ends it early; see cancel_handle.
  void cancel(std::error_code cause = {}) noexcept {
    const std::error_code err = make_error_code(errc::canceled);
    // The owner may see the end and leave the frame while we are inside: node_end_frame waits for
    // this reference. relaxed: the frame still stands when we enter; release: our last touch.
    storage_.refs.fetch_add(1, std::memory_order_relaxed);
    detail::node_cancel(&storage_, err, cause ? cause : err);
    storage_.refs.fetch_sub(1, std::memory_order_release);
  }

 private:
  void begin(const context& parent, std::int64_t deadline, const std::source_location& where) {
    detail::node_init_frame(&storage_, detail::context_access::node(parent), deadline,
                            detail::site_of(where));
    refer_to_frame(&storage_);
  }

  detail::context_node storage_;
};

}  // namespace weft::inline v0
