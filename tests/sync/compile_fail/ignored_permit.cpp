// SPDX-License-Identifier: Apache-2.0
#include <weft/circuit_breaker.hpp>

void use(weft::circuit_breaker& breaker) {
#ifdef WEFT_WRONG
  breaker.try_acquire();
#else
  if (auto permit = breaker.try_acquire()) permit->success();
#endif
}
