// SPDX-License-Identifier: Apache-2.0
// Channels: the typed shell over detail/chan_core.hpp. It holds no protocol; it turns values into
// slots and back, and puts the switch into the caller's own frame.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <functional>
#include <iterator>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

#include <weft/clock.hpp>
#include <weft/detail/chan_core.hpp>
#include <weft/detail/spawn.hpp>
#include <weft/error.hpp>

namespace weft::inline v0 {

class context;

/// The empty value, for channels that carry only the fact.
struct unit {
  friend constexpr bool operator==(unit, unit) noexcept = default;
};

/// make_chan<T>(conflated): a channel that keeps the latest value only; its sends never wait.
struct conflated_t {
  explicit conflated_t() = default;
};
inline constexpr conflated_t conflated{};

/// make_chan<T>(unbounded): a channel whose sends never wait; values queue in memory.
struct unbounded_t {
  explicit unbounded_t() = default;
};
inline constexpr unbounded_t unbounded{};

/// What try_recv found: a value, nothing yet, or the end.
template <class T>
class try_result {
 public:
  constexpr try_result(std::optional<T>&& v, bool closed) noexcept
      : value_(std::move(v)), closed_(closed) {}

  [[nodiscard]] constexpr bool has_value() const noexcept { return value_.has_value(); }
  [[nodiscard]] constexpr explicit operator bool() const noexcept { return has_value(); }
  /// No value now, but the channel is open.
  [[nodiscard]] constexpr bool empty() const noexcept { return !has_value() && !closed_; }
  /// Closed and drained.
  [[nodiscard]] constexpr bool closed() const noexcept { return closed_; }

  [[nodiscard]] constexpr T& operator*() & noexcept { return *value_; }
  [[nodiscard]] constexpr const T& operator*() const& noexcept { return *value_; }
  [[nodiscard]] constexpr T&& operator*() && noexcept { return *std::move(value_); }
  [[nodiscard]] constexpr T* operator->() noexcept { return &*value_; }
  [[nodiscard]] constexpr const T* operator->() const noexcept { return &*value_; }
  /// The value, or throws std::bad_optional_access.
  [[nodiscard]] constexpr T& value() & { return value_.value(); }
  [[nodiscard]] constexpr const T& value() const& { return value_.value(); }
  [[nodiscard]] constexpr T&& value() && { return std::move(value_).value(); }

 private:
  std::optional<T> value_;
  bool closed_;
};

namespace detail {

/// The seam by which other modules take a context; null for one that is never done.
[[nodiscard]] WEFT_EXPORT cancel_node* node_of(const context& ctx) noexcept;

template <class T>
concept channel_value =
    std::is_object_v<T> && !std::is_const_v<T> && !std::is_volatile_v<T> && !std::is_array_v<T> &&
    std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>;

/// The operations of anything one can send to. Self provides `chan_core* core() const`.
template <class Self, class T>
class send_operations {
 public:
  /// Sends a copy, which is made before the channel is touched. Blocks until a receiver has it or
  /// the channel keeps it. Throws closed_channel if the channel is or becomes closed.
  WEFT_INLINE void send(const T& value) const
    requires std::copy_constructible<T>
  {
    T copy(value);
    detail::send_from(core(), &copy);
  }
  /// Sends `value`, which is untouched unless it was sent.
  WEFT_INLINE void send(T&& value) const { detail::send_from(core(), &value); }

  /// Sends if that is possible at once. Throws closed_channel.
  [[nodiscard]] WEFT_INLINE bool try_send(const T& value) const
    requires std::copy_constructible<T>
  {
    T copy(value);
    return try_send_from(&copy);
  }
  [[nodiscard]] WEFT_INLINE bool try_send(T&& value) const { return try_send_from(&value); }

  /// Sends, or gives up with the context's error. Throws closed_channel.
  [[nodiscard]] WEFT_INLINE result<void> send(const context& ctx, const T& value) const
    requires std::copy_constructible<T>
  {
    T copy(value);
    return send_until(&copy, node_of(ctx), never);
  }
  [[nodiscard]] WEFT_INLINE result<void> send(const context& ctx, T&& value) const {
    return send_until(&value, node_of(ctx), never);
  }

  /// Sends within `d`; false if it was too late. Throws closed_channel.
  template <class Rep, class Period>
    requires std::copy_constructible<T>
  [[nodiscard]] WEFT_INLINE bool send_for(std::chrono::duration<Rep, Period> d,
                                          const T& value) const {
    T copy(value);
    return send_until(&copy, nullptr, deadline_in(d)).has_value();
  }
  template <class Rep, class Period>
  [[nodiscard]] WEFT_INLINE bool send_for(std::chrono::duration<Rep, Period> d, T&& value) const {
    return send_until(&value, nullptr, deadline_in(d)).has_value();
  }

