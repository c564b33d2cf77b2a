// SPDX-License-Identifier: Apache-2.0
#include <weft/task_group.hpp>

bool use() {
  weft::supervisor group;
  group.go([] {});
#ifdef WEFT_WRONG
  group.wait();
  return true;
#else
  return !group.wait();
#endif
}
