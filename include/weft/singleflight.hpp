// SPDX-License-Identifier: Apache-2.0
// One call at a time for a key: whoever asks for what somebody is fetching already waits for that
// and gets the same. Against stampedes on a cold cache. As golang.org/x/sync/singleflight.
//
//   weft::singleflight<std::string, config> flights;
//   auto [value, shared] = flights.do_("tenant a", [&] { return fetch("tenant a"); });
//
// Nothing is kept after a call: the next one with that key fetches anew. All callers get the
// value, or the exception, of the one call; a value for several callers is copied.
//
// The plain form runs fn in its first caller. With a context fn (a copy) runs in a fiber of its
// own, so that every caller, the first one too, may leave when its context is done while the call
// goes on for the others. If fn takes a context, that has the values of the first caller's but
// neither its end nor its deadline; it is cancelled once nobody waits for the call any more, which
// is then forgotten, so that the next caller starts afresh.
//
// fn runs with no lock held and may use other keys; asking for its own key in the fiber that runs
// it would wait for itself and throws logic_error. For Go's DoChan: weft::async([&] { return
// flights.do_(key, fn); }).
//
// A call takes two heap blocks, joining one takes none. From fibers and plain threads, mixed. The
// destructor waits for calls that all their callers have left. Hash and Equal must not throw.
//
// A call that the end of its runtime has cut off is over: the next one with its key starts afresh,
// and the destructor does not wait for it. Threads that wait for it then get a std::system_error
// (errc::canceled) if it was begun with a context; for one of the plain form, whose frames are left
// behind with all that was to happen in them, they wait for ever, or until their context is done.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <source_location>
#include <system_error>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include <weft/chan.hpp>
#include <weft/context.hpp>
#include <weft/detail/callable.hpp>
#include <weft/detail/config.hpp>
#include <weft/detail/counted_closure.hpp>
#include <weft/detail/park.hpp>
#include <weft/detail/runtime_hooks.hpp>
#include <weft/detail/spawn.hpp>
#include <weft/error.hpp>
#include <weft/latch.hpp>
#include <weft/mutex.hpp>
#include <weft/wait_group.hpp>

namespace weft::inline v0 {
namespace detail {

/// Can fn make a V? (Of a void flight: whatever it returns is dropped.)
template <class F, class V, class... Args>
concept flight_task =
    std::invocable<F&, Args...> &&
    (std::is_void_v<V> || std::convertible_to<std::invoke_result_t<F&, Args...>, V>);

/// The same of a copy of it, which is what a fiber runs.
template <class F, class V, class... Args>
concept held_flight_task = held_function<F, Args...> && flight_task<std::decay_t<F>, V, Args...>;

}  // namespace detail

template <class K, class V, class Hash = std::hash<K>, class Equal = std::equal_to<K>>
class singleflight {
  static_assert(std::is_void_v<V> || std::copy_constructible<V>,
                "weft::singleflight<K, V>: V is copied to every caller (use shared_ptr<const V>)");

 public:
  /// What callers get: V, or unit for void.
  using value_type = std::conditional_t<std::is_void_v<V>, unit, V>;

  singleflight() = default;
  singleflight(const singleflight&) = delete;
  singleflight& operator=(const singleflight&) = delete;
  ~singleflight() { strays_.wait(); }

  /// The value of the call for `key` that is under way, else of fn(), and whether several callers
  /// got it.
  template <detail::flight_task<V> F>
  [[nodiscard]] WEFT_INLINE std::pair<value_type, bool> do_(const K& key, F&& fn) {
    auto* run = detail::launder_ptr(&fn);
    const auto [c, ours] = join_or_begin(key);
    if (ours) {
      carry_out(*c, [run]() -> V { return invoke_as_v(*run); });
    } else {
      c->over.wait();
    }
    return c->result();
  }

