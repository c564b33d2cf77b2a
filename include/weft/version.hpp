// SPDX-License-Identifier: Apache-2.0
// The version of weft, for the preprocessor. CMake reads it from here; nothing else may state it.
#pragma once

#define WEFT_VERSION_MAJOR 0
#define WEFT_VERSION_MINOR 1
#define WEFT_VERSION_PATCH 0

/// major * 10000 + minor * 100 + patch
#define WEFT_VERSION (WEFT_VERSION_MAJOR * 10000 + WEFT_VERSION_MINOR * 100 + WEFT_VERSION_PATCH)
#define WEFT_VERSION_STRING "0.1.0"
