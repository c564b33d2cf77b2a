// SPDX-License-Identifier: Apache-2.0
// select: waits for the first of several channel operations, contexts and timeouts. Typed cases and
// handlers over detail/select_core.hpp.
//
// Everything that carries a user's closure or value is force-inlined and passes addresses through
// launder_ptr: g++ 12 to 14 miscompile the forwarding otherwise (detail/config.hpp).
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include <weft/chan.hpp>
#include <weft/clock.hpp>
#include <weft/detail/select_core.hpp>

namespace weft::inline v0 {
namespace detail {

struct no_handler {
  void operator()() const noexcept {}
};
inline constexpr no_handler no_handler_v{};

/// Base of the cases: not copied, not moved, they live within their select's full expression.
struct case_base {
  case_base() = default;
  case_base(const case_base&) = delete;
  case_base& operator=(const case_base&) = delete;
};

template <class T, class F>
class [[nodiscard]] recv_case : public case_base {
 public:
  static constexpr case_kind kind = case_kind::recv;
  WEFT_INLINE recv_case(chan_core* c, F* fn) noexcept : core_(c), fn_(fn) {}

  WEFT_INLINE void fill(select_record& r) noexcept {
    r.set_channel(kind, core_, launder_ptr(&slot_.value));
  }
  WEFT_INLINE bool wait() noexcept {  // this case alone
    uninit<waiter> w;
    const chan_step r = chan_recv(core_, launder_ptr(&slot_.value), launder_ptr(&w.value));
    return chan_finish(r, w.value);
  }
  WEFT_INLINE chan_op attempt() noexcept { return chan_try_recv(core_, launder_ptr(&slot_.value)); }
  WEFT_INLINE void run(bool ok) {
    std::optional<T> value;
    if (ok) {
      value.emplace(std::move(slot_.value));
      std::destroy_at(&slot_.value);
    }
    if constexpr (std::invocable<F&, std::optional<T>>) {
      static_cast<void>(std::invoke(*fn_, std::move(*launder_ptr(&value))));
    } else {
      static_cast<void>(std::invoke(*fn_));
    }
  }

 private:
  chan_core* core_;
  F* fn_;
  uninit<T> slot_;
};

/// The two ways to hold the value of a send: in the case, or where it is.
template <class T>
struct held_value {
  T value;
  [[nodiscard]] T* get() noexcept { return &value; }
};
template <class T>
struct borrowed_value {
  T* value;
  [[nodiscard]] T* get() noexcept { return value; }
};

template <class T, class Value, class F>
class [[nodiscard]] send_case : public case_base {
 public:
  static constexpr case_kind kind = case_kind::send;
  template <class V>
  WEFT_INLINE send_case(chan_core* c, V&& v, F* fn)
      : core_(c), fn_(fn), value_{std::forward<V>(v)} {}

  WEFT_INLINE void fill(select_record& r) noexcept {
    r.set_channel(kind, core_, launder_ptr(value_.get()));
  }
  WEFT_INLINE bool wait() {
    uninit<waiter> w;
    const chan_step r = chan_send(core_, launder_ptr(value_.get()), launder_ptr(&w.value));
    return chan_finish(r, w.value);
  }
  WEFT_INLINE chan_op attempt() { return chan_try_send(core_, launder_ptr(value_.get())); }
  WEFT_INLINE void run(bool ok) {
    if (!ok) throw_send_on_closed();
    static_cast<void>(std::invoke(*fn_));
  }

 private:
  chan_core* core_;
  F* fn_;
  Value value_;
};

template <class F>
class [[nodiscard]] done_case : public case_base {
 public:
  static constexpr case_kind kind = case_kind::done;
  WEFT_INLINE done_case(cancel_node* n, F* fn) noexcept : node_(n), fn_(fn) {}
  WEFT_INLINE void fill(select_record& r) noexcept { r.set_done(node_); }
  WEFT_INLINE void run(bool) { static_cast<void>(std::invoke(*fn_)); }

 private:
  cancel_node* node_;
  F* fn_;
};

template <class F>
class [[nodiscard]] timeout_case : public case_base {
 public:
  static constexpr case_kind kind = case_kind::timeout;
  WEFT_INLINE timeout_case(std::int64_t ns, F* fn) noexcept : ns_(ns), fn_(fn) {}
  WEFT_INLINE void fill(select_record& r) noexcept {
    r.kind = kind;
    r.timeout_ns = ns_;
  }
  WEFT_INLINE void run(bool) { static_cast<void>(std::invoke(*fn_)); }

