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
#include <type_traits>

#include <weft/detail/config.hpp>
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
  std::atomic<bool> failed{false};
  std::exception_ptr error;  // written by the one that set `failed`
  wait_group helpers;
};

WEFT_EXPORT void parallel_run(parallel_job& job, std::source_location where);

template <class I, class F>
struct parallel_loop : parallel_job {
  I first;
  F* fn;
  static void turns(const parallel_job* job, std::uint64_t from, std::uint64_t to) {
    const auto* self = static_cast<const parallel_loop*>(job);
    using offset = std::make_unsigned_t<I>;
    for (std::uint64_t i = from; i < to; ++i) {
      std::invoke(*self->fn,
                  static_cast<I>(static_cast<offset>(self->first) + static_cast<offset>(i)));
    }
  }
};

}  // namespace detail

/// Calls fn(i) once for each i of [first, last), on all workers at once, and returns when the last
/// call has ended. fn is shared: it must bear concurrent calls. From fibers and plain threads
/// (which wait meanwhile). When a call throws, pieces not yet begun are left out, and the first
/// exception is rethrown. Throws no_runtime_error, std::bad_alloc.
template <std::integral A, std::integral B, class F>
  requires std::invocable<F&, std::common_type_t<A, B>>
WEFT_INLINE void parallel_for(A first, B last, F&& fn, const parallel_options& o = {},
                              std::source_location where = std::source_location::current()) {
  using index = std::common_type_t<A, B>;
  const auto from = static_cast<index>(first);
  const auto to = static_cast<index>(last);
  if (!(from < to)) return;
  detail::parallel_loop<index, std::remove_reference_t<F>> job;
  job.run = &decltype(job)::turns;
  using offset = std::make_unsigned_t<index>;
  job.size = static_cast<offset>(static_cast<offset>(to) - static_cast<offset>(from));
  job.grain = o.grain;
  job.first = from;
  job.fn = detail::launder_ptr(&fn);
  detail::parallel_run(*detail::launder_ptr(&job), where);
}

}  // namespace weft::inline v0
