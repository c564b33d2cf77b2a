# SPDX-License-Identifier: Apache-2.0
# cmake -DEMULATOR= -DPROGRAM=<path> -DEXPECTED=<file> -P prints.cmake
# Runs a program (by an emulator, if there is one), which must print what is in the file, to the
# letter, and return 0. (PASS_REGULAR_EXPRESSION would not look at what it returns: a sanitizer's
# report at the end would pass.)
cmake_minimum_required(VERSION 3.25)

execute_process(COMMAND ${EMULATOR} ${PROGRAM} OUTPUT_VARIABLE printed RESULT_VARIABLE status)
file(READ ${EXPECTED} expected)
if(NOT status EQUAL 0 OR NOT printed STREQUAL expected)
  message(FATAL_ERROR "it returned ${status} and printed\n${printed}instead of\n${expected}")
endif()
