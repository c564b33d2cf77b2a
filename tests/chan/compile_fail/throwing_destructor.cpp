// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <weft/chan.hpp>

struct end_may_throw {
  ~end_may_throw() noexcept(false) {}
};

#ifdef WEFT_WRONG
weft::chan<end_may_throw> c;
#else
weft::chan<std::unique_ptr<end_may_throw>> c;
#endif
