// SPDX-License-Identifier: Apache-2.0
#include <weft/retry.hpp>

bool use(const weft::context& ctx) {
  weft::retry({.max_attempts = 2}, [] {});  // it throws or it has worked: nothing to ignore
#ifdef WEFT_WRONG
  weft::retry(ctx, {.max_attempts = 2}, [] {});
  return true;
#else
  return weft::retry(ctx, {.max_attempts = 2}, [] {}).has_value();
#endif
}
