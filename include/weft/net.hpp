// SPDX-License-Identifier: Apache-2.0
// The network: listen, dial, connections, datagrams. Every call suspends only the fiber.
#pragma once

#include <weft/net/address.hpp>
#include <weft/net/conn.hpp>
#include <weft/net/dial.hpp>
#include <weft/net/listener.hpp>
#include <weft/net/udp.hpp>
