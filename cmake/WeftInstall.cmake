# SPDX-License-Identifier: Apache-2.0
# install(), the CMake package and weft.pc.
include(CMakePackageConfigHelpers)

set(weft_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/weft)

install(TARGETS weft weft_malloc EXPORT weft)
# Headers without the functions behind them would only fail later; <weft/weft.hpp> looks for them.
set(weft_left_out_headers "")
if(NOT WEFT_HTTP)
  set(weft_left_out_headers PATTERN http EXCLUDE PATTERN http.hpp EXCLUDE)
endif()
install(DIRECTORY include/weft TYPE INCLUDE COMPONENT weft_headers
        FILES_MATCHING PATTERN "*.hpp" ${weft_left_out_headers})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(EXPORT weft NAMESPACE weft:: DESTINATION ${weft_package_dir} FILE weftTargets.cmake)
# In a file of its own: it is loaded only where GTest is there.
install(TARGETS weft_testing EXPORT weft_testing)
install(EXPORT weft_testing NAMESPACE weft:: DESTINATION ${weft_package_dir}
        FILE weftTestingTargets.cmake)

configure_package_config_file(cmake/weftConfig.cmake.in ${PROJECT_BINARY_DIR}/weftConfig.cmake
  INSTALL_DESTINATION ${weft_package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/weftConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/weftConfig.cmake ${PROJECT_BINARY_DIR}/weftConfigVersion.cmake
        DESTINATION ${weft_package_dir})

# weft.pc cannot ask which compiler reads it, so it names only flags that g++ and clang++ share.
set(weft_pc_cflags "-fstack-clash-protection")
if(WEFT_FRAME_POINTERS)
  string(PREPEND weft_pc_cflags "-fno-omit-frame-pointer ")
  if(CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")
    string(PREPEND weft_pc_cflags "-mno-omit-leaf-frame-pointer ")
  endif()
endif()
set(weft_pc_ldflags "")
if(WEFT_SANITIZE)
  list(JOIN weft_sanitize_options " " weft_pc_sanitize)
  string(APPEND weft_pc_cflags " ${weft_pc_sanitize}")
  set(weft_pc_ldflags " ${weft_pc_sanitize}")
endif()
# Where there is only libweft.a, everybody links statically and needs what it needs, asked for with
# --static or not.
set(weft_pc_requires "Requires.private:")
if(NOT WEFT_SHARED)
  set(weft_pc_requires "Requires:")
  string(APPEND weft_pc_ldflags " -pthread")
endif()
if(WEFT_IO_URING)
  string(APPEND weft_pc_requires " liburing")
endif()
# weft.pc finds its prefix from where it lies, so an installed tree can be moved.
file(RELATIVE_PATH weft_pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" weft_pc_prefix "${weft_pc_prefix}")
configure_file(cmake/weft.pc.in ${PROJECT_BINARY_DIR}/weft.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/weft.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