  /// No more values: receivers drain what is there and then see the end; parked senders throw.
  /// Throws closed_channel if it was closed already or is nil.
  void close() const {
    chan_core* c = core();
    if (c == nullptr || !chan_close(c)) throw_close(c == nullptr);
  }

 private:
  [[nodiscard]] chan_core* core() const noexcept { return static_cast<const Self*>(this)->core(); }
  WEFT_INLINE bool try_send_from(T* value) const {
    const chan_op r = chan_try_send(core(), launder_ptr(value));
    if (r == chan_op::closed) throw_send_on_closed();
    return r == chan_op::done;
  }
  WEFT_INLINE result<void> send_until(T* value, cancel_node* node, std::int64_t deadline) const {
    std::error_code error;
    const chan_op r = chan_send_until(core(), launder_ptr(value), node, deadline, error);
    if (r == chan_op::closed) throw_send_on_closed();
    if (r == chan_op::failed) return failure(error);
    return {};
  }
};

/// Receives as it goes; ends when the channel is closed and drained. Single pass.
template <class T>
class recv_iterator {
 public:
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  using iterator_concept = std::input_iterator_tag;

  recv_iterator() = default;
  explicit recv_iterator(chan_core* c) : core_(c), value_(recv_value<T>(c)) {}
  recv_iterator(const recv_iterator&) = default;
  recv_iterator(recv_iterator&&) noexcept = default;
  recv_iterator& operator=(const recv_iterator&) = default;
  recv_iterator& operator=(recv_iterator&& o) noexcept {
    if (this == &o) return *this;
    core_ = o.core_;
    set(std::move(o.value_));
    return *this;
  }
  ~recv_iterator() = default;

  [[nodiscard]] T& operator*() const noexcept { return *value_; }
  [[nodiscard]] T* operator->() const noexcept { return &*value_; }
  WEFT_INLINE recv_iterator& operator++() {
    value_.reset();  // before the wait: nobody needs it any more
    set(recv_value<T>(core_));
    return *this;
  }
  void operator++(int) { ++*this; }
  [[nodiscard]] friend bool operator==(const recv_iterator& i, std::default_sentinel_t) noexcept {
    return !i.value_.has_value();
  }

 private:
  /// Not by assignment: T need not be assignable.
  void set(std::optional<T>&& next) noexcept {
    value_.reset();
    if (next) value_.emplace(std::move(*next));
  }

  chan_core* core_ = nullptr;
  mutable std::optional<T> value_;
};

/// The operations of anything one can receive from.
template <class Self, class T>
class recv_operations {
 public:
  /// The next value; nullopt once the channel is closed and drained.
  [[nodiscard]] WEFT_INLINE std::optional<T> recv() const { return recv_value<T>(core()); }

  /// A value if there is one at once.
  [[nodiscard]] WEFT_INLINE try_result<T> try_recv() const {
    uninit<T> slot;
    const chan_op r = chan_try_recv(core(), launder_ptr(&slot.value));
    if (r == chan_op::done) return try_result<T>(take(slot), false);
    return try_result<T>(no_value<T>(), r == chan_op::closed);
  }

  /// The next value, or errc::closed, or the context's error.
  [[nodiscard]] WEFT_INLINE result<T> recv(const context& ctx) const {
    return recv_until(node_of(ctx), never);
  }

  /// The next value, or errc::closed, or errc::deadline_exceeded after `d`.
  template <class Rep, class Period>
  [[nodiscard]] WEFT_INLINE result<T> recv_for(std::chrono::duration<Rep, Period> d) const {
    return recv_until(nullptr, deadline_in(d));
  }

