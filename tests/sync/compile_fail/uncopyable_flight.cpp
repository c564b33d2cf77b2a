// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <weft/singleflight.hpp>

#ifdef WEFT_WRONG
weft::singleflight<int, std::unique_ptr<int>> flights;
#else
weft::singleflight<int, std::shared_ptr<const int>> flights;
#endif