  /// The same, at most until ctx is done: then its error, and the call goes on for the others. fn
  /// takes nothing or a context. errc::no_runtime where there is none to run it.
  template <class F>
    requires detail::held_flight_task<F, V> || detail::held_flight_task<F, V, const context&>
  [[nodiscard]] WEFT_INLINE result<std::pair<value_type, bool>> do_(
      const context& ctx, const K& key, F&& fn,
      std::source_location where = std::source_location::current()) {
    if (const std::error_code e = ctx.err()) return failure(e);
    const auto [c, ours] = join_or_begin(key);
    if (ours) {
      // Not under the lock: this moves fn, which is the user's code, and in a runtime that ends it
      // does not return. If it fails, those who have joined meanwhile get the same exception.
      try {
        start(c, ctx, std::forward<F>(*detail::launder_ptr(&fn)), where);
      } catch (const no_runtime_error&) {
        c->error = std::current_exception();
        finish(*c);
        return failure(errc::no_runtime);
      } catch (...) {
        c->error = std::current_exception();
        finish(*c);
        throw;
      }
    }
    if (const result<void> r = c->over.wait(ctx); !r) {
      give_up(*c);
      return failure(r.error());
    }
    return c->result();
  }

  /// Who asks from now on starts a new call; the one under way goes on for those who wait for it.
  void forget(const K& key) {
    std::shared_ptr<call> forgotten;  // goes after the lock
    const std::lock_guard lock(mutex_);
    if (auto it = calls_.find(key); it != calls_.end()) forget(*(forgotten = it->second));
  }

  /// How many callers the call for `key` has now; 0: none is under way.
  [[nodiscard]] std::size_t callers(const K& key) const {
    const std::lock_guard lock(mutex_);
    auto it = calls_.find(key);
    return it == calls_.end() || it->second->is_cut_off() ? 0 : it->second->callers;
  }

 private:
  friend class detail::counted_place<singleflight>;

  /// One call. `value`, `error` and `shared` are written before `over` opens, and not after.
  struct call {
    latch over{1};
    detail::runtime_mark home;  // of the first caller
    std::optional<value_type> value;
    std::exception_ptr error;
    bool shared = false;
    std::atomic<detail::fiber_core*> runner{nullptr};  // compared with the caller's own only
    // Of fn, if that takes a context. Made by the first caller; others look at it only as the last
    // of all callers, which is after the first one has left.
    std::optional<cancelable_context> scope;
    // Guarded by the flight's mutex:
    std::size_t callers = 1;
    bool joined = false;        // there was a second one
    const K* listed = nullptr;  // the key in `calls_`; null: not there any more

    [[nodiscard]] std::pair<value_type, bool> result() {
      if (error) std::rethrow_exception(error);
      if (shared) return {*std::as_const(value), true};
      return {*std::move(value), false};  // nobody else has a claim to it
    }

    /// Of one that is listed: it will not end any more, or was told that it will not.
    [[nodiscard]] bool is_cut_off() const { return over.try_wait() || detail::has_ended(home); }

    /// Its fiber will not run (on).
    void cut_off() {
      if (over.try_wait()) return;
      try {
        throw std::system_error(make_error_code(errc::canceled), "weft::singleflight: cut off");
      } catch (...) {
        error = std::current_exception();
      }
      over.count_down();
    }
  };

  // --- mutex_ held

  /// The call under way, with us as one more caller; or null. One that was cut off is forgotten.
  [[nodiscard]] std::shared_ptr<call> join(const K& key, std::shared_ptr<call>& forgotten) {
    auto it = calls_.find(key);
    if (it == calls_.end()) return nullptr;
    call& c = *it->second;
    if (c.is_cut_off()) {
      forgotten = it->second;
      forget(c);
      return nullptr;
    }
    if (c.runner.load(std::memory_order_relaxed) == detail::current_fiber()) {
      throw logic_error("weft::singleflight: the call for this key would wait for itself");
    }
    ++c.callers;
    c.joined = true;
    return it->second;
  }
  [[nodiscard]] std::shared_ptr<call> begin(const K& key) {
    auto c = std::make_shared<call>();
    c->home = detail::current_runtime_mark();
    c->listed = &calls_.emplace(key, c).first->first;
    return c;
  }
  void forget(call& c) noexcept {
    if (c.listed == nullptr) return;
    calls_.erase(calls_.find(*c.listed));
    c.listed = nullptr;
  }

