// SPDX-License-Identifier: Apache-2.0
// Constants of io_uring that are newer than Debian 12's liburing 2.3 and kernel headers.
#pragma once

#include <liburing.h>

#ifndef IORING_ENTER_NO_IOWAIT  // Linux 6.15: a sleeping ring is idle time, not I/O wait
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#endif
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17)
#endif
