// SPDX-License-Identifier: Apache-2.0
#include <weft/parallel_for.hpp>

#include "sched/runtime_state.hpp"

namespace weft::inline v0::detail {
namespace {

constexpr std::uint64_t pieces_a_worker = 32;

// Takes the next piece; false when there is none.
bool take(parallel_job& job, std::uint64_t* from, std::uint64_t* to) noexcept {
  std::uint64_t at = job.next.load(std::memory_order_relaxed);
  do {
    if (at >= job.size) return false;
    *from = at;
    *to = at + std::min(job.grain, job.size - at);
    // relaxed: who takes what needs no order; the wait at the end has it.
  } while (!job.next.compare_exchange_weak(at, *to, std::memory_order_relaxed));
  return true;
}

void work(parallel_job& job) {
  std::uint64_t from = 0;
  std::uint64_t to = 0;
  while (!job.failed.load(std::memory_order_relaxed) && !end_of(job.end) && take(job, &from, &to)) {
    try {
      job.run(&job, from, to);
    } catch (...) {
      if (!job.failed.exchange(true)) job.error = std::current_exception();
    }
  }
}

// Helpers refer to the caller's frame: it must not go before they have ended.
struct joined {
  wait_group& helpers;
  ~joined() { helpers.wait(); }
};

void run_on(const runtime_state* rt, parallel_job& job, const std::source_location& where) {
  const auto procs = static_cast<std::uint64_t>(rt->n_procs.load());
  if (job.grain == 0) job.grain = std::max<std::uint64_t>(1, job.size / (procs * pieces_a_worker));
  const std::uint64_t pieces = (job.size - 1) / job.grain + 1;
  const bool takes_part = !current_fiber()->is_thread();
  const std::uint64_t hands = std::min(pieces, procs);
  {
    const joined at_the_end{job.helpers};
    for (std::uint64_t i = takes_part ? 1 : 0; i < hands; ++i) {
      job.helpers.go([&job] { work(job); }, where);
    }
    if (takes_part) work(job);
  }
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace

void parallel_run(parallel_job& job, std::source_location where) {
  const runtime_state* rt = current_runtime();
  if (rt == nullptr) throw no_runtime_error();
  run_on(rt, job, where);
}

result<void> parallel_run_until_end(parallel_job& job, std::source_location where) {
  const runtime_state* rt = current_runtime();
  if (rt == nullptr) return failure(errc::no_runtime);
  run_on(rt, job, where);
  // Nothing has failed: only the end can have left something over.
  const bool complete = job.next.load(std::memory_order_relaxed) >= job.size;
  if (!complete) return failure(end_of(job.end));
  return {};
}

}  // namespace weft::inline v0::detail
