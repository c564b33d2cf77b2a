// SPDX-License-Identifier: Apache-2.0
#include <weft/select.hpp>

std::size_t pick(const weft::chan<int>& c) {
#ifdef WEFT_WRONG
  return weft::select(weft::on_recv(c, [] {}), weft::otherwise(), weft::otherwise());
#else
  return weft::select(weft::on_recv(c, [] {}), weft::otherwise());
#endif
}
