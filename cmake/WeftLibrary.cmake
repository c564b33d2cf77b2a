# SPDX-License-Identifier: Apache-2.0
# The targets weft, weft_malloc and weft_testing with their flags; modules add the sources.

set(weft_kind STATIC)
if(WEFT_SHARED)
  set(weft_kind SHARED)
endif()
add_library(weft ${weft_kind})
add_library(weft::weft ALIAS weft)

# Before 1.0 a minor version may break the ABI, so it is part of the SONAME.
set_target_properties(weft PROPERTIES
  VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
  LINKER_LANGUAGE CXX
  POSITION_INDEPENDENT_CODE ON
  CXX_EXTENSIONS OFF
  C_VISIBILITY_PRESET hidden
  CXX_VISIBILITY_PRESET hidden
  VISIBILITY_INLINES_HIDDEN ON)
# Who may be on another thread after a switch reads thread_local variables by calls into another file,
# which a compiler that saw both could fold: no user's CMAKE_UNITY_BUILD may join them.
set_target_properties(weft PROPERTIES UNITY_BUILD OFF)
target_compile_features(weft PUBLIC cxx_std_23)
target_include_directories(weft
  PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
         $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
  PRIVATE ${PROJECT_SOURCE_DIR})
target_link_libraries(weft PUBLIC Threads::Threads)
if(WEFT_SHARED AND NOT WEFT_SANITIZE)
  target_link_options(weft PRIVATE -Wl,-z,defs)
endif()