 private:
  std::int64_t ns_;
  F* fn_;
};

template <class F>
class [[nodiscard]] otherwise_case : public case_base {
 public:
  static constexpr case_kind kind = case_kind::otherwise;
  WEFT_INLINE explicit otherwise_case(F* fn) noexcept : fn_(fn) {}
  WEFT_INLINE void fill(select_record& r) noexcept { r.kind = kind; }
  WEFT_INLINE void run(bool) { static_cast<void>(std::invoke(*fn_)); }

 private:
  F* fn_;
};

template <class C>
concept select_case_type = std::derived_from<std::remove_cvref_t<C>, case_base>;

template <class F>
using handler_of = std::remove_reference_t<F>;

template <class V, class T>
inline constexpr bool is_rvalue_of = std::is_same_v<V, T>;  // V deduced from a T&& parameter

template <class Case>
inline constexpr case_kind kind_of = std::remove_reference_t<Case>::kind;

template <class Case>
inline constexpr bool is_channel_case =
    kind_of<Case> == case_kind::recv || kind_of<Case> == case_kind::send;

/// Two would be a case that is never taken. (Compilers name this concept when they refuse one.)
template <class... Cases>
concept a_select_has_at_most_one_otherwise =
    ((kind_of<Cases> == case_kind::otherwise ? 1 : 0) + ... + 0) <= 1;

/// select with one channel case and otherwise: a plain attempt.
template <class Channel, class Otherwise>
WEFT_INLINE bool select_attempt(Channel& c, Otherwise& o) {
  const chan_op op = c.attempt();
  if (op == chan_op::blocked) {
    o.run(true);
    return false;
  }
  c.run(op == chan_op::done);
  return true;
}

template <class... Cases>
WEFT_INLINE std::size_t select_list(Cases&... cases) {
  select_record records[sizeof...(Cases)];
  select_frame frame(launder_ptr(&records[0]), sizeof...(Cases));
  std::size_t i = 0;
  (cases.fill(records[i++]), ...);
  run_select(frame);
  const std::size_t chosen = frame.chosen;
  const bool ok = frame.ok;
  i = 0;
  ((i++ == chosen ? cases.run(ok) : void()), ...);
  return chosen;
}

}  // namespace detail

/// A receive as a case: the handler takes a std::optional<T> (nullopt: closed and drained), or
/// nothing.
template <detail::receivable_channel C, class F>
  requires std::invocable<F&, std::optional<typename C::element_type>> || std::invocable<F&>
[[nodiscard]] WEFT_INLINE auto on_recv(const C& c, F&& handler) {
  return detail::recv_case<typename C::element_type, detail::handler_of<F>>(
      detail::channel_access::core_of(c), detail::launder_ptr(&handler));
}

/// A send as a case. An lvalue is copied now; an rvalue of type T is kept by reference and moved
/// from only if the case is taken; anything else is converted now. Taken on a closed channel, the
/// select throws closed_channel.
template <detail::sendable_channel C, class V, class F = const detail::no_handler&>
  requires std::constructible_from<typename C::element_type, V> && std::invocable<F&>
[[nodiscard]] WEFT_INLINE auto on_send(const C& c, V&& value, F&& handler = detail::no_handler_v) {
  using T = typename C::element_type;
  if constexpr (detail::is_rvalue_of<V, T>) {
    return detail::send_case<T, detail::borrowed_value<T>, detail::handler_of<F>>(
        detail::channel_access::core_of(c), detail::launder_ptr(&value),
        detail::launder_ptr(&handler));
  } else {
    return detail::send_case<T, detail::held_value<T>, detail::handler_of<F>>(
        detail::channel_access::core_of(c), std::forward<V>(value), detail::launder_ptr(&handler));
  }
}

/// Ready when the context is done.
template <class F = const detail::no_handler&>
  requires std::invocable<F&>
[[nodiscard]] WEFT_INLINE auto on_done(const context& ctx, F&& handler = detail::no_handler_v) {
  return detail::done_case<detail::handler_of<F>>(detail::node_of(ctx),
                                                  detail::launder_ptr(&handler));
}

/// Taken when nothing else was ready within `d`; at once if d <= 0.
template <class Rep, class Period, class F = const detail::no_handler&>
  requires std::invocable<F&>
[[nodiscard]] WEFT_INLINE auto on_timeout(std::chrono::duration<Rep, Period> d,
                                          F&& handler = detail::no_handler_v) {
  return detail::timeout_case<detail::handler_of<F>>(detail::to_ns(d),
                                                     detail::launder_ptr(&handler));
}

/// Taken at once if no other case is ready.
template <class F = const detail::no_handler&>
  requires std::invocable<F&>
[[nodiscard]] WEFT_INLINE auto otherwise(F&& handler = detail::no_handler_v) {
  return detail::otherwise_case<detail::handler_of<F>>(detail::launder_ptr(&handler));
}

/// Waits until one of the cases can go, takes exactly that one, runs its handler in the calling
/// fiber with no lock held, and returns its 0-based place. Among ready cases the choice is
/// uniformly random. Without cases it blocks for ever. Allocates nothing.
template <class... Cases>
  requires(detail::select_case_type<Cases> && ...) &&
          detail::a_select_has_at_most_one_otherwise<Cases...>
[[nodiscard]] WEFT_INLINE std::size_t select(Cases&&... cases) {
  using namespace detail;
  if constexpr (sizeof...(Cases) == 0) {
    park_for_ever(wait_reason::select_no_cases);
  } else if constexpr (sizeof...(Cases) == 1 && (is_channel_case<Cases> && ...)) {
    (cases.run(cases.wait()), ...);
    return 0;
  } else if constexpr (sizeof...(Cases) == 2 &&
                       ((is_channel_case<Cases> || kind_of<Cases> == case_kind::otherwise) &&
                        ...) &&
                       (!is_channel_case<Cases> || ...)) {
    return [](auto& first, auto& second) __attribute__((always_inline)) -> std::size_t {
      if constexpr (is_channel_case<decltype(first)>) {
        return select_attempt(first, second) ? 0 : 1;
      } else {
        return select_attempt(second, first) ? 1 : 0;
      }
    }(*launder_ptr(&cases)...);
  } else {
    return select_list(cases...);
  }
}

/// A case of a select whose list is made at run time. It borrows what it names: the channel, the
/// context and the variable must outlive it; it may be used again and again.
class select_case : detail::select_record {
 public:
  /// Never ready.
  select_case() = default;

