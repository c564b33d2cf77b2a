// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <weft/chan.hpp>

struct moves_may_throw {
  moves_may_throw() = default;
  moves_may_throw(moves_may_throw&&) {}
};

#ifdef WEFT_WRONG
weft::chan<moves_may_throw> c;
#else
weft::chan<std::unique_ptr<moves_may_throw>> c;
#endif