  // --- mutex_ not held

  template <class F>
  WEFT_INLINE void start(const std::shared_ptr<call>& c, const context& ctx, F&& fn,
                         const std::source_location& where) {
    using function = std::decay_t<F>;
    if constexpr (!detail::flight_task<function, V>) {
      c->scope.emplace(with_cancel(without_cancel(ctx, where), where));
    }
    strays_.add(1);  // (if its fiber cannot be made, its place is given back on the way out)
    detail::fiber_core* g = detail::fiber_make(stray<function>(this, c, std::forward<F>(fn)),
                                               detail::site_of(where), nullptr);
    detail::fiber_start(g);
  }

  [[nodiscard]] std::pair<std::shared_ptr<call>, bool> join_or_begin(const K& key) {
    std::shared_ptr<call> forgotten;  // goes after the lock
    const std::lock_guard lock(mutex_);
    if (auto c = join(key, forgotten)) return {std::move(c), false};
    return {begin(key), true};
  }

  /// Makes the call.
  template <class Invoke>
  void carry_out(call& c, Invoke invoke) {
    c.runner.store(detail::current_fiber(), std::memory_order_relaxed);
    try {
      if constexpr (std::is_void_v<V>) {
        invoke();
        c.value.emplace();
      } else {
        c.value.emplace(invoke());
      }
    } catch (...) {
      c.error = std::current_exception();
    }
    finish(c);
  }

  /// `value` or `error` is there: nobody joins any more, and everybody goes on.
  void finish(call& c) {
    {
      const std::lock_guard lock(mutex_);
      forget(c);
      c.shared = c.joined;
    }
    c.over.count_down();
  }

  /// One caller has had enough. Nobody left: fn is asked to end, and newcomers do not join it.
  void give_up(call& c) {
    bool last = false;
    {
      const std::lock_guard lock(mutex_);
      last = --c.callers == 0 && c.scope.has_value();
      if (last) forget(c);
    }
    if (last) c.scope->cancel();
  }

  template <class F, class... Args>
  static V invoke_as_v(F& fn, Args&... args) {
    if constexpr (std::is_void_v<V>) {
      static_cast<void>(std::invoke(fn, args...));
    } else {
      return std::invoke(fn, args...);
    }
  }

  /// What fn owns is gone when its callers go on.
  template <class F>
  struct finally_reset {
    std::optional<F>& f;
    ~finally_reset() { f.reset(); }
  };

  /// What the fiber of a call with a context runs.
  template <class F>
  struct stray : detail::counted_closure {
    detail::counted_place<singleflight> place;
    std::shared_ptr<call> c;  // null once it is over
    std::optional<F> fn;

    template <class G>
    stray(singleflight* flights, const std::shared_ptr<call>& of, G&& f)
        : place(flights), c(of), fn(std::in_place, std::forward<G>(f)) {}

    void operator()() {
      place->carry_out(*c, [this]() -> V {
        const finally_reset<F> end{fn};
        if constexpr (detail::flight_task<F, V>) {
          return invoke_as_v(*fn);
        } else {
          return invoke_as_v(*fn, std::as_const(c->scope->ctx));
        }
      });
      c.reset();
    }
    void cut_off(bool begun) noexcept {
      if (!begun) fn.reset();  // as above: before its callers go on
      if (c != nullptr) c->cut_off();
      c.reset();
    }
  };

  /// Of a stray.
  void leave() noexcept { strays_.done(); }

  mutable mutex mutex_;
  std::unordered_map<K, std::shared_ptr<call>, Hash, Equal> calls_;
  wait_group strays_;  // the fibers of calls with contexts
};

}  // namespace weft::inline v0
