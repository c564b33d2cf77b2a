// SPDX-License-Identifier: Apache-2.0
#include <weft/circuit_breaker.hpp>

bool use(weft::circuit_breaker& breaker) {
#ifdef WEFT_WRONG
  breaker.run([] {});
  return true;
#else
  return breaker.run([] {}).has_value();
#endif
}
