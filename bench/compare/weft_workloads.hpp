// SPDX-License-Identifier: Apache-2.0
// The rounds of the weft peer, one function a workload, listed in weft_main.cpp. Each is called on
// the main fiber, three times, and leaves no fiber behind.
#pragma once

#include "compare/harness.hpp"

namespace bench {

// weft_sched.cpp
void yield(const job& j);
void spawn_join(const job& j);
void spawn_outstanding(const job& j);
void fib_fork_join(const job& j);
void skynet(const job& j);
void sleepers(const job& j);
void hogs(const job& j);
void parked(const job& j);

// weft_idle.cpp
void idle(const job& j);

// weft_blocking.cpp, where weft has an HTTP server
void blocking_reads(const job& j);

// weft_chan.cpp
void ping_pong(const job& j);
void buffered(const job& j);
void threads_buffered(const job& j);
void mpmc(const job& j);
void ring(const job& j);
void sieve(const job& j);

// weft_select.cpp
void select4(const job& j);
void select_ready(const job& j);
void select_empty(const job& j);
void mutex_contended(const job& j);
void mutex_alone(const job& j);
void pool_get_put(const job& j);

// weft_ctx.cpp
void ctx_cancel(const job& j);
void ctx_cancel_child(const job& j);
void ctx_timeout(const job& j);
void ctx_tree(const job& j);
void after_func(const job& j);

}  // namespace bench
