# SPDX-License-Identifier: Apache-2.0
# Every switch of the build, and the libraries whose presence decides their defaults.
include(CMakeDependentOption)
include(GNUInstallDirs)

find_package(Threads REQUIRED)

find_path(WEFT_URING_INCLUDE_DIR liburing.h)
find_library(WEFT_URING_LIBRARY uring)
mark_as_advanced(WEFT_URING_INCLUDE_DIR WEFT_URING_LIBRARY)
set(weft_have_uring OFF)
if(WEFT_URING_INCLUDE_DIR AND WEFT_URING_LIBRARY)
  set(weft_have_uring ON)
endif()

# llhttp comes as released C sources (Debian: node-llhttp); they are compiled into weft. They suit
# every processor, so that a cross build takes those of the host.
find_path(WEFT_LLHTTP_INCLUDE_DIR llhttp/llhttp.h PATH_SUFFIXES share/include include
          HINTS /usr/share/include CMAKE_FIND_ROOT_PATH_BOTH)
find_path(WEFT_LLHTTP_SOURCE_DIR llhttp.c PATH_SUFFIXES share/llhttp HINTS /usr/share/llhttp
          CMAKE_FIND_ROOT_PATH_BOTH)
mark_as_advanced(WEFT_LLHTTP_INCLUDE_DIR WEFT_LLHTTP_SOURCE_DIR)
set(weft_have_llhttp OFF)
if(WEFT_LLHTTP_INCLUDE_DIR AND WEFT_LLHTTP_SOURCE_DIR)
  set(weft_have_llhttp ON)
endif()

option(WEFT_SHARED "Build weft as a shared library" ${BUILD_SHARED_LIBS})
option(WEFT_IO_URING "Build the io_uring poller (epoll is always built)" ${weft_have_uring})
option(WEFT_HTTP "Build the HTTP server and client" ${weft_have_llhttp})
option(WEFT_FRAME_POINTERS "Ask users of weft for frame pointers, which stack dumps walk" ON)
option(WEFT_DEBUG_CHECKS "Compile weft's internal checks in" OFF)
option(WEFT_FORCE_MIGRATE "Move a fiber to another worker on each wake, randomise run order" OFF)
# OFF exists to be measured against (bench/accounts_cost.py): stats, leak reports and dumps then say
# nothing true of fibers, and tests fail.
option(WEFT_ACCOUNTS "Count fibers as they start and end, and note who started each" ON)
set(WEFT_SANITIZE "" CACHE STRING "Sanitizers: empty, address (with undefined) or thread")
set_property(CACHE WEFT_SANITIZE PROPERTY STRINGS "" address thread)

# Not in a user's project, who may have other ideas (clang-tidy reads the files as that does, so each
# includes what it needs). And not at -O3: there g++ 12 warns of code inside of precompiled headers that
# is right (as in GCC bug 105651), system headers or not.
set(weft_precompile OFF)
if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE STREQUAL "Release")
  set(weft_precompile ON)
endif()
option(WEFT_PRECOMPILE "Precompile the headers that nearly all of weft's own files include"
       ${weft_precompile})

option(WEFT_INSTALL "Add install rules" ${PROJECT_IS_TOP_LEVEL})
option(WEFT_WERROR "Treat warnings in weft as errors" ${PROJECT_IS_TOP_LEVEL})
option(WEFT_BUILD_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(WEFT_BUILD_EXAMPLES "Build the examples" ${PROJECT_IS_TOP_LEVEL})
option(WEFT_BUILD_BENCH "Build the benchmarks" ${PROJECT_IS_TOP_LEVEL})

if(WEFT_IO_URING AND NOT weft_have_uring)
  message(FATAL_ERROR "WEFT_IO_URING is ON but liburing was not found (Debian: liburing-dev)")
endif()
if(WEFT_HTTP AND NOT weft_have_llhttp)
  message(FATAL_ERROR "WEFT_HTTP is ON but llhttp's sources were not found (Debian: node-llhttp)")
endif()
if(NOT weft_have_uring)
  message(STATUS "weft: liburing not found (Debian: liburing-dev); sockets wait in epoll only")
endif()
if(NOT WEFT_SANITIZE MATCHES "^(|address|thread)$")
  message(FATAL_ERROR "WEFT_SANITIZE must be empty, address or thread, not ${WEFT_SANITIZE}")
endif()
