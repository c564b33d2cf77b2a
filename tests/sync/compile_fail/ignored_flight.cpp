// SPDX-License-Identifier: Apache-2.0
#include <weft/singleflight.hpp>

int use(weft::singleflight<int, int>& flights) {
#ifdef WEFT_WRONG
  flights.do_(1, [] { return 2; });
  return 0;
#else
  return flights.do_(1, [] { return 2; }).first;
#endif
}
