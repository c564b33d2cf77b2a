// SPDX-License-Identifier: Apache-2.0
#include <weft/chan.hpp>

void use(const weft::recv_chan<int>& in, const weft::send_chan<int>& out) {
  out.close();
#ifdef WEFT_WRONG
  in.close();
#else
  static_cast<void>(in.len());
#endif
}
