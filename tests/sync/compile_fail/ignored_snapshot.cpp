// SPDX-License-Identifier: Apache-2.0
#include <weft/atomic_value.hpp>

void use(weft::atomic_value<int>& v) {
  auto now = v.load();
#ifdef WEFT_WRONG
  v.compare_exchange(now, 1);
#else
  while (!v.compare_exchange(now, *now + 1)) {
  }
#endif
}
