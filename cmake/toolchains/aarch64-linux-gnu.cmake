# SPDX-License-Identifier: Apache-2.0
# Debian's cross compiler for aarch64 and qemu-user to run what it makes (g++-aarch64-linux-gnu,
# libc6-dev-arm64-cross, qemu-user). Needs no foreign architecture in dpkg: the target has the C and
# the C++ library and nothing else. Elsewhere the compilers can be given as CMAKE_C_COMPILER and
# CMAKE_CXX_COMPILER, and the target's files as CMAKE_SYSROOT.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)

set(triplet aarch64-linux-gnu)
if(NOT CMAKE_C_COMPILER)
  set(CMAKE_C_COMPILER ${triplet}-gcc)
endif()
if(NOT CMAKE_CXX_COMPILER)
  set(CMAKE_CXX_COMPILER ${triplet}-g++)
endif()
set(root /usr/${triplet})
if(CMAKE_SYSROOT)
  set(root ${CMAKE_SYSROOT})
endif()

# Programs are the host's, everything else is the target's: what lies in /usr/lib and /usr/include
# was made for another processor.
set(CMAKE_FIND_ROOT_PATH ${root})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_PATH} "")
set(ENV{PKG_CONFIG_LIBDIR} ${root}/lib/pkgconfig:${root}/usr/lib/pkgconfig)
set(ENV{PKG_CONFIG_SYSROOT_DIR} "")

set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L ${root})