  /// for (auto& v : c): every value until the end.
  [[nodiscard]] recv_iterator<T> begin() const { return recv_iterator<T>(core()); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  [[nodiscard]] chan_core* core() const noexcept { return static_cast<const Self*>(this)->core(); }
  WEFT_INLINE result<T> recv_until(cancel_node* node, std::int64_t deadline) const {
    uninit<T> slot;
    std::error_code error;
    const chan_op r = chan_recv_until(core(), launder_ptr(&slot.value), node, deadline, error);
    if (r == chan_op::done) {
      result<T> out(std::in_place, std::move(slot.value));
      std::destroy_at(&slot.value);
      return out;
    }
    return failure(r == chan_op::closed ? make_error_code(errc::closed) : error);
  }
};

struct channel_access;

/// A counted handle for some of a channel's ends.
template <std::uint64_t Ends>
class end_handle {
 public:
  end_handle() = default;
  end_handle(const end_handle& o) noexcept : core_(o.core_) { chan_add_ends(core_, Ends); }
  end_handle(end_handle&& o) noexcept : core_(std::exchange(o.core_, nullptr)) {}
  end_handle& operator=(const end_handle& o) noexcept {
    chan_add_ends(o.core_, Ends);
    chan_drop_ends(std::exchange(core_, o.core_), Ends);
    return *this;
  }
  end_handle& operator=(end_handle&& o) noexcept {
    chan_core* taken = std::exchange(o.core_, nullptr);
    chan_drop_ends(std::exchange(core_, taken), Ends);
    return *this;
  }
  ~end_handle() { chan_drop_ends(core_, Ends); }

  /// False for the nil channel.
  [[nodiscard]] explicit operator bool() const noexcept { return core_ != nullptr; }
  /// How many values it holds now.
  [[nodiscard]] std::size_t len() const noexcept { return chan_len(core_); }
  /// How many values it can hold; 0 for rendezvous and unbounded ones.
  [[nodiscard]] std::size_t cap() const noexcept { return core_ == nullptr ? 0 : core_->cap; }

 protected:
  /// Takes over a core whose ends are counted already.
  explicit end_handle(chan_core* counted) noexcept : core_(counted) {}
  [[nodiscard]] chan_core* core() const noexcept { return core_; }