  /// Receives into `target`, which select_any empties first; it stays empty if the channel is
  /// closed and drained.
  template <detail::receivable_channel C>
  [[nodiscard]] static select_case recv(const C& c,
                                        std::optional<typename C::element_type>& target) noexcept {
    select_case s;
    s.set_channel(detail::case_kind::recv_optional, detail::channel_access::core_of(c),
                  detail::launder_ptr(&target));
    return s;
  }
  template <detail::receivable_channel C>
  static select_case recv(const C&&, std::optional<typename C::element_type>&) = delete;

  /// Sends `value`, which is moved from if the case is taken.
  template <detail::sendable_channel C>
  [[nodiscard]] static select_case send(const C& c, typename C::element_type& value) noexcept {
    select_case s;
    s.set_channel(detail::case_kind::send, detail::channel_access::core_of(c),
                  detail::launder_ptr(&value));
    return s;
  }
  template <detail::sendable_channel C>
  static select_case send(const C&&, typename C::element_type&) = delete;

  /// Ready when the context is done.
  [[nodiscard]] static select_case done(const context& ctx) noexcept {
    select_case s;
    s.set_done(detail::node_of(ctx));
    return s;
  }
  static select_case done(const context&&) = delete;

  /// Taken when nothing was ready within `d` of the start of select_any.
  template <class Rep, class Period>
  [[nodiscard]] static select_case timeout(std::chrono::duration<Rep, Period> d) noexcept {
    select_case s;
    s.kind = detail::case_kind::timeout;
    s.timeout_ns = detail::to_ns(d);
    return s;
  }

  /// Taken at once if nothing else is ready.
  [[nodiscard]] static select_case otherwise() noexcept {
    select_case s;
    s.kind = detail::case_kind::otherwise;
    return s;
  }

 private:
  friend WEFT_INLINE std::size_t select_any(std::span<select_case> cases);
};
static_assert(sizeof(select_case) <= 96, "a list of cases lies in the caller's storage");
static_assert(sizeof(select_case) == sizeof(detail::select_record), "the core walks records");

/// select over a list made at run time; returns the place of the case taken. Uses no storage but
/// the list's own. Throws closed_channel if a send on a closed channel was taken. An empty list
/// blocks for ever.
[[nodiscard]] WEFT_INLINE std::size_t select_any(std::span<select_case> cases) {
  detail::select_record* first = cases.data();
  detail::select_frame frame(detail::launder_ptr(first), cases.size());
  detail::run_select(frame);
  if (!frame.ok && first[frame.chosen].kind == detail::case_kind::send) {
    detail::throw_send_on_closed();
  }
  return frame.chosen;
}

}  // namespace weft::inline v0
