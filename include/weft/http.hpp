// SPDX-License-Identifier: Apache-2.0
// All of weft's HTTP: requests, responses, mux and server.
#pragma once

#include <weft/http/mux.hpp>
#include <weft/http/request.hpp>
#include <weft/http/response.hpp>
#include <weft/http/server.hpp>
