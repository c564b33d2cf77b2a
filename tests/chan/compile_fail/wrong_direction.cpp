// SPDX-License-Identifier: Apache-2.0
#include <weft/chan.hpp>

void use(const weft::recv_chan<int>& in, const weft::send_chan<int>& out) {
  out.send(in.recv().value_or(0));
#ifdef WEFT_WRONG
  in.send(1);
#endif
}