# --- what users must compile with as well -----------------------------------------------------
# A parked fiber's frames lie in user code: dumps walk frame pointers there, and a guard page only
# works if no frame can step over it.
set(weft_public_options $<$<COMPILE_LANGUAGE:C,CXX>:-fstack-clash-protection>)
if(WEFT_FRAME_POINTERS)
  list(APPEND weft_public_options $<$<COMPILE_LANGUAGE:C,CXX>:-fno-omit-frame-pointer>)
  if(CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")
    # Functions without calls do without it there all the same: who calls the loop that a stalled
    # fiber is in would be missing from its stack.
    list(APPEND weft_public_options $<$<COMPILE_LANGUAGE:C,CXX>:-mno-omit-leaf-frame-pointer>)
  endif()
endif()
# g++ 12 to 14 lose stores made through a struct of pointers that is forwarded twice. The headers
# avoid the shape (tests/house/modref); this keeps users' own wrappers right too.
list(APPEND weft_public_options
  $<$<AND:$<COMPILE_LANG_AND_ID:CXX,GNU>,$<VERSION_GREATER_EQUAL:$<CXX_COMPILER_VERSION>,12>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,15>>:-fno-ipa-modref>)
target_compile_options(weft PUBLIC ${weft_public_options})

if(WEFT_SANITIZE STREQUAL "address")
  # vptr: its check opens a pipe, and cries wolf in the tests that run out of descriptors.
  set(weft_sanitize_options -fsanitize=address,undefined -fno-sanitize=vptr
                            -fno-sanitize-recover=undefined)
elseif(WEFT_SANITIZE STREQUAL "thread")
  set(weft_sanitize_options -fsanitize=thread)
endif()
if(WEFT_SANITIZE)
  target_compile_options(weft PUBLIC "$<$<COMPILE_LANGUAGE:C,CXX>:${weft_sanitize_options}>")
  target_link_options(weft PUBLIC ${weft_sanitize_options})
endif()

# --- what only weft compiles with ---------------------------------------------------------------
# weft_warnings carries the same to tests, examples and benches; it is never exported.
set(weft_warning_options
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wshadow;-Wnon-virtual-dtor;-Woverloaded-virtual>")
# libstdc++ 12 uses what it has deprecated itself (get_temporary_buffer in stable_sort).
list(APPEND weft_warning_options
  $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wno-deprecated-declarations>)
# g++ 12 finds overlaps in `"x" + std::string` at -O3 that are not there (GCC bug 105651).
list(APPEND weft_warning_options
  $<$<AND:$<COMPILE_LANG_AND_ID:CXX,GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>)
if(WEFT_WERROR)
  list(APPEND weft_warning_options $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
target_compile_options(weft PRIVATE ${weft_warning_options})
# Half of the time that a file of the library compiles is the standard library's headers.
if(WEFT_PRECOMPILE)
  target_precompile_headers(weft PRIVATE
    <algorithm> <array> <atomic> <chrono> <functional> <memory> <mutex> <optional> <string>
    <system_error> <vector>)
endif()
add_library(weft_warnings INTERFACE)
target_compile_options(weft_warnings INTERFACE ${weft_warning_options})

target_compile_definitions(weft PRIVATE
  WEFT_IO_URING=$<BOOL:${WEFT_IO_URING}>
  WEFT_HTTP=$<BOOL:${WEFT_HTTP}>
  WEFT_DEBUG_CHECKS=$<BOOL:${WEFT_DEBUG_CHECKS}>
  WEFT_FORCE_MIGRATE=$<BOOL:${WEFT_FORCE_MIGRATE}>
  WEFT_ACCOUNTS=$<BOOL:${WEFT_ACCOUNTS}>)
# An installation leaves out the headers of what is not there. Who takes weft by add_subdirectory sees
# all of include/, so <weft/weft.hpp> must be told.
if(NOT WEFT_HTTP)
  target_compile_definitions(weft INTERFACE $<BUILD_INTERFACE:WEFT_HTTP=0>)
endif()

# --- liburing -------------------------------------------------------------------------------------
# Linked by its plain name: a user of the installed weft needs no find module for it.
if(WEFT_IO_URING)
  target_include_directories(weft SYSTEM PRIVATE ${WEFT_URING_INCLUDE_DIR})
  get_filename_component(weft_uring_dir "${WEFT_URING_LIBRARY}" DIRECTORY)
  target_link_directories(weft PRIVATE $<BUILD_INTERFACE:${weft_uring_dir}>)
  target_link_libraries(weft PRIVATE uring)
endif()

# --- llhttp ---------------------------------------------------------------------------------------
# Compiled from the distribution's sources into weft itself, so that there is nothing to link.
if(WEFT_HTTP)
  add_library(weft_llhttp OBJECT
    ${WEFT_LLHTTP_SOURCE_DIR}/api.c
    ${WEFT_LLHTTP_SOURCE_DIR}/http.c
    ${WEFT_LLHTTP_SOURCE_DIR}/llhttp.c)
  set_target_properties(weft_llhttp PROPERTIES
    POSITION_INDEPENDENT_CODE ON C_VISIBILITY_PRESET hidden
    UNITY_BUILD OFF)  # its files do not declare the same things alike
  target_include_directories(weft_llhttp PRIVATE ${WEFT_LLHTTP_INCLUDE_DIR}/llhttp)
  target_compile_options(weft_llhttp PRIVATE -w ${weft_public_options} ${weft_sanitize_options})
  target_sources(weft PRIVATE $<TARGET_OBJECTS:weft_llhttp>)
  target_include_directories(weft SYSTEM PRIVATE
    ${WEFT_LLHTTP_INCLUDE_DIR} ${WEFT_LLHTTP_INCLUDE_DIR}/llhttp)
endif()

# --- weft::malloc -----------------------------------------------------------------------------------
# Debian's libmimalloc interposes malloc as soon as it is linked, so only this target links it. It
# must be needed even though nothing refers to it, and must not meet a sanitizer's own malloc.
add_library(weft_malloc INTERFACE)
add_library(weft::malloc ALIAS weft_malloc)
set_target_properties(weft_malloc PROPERTIES EXPORT_NAME malloc)
find_library(WEFT_MIMALLOC_LIBRARY mimalloc)
mark_as_advanced(WEFT_MIMALLOC_LIBRARY)
if(NOT WEFT_MIMALLOC_LIBRARY)
  message(STATUS "weft: mimalloc not found (Debian: libmimalloc-dev); weft::malloc changes nothing")
elseif(NOT WEFT_SANITIZE)
  get_filename_component(weft_mimalloc_dir "${WEFT_MIMALLOC_LIBRARY}" DIRECTORY)
  target_link_directories(weft_malloc INTERFACE $<BUILD_INTERFACE:${weft_mimalloc_dir}>)
  target_link_options(weft_malloc INTERFACE
    -Wl,--push-state,--no-as-needed,-lmimalloc,--pop-state)
endif()

# --- weft::testing ----------------------------------------------------------------------------------
# Uses the GTest of whoever links it: the name is looked up in their project, which may have found
# googletest or fetched it.
add_library(weft_testing INTERFACE)
add_library(weft::testing ALIAS weft_testing)
set_target_properties(weft_testing PROPERTIES EXPORT_NAME testing)
target_link_libraries(weft_testing INTERFACE
  weft $<$<TARGET_EXISTS:GTest::gtest>:GTest::gtest>)
