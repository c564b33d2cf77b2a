// SPDX-License-Identifier: Apache-2.0
// The echo server on weft, as anybody would write it: one fiber a connection, nothing tuned.
#pragma once

#include <weft/weft.hpp>

namespace bench {

/// Accepts until the listener is closed, then waits for the connections to end.
void serve_echo(const weft::net::listener& listener);

}  // namespace bench
