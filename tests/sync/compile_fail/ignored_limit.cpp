// SPDX-License-Identifier: Apache-2.0
#include <weft/rate_limiter.hpp>

weft::result<void> use(weft::rate_limiter& limiter, const weft::context& ctx) {
  limiter.acquire();
#ifdef WEFT_WRONG
  limiter.acquire(ctx);
  return {};
#else
  return limiter.acquire(ctx);
#endif
}
