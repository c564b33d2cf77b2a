// SPDX-License-Identifier: Apache-2.0
// Everything. The HTTP server is there where weft was built with it: an installation without it has
// no <weft/http.hpp>, and a project that weft is built in gets WEFT_HTTP=0 from weft's target.
#pragma once

#include <weft/arena.hpp>
#include <weft/atomic_value.hpp>
#include <weft/barrier.hpp>
#include <weft/budget.hpp>
#include <weft/chan.hpp>
#include <weft/circuit_breaker.hpp>
#include <weft/clock.hpp>
#include <weft/condition_variable.hpp>
#include <weft/context.hpp>
#include <weft/error.hpp>
#include <weft/fiber.hpp>
#include <weft/latch.hpp>
#include <weft/leak.hpp>
#include <weft/lock_thread.hpp>
#include <weft/log.hpp>
#include <weft/mutex.hpp>
#include <weft/net.hpp>
#include <weft/once.hpp>
#include <weft/options.hpp>
#include <weft/parallel_for.hpp>
#include <weft/pool.hpp>
#include <weft/rate_limiter.hpp>
#include <weft/retry.hpp>
#include <weft/run.hpp>
#include <weft/select.hpp>
#include <weft/semaphore.hpp>
#include <weft/shared_mutex.hpp>
#include <weft/singleflight.hpp>
#include <weft/stack_use.hpp>
#include <weft/stats.hpp>
#include <weft/task_group.hpp>
#include <weft/time.hpp>
#include <weft/version.hpp>
#include <weft/wait_group.hpp>
#include <weft/worker_pool.hpp>

#if (!defined(WEFT_HTTP) || WEFT_HTTP) && __has_include(<weft/http.hpp>)
#include <weft/http.hpp>
#endif