 private:
  friend struct channel_access;
  chan_core* core_ = nullptr;
};

/// What the library itself does with handles.
struct channel_access {
  template <class Channel>
  [[nodiscard]] static chan_core* core_of(const Channel& c) noexcept {
    return c.core();
  }
  template <class Handle>
  [[nodiscard]] static Handle adopt(chan_core* counted) noexcept {
    return Handle(counted);
  }
  /// A new handle on a core that somebody keeps alive.
  template <class Handle>
  [[nodiscard]] static Handle share(chan_core* c, std::uint64_t ends) noexcept {
    chan_add_ends(c, ends);
    return Handle(c);
  }
};

}  // namespace detail

template <class T>
class send_chan;
template <class T>
class recv_chan;
template <class T, std::size_t N>
class channel;

/// A channel of T: a counted handle with both directions. Default-constructed it is nil: operations
/// on it block for ever. Safe from any number of fibers and threads; FIFO for values and waiters.
template <class T>
class chan : public detail::end_handle<detail::both_ends>,
             public detail::send_operations<chan<T>, T>,
             public detail::recv_operations<chan<T>, T> {
  static_assert(detail::channel_value<T>,
                "a channel's T must be nothrow-move-constructible and nothrow-destructible; wrap "
                "others in std::unique_ptr");
  using base = detail::end_handle<detail::both_ends>;

 public:
  using element_type = T;
  chan() = default;

 private:
  explicit chan(detail::chan_core* counted) noexcept : base(counted) {}
  using base::core;
  friend struct detail::channel_access;
  friend class detail::send_operations<chan<T>, T>;
  friend class detail::recv_operations<chan<T>, T>;
};

/// The sending end of a channel.
template <class T>
class send_chan : public detail::end_handle<detail::one_send_end>,
                  public detail::send_operations<send_chan<T>, T> {
  using base = detail::end_handle<detail::one_send_end>;

 public:
  using element_type = T;
  send_chan() = default;
  send_chan(const chan<T>& c) noexcept  // a chan is both of its ends
      : send_chan(detail::channel_access::share<send_chan>(detail::channel_access::core_of(c),
                                                           detail::one_send_end)) {}

 private:
  explicit send_chan(detail::chan_core* counted) noexcept : base(counted) {}
  using base::core;
  friend struct detail::channel_access;
  friend class detail::send_operations<send_chan<T>, T>;
};

/// The receiving end of a channel.
template <class T>
class recv_chan : public detail::end_handle<detail::one_recv_end>,
                  public detail::recv_operations<recv_chan<T>, T> {
  using base = detail::end_handle<detail::one_recv_end>;

 public:
  using element_type = T;
  recv_chan() = default;
  recv_chan(const chan<T>& c) noexcept  // a chan is both of its ends
      : recv_chan(detail::channel_access::share<recv_chan>(detail::channel_access::core_of(c),
                                                           detail::one_recv_end)) {}

 private:
  explicit recv_chan(detail::chan_core* counted) noexcept : base(counted) {}
  using base::core;
  friend struct detail::channel_access;
  friend class detail::recv_operations<recv_chan<T>, T>;
};

/// The same channel as an object in a frame or a member: no heap. N = 0 is a rendezvous. Handles
/// made from it borrow it; destroying it while ends or waiters exist is fatal.
template <class T, std::size_t N = 0>
class channel : public detail::send_operations<channel<T, N>, T>,
                public detail::recv_operations<channel<T, N>, T> {
  static_assert(detail::channel_value<T>);
  static_assert(N < (std::size_t{1} << 31));

 public:
  using element_type = T;

  /// (Not explicit: an aggregate makes its members from {}.)
  channel(std::source_location where = std::source_location::current()) noexcept {
    detail::chan_init(&core_, &detail::ops_of<T>, detail::width_of<T>, N, ring_,
                      detail::site_of(where));
  }
  channel(const channel&) = delete;
  channel& operator=(const channel&) = delete;
  ~channel() { detail::chan_fini(&core_); }

  operator chan<T>() const noexcept { return lend<chan<T>>(detail::both_ends); }
  operator send_chan<T>() const noexcept { return lend<send_chan<T>>(detail::one_send_end); }
  operator recv_chan<T>() const noexcept { return lend<recv_chan<T>>(detail::one_recv_end); }

  [[nodiscard]] std::size_t len() const noexcept { return detail::chan_len(&core_); }
  [[nodiscard]] std::size_t cap() const noexcept { return N; }

 private:
  [[nodiscard]] detail::chan_core* core() const noexcept { return &core_; }
  template <class End>
  [[nodiscard]] End lend(std::uint64_t ends) const noexcept {
    return detail::channel_access::share<End>(&core_, ends);
  }
  friend struct detail::channel_access;
  friend class detail::send_operations<channel<T, N>, T>;
  friend class detail::recv_operations<channel<T, N>, T>;

  mutable detail::chan_core core_;
  alignas(T) std::byte ring_[N == 0 ? 1 : N * sizeof(T)];
};

namespace detail {

/// Anything with a typed channel core.
template <class C>
concept channel_like = requires(const C& c) {
  typename C::element_type;
  { channel_access::core_of(c) } -> std::same_as<chan_core*>;
};
template <class C>
concept sendable_channel =
    channel_like<C> && std::derived_from<C, send_operations<C, typename C::element_type>>;
template <class C>
concept receivable_channel =
    channel_like<C> && std::derived_from<C, recv_operations<C, typename C::element_type>>;

}  // namespace detail

/// The same channel (whatever the direction of the handles)?
template <detail::channel_like A, detail::channel_like B>
  requires std::same_as<typename A::element_type, typename B::element_type>
[[nodiscard]] bool operator==(const A& a, const B& b) noexcept {
  return detail::channel_access::core_of(a) == detail::channel_access::core_of(b);
}

/// A channel that holds up to `capacity` values; 0: a rendezvous. Throws std::bad_alloc, and
/// logic_error for a capacity that no memory could hold.
template <class T>
[[nodiscard]] chan<T> make_chan(std::size_t capacity = 0,
                                std::source_location where = std::source_location::current()) {
  using namespace detail;
  return channel_access::adopt<chan<T>>(chan_make(
      &ops_of<T>, width_of<T>, capacity == 0 ? chan_kind::rendezvous : chan_kind::buffered,
      capacity, site_of(where)));
}

/// A channel that keeps the latest value only.
template <class T>
[[nodiscard]] chan<T> make_chan(conflated_t,
                                std::source_location where = std::source_location::current()) {
  using namespace detail;
  return channel_access::adopt<chan<T>>(
      chan_make(&ops_of<T>, width_of<T>, chan_kind::conflated, 1, site_of(where)));
}

/// A channel that grows; a send on it may throw std::bad_alloc, the value untouched.
template <class T>
[[nodiscard]] chan<T> make_chan(unbounded_t,
                                std::source_location where = std::source_location::current()) {
  using namespace detail;
  return channel_access::adopt<chan<T>>(
      chan_make(&ops_of<T>, width_of<T>, chan_kind::unbounded, 0, site_of(where)));
}

}  // namespace weft::inline v0

template <class T>
struct std::hash<weft::chan<T>> {
  [[nodiscard]] std::size_t operator()(const weft::chan<T>& c) const noexcept {
    return std::hash<const void*>()(weft::detail::channel_access::core_of(c));
  }
};
