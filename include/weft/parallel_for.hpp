// SPDX-License-Identifier: Apache-2.0
// parallel_for: a loop whose turns are independent, over all workers.
//
// The range is cut into pieces that helpers take one after the other, so uneven turns spread
// evenly. There are as many helpers as Ps; a fiber that calls takes part itself.
#pragma once

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstdint>
#include <exception>
#include <functional>
#include <source_location>
#include <system_error>
#include <type_traits>

#include <weft/detail/callable.hpp>
#include <weft/detail/cancel_node.hpp>
#include <weft/detail/config.hpp>
#include <weft/error.hpp>
#include <weft/wait_group.hpp>

namespace weft::inline v0 {

struct parallel_options {
  std::uint64_t grain = 0;  ///< turns a piece; 0: the range in 32 pieces a worker
};

namespace detail {

/// A loop under way; lies in the caller's frame.
struct parallel_job {
  void (*run)(const parallel_job* job, std::uint64_t from, std::uint64_t to) = nullptr;
  std::uint64_t size = 0;
  std::uint64_t grain = 0;
  std::atomic<std::uint64_t> next{0};  // first turn that nobody has taken
  const cancel_node* end = nullptr;    // once it is done nobody takes any more; null: never
  std::atomic<bool> failed{false};
  std::exception_ptr error;  // written by the one that set `failed`
  wait_group helpers;
};

WEFT_EXPORT void parallel_run(parallel_job& job, std::source_location where);
/// The same with job.end's error if turns were left out for it; errc::no_runtime.
[[nodiscard]] WEFT_EXPORT result<void> parallel_run_until_end(parallel_job& job,
                                                              std::source_location where);

template <class I, class F>
struct parallel_loop : parallel_job {
  I first;
  F* fn;
  static void turns(const parallel_job* job, std::uint64_t from, std::uint64_t to) {
    const auto* self = static_cast<const parallel_loop*>(job);
    using offset = std::make_unsigned_t<I>;
    for (std::uint64_t i = from; i < to; ++i) {
      static_cast<void>(std::invoke(
          *self->fn, static_cast<I>(static_cast<offset>(self->first) + static_cast<offset>(i))));
    }
  }
  WEFT_INLINE parallel_loop(I from, I to, F* function, const parallel_options& o)
      : first(from), fn(function) {
    using offset = std::make_unsigned_t<I>;
    run = &turns;
    size = static_cast<offset>(static_cast<offset>(to) - static_cast<offset>(from));
    grain = o.grain;
  }
};

}  // namespace detail

/// Calls fn(i) once for each i of [first, last), on all workers at once, and returns when the last
/// call has ended. fn is shared: it must bear concurrent calls. From fibers and plain threads
/// (which wait meanwhile). When a call throws, pieces not yet begun are left out, and the first
/// exception is rethrown. Throws no_runtime_error, std::bad_alloc.
template <std::integral A, std::integral B, class F>
  requires detail::borrowed_function<F, std::common_type_t<A, B>>
WEFT_INLINE void parallel_for(A first, B last, F&& fn, const parallel_options& o = {},
                              std::source_location where = std::source_location::current()) {
  using index = std::common_type_t<A, B>;
  const auto from = static_cast<index>(first);
  const auto to = static_cast<index>(last);
  if (!(from < to)) return;
  detail::parallel_loop<index, std::remove_reference_t<F>> job(from, to, detail::launder_ptr(&fn),
                                                               o);
  detail::parallel_run(*detail::launder_ptr(&job), where);
}

/// The same, at most until ctx is done: pieces not yet begun are left out then, and its error comes
/// back once those begun have ended; fn may watch ctx to end early. errc::no_runtime where nothing
/// could run it.
template <std::integral A, std::integral B, class F>
  requires detail::borrowed_function<F, std::common_type_t<A, B>>
[[nodiscard]] WEFT_INLINE result<void> parallel_for(
    const context& ctx, A first, B last, F&& fn, const parallel_options& o = {},
    std::source_location where = std::source_location::current()) {
  using index = std::common_type_t<A, B>;
  const auto from = static_cast<index>(first);
  const auto to = static_cast<index>(last);
  const detail::cancel_node* end = detail::node_of(ctx);
  if (const std::error_code e = detail::end_of(end)) return failure(e);
  if (!(from < to)) return {};
  detail::parallel_loop<index, std::remove_reference_t<F>> job(from, to, detail::launder_ptr(&fn),
                                                               o);
  job.end = end;
  return detail::parallel_run_until_end(*detail::launder_ptr(&job), where);
}

}  // namespace weft::inline v0
