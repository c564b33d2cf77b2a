// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <weft/atomic_value.hpp>

std::size_t use(weft::atomic_value<std::string>& v) {
#ifdef WEFT_WRONG
  v.load()->push_back('x');
#endif
  return v.load()->size();
}
