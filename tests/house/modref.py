# SPDX-License-Identifier: Apache-2.0
"""The code compilers make of lambdas that go into the library (modref/main.cpp says why).

    modref.py cmake <prefix>         through the flags of weft::weft, with g++
    modref.py pkg_config <prefix>    through those of weft.pc, with g++ and clang++
"""

import itertools
import os
import tempfile

import house
from house import run, run_program

PROJECT = os.path.join(house.HERE, "modref")
LEVELS = (("-O1",), ("-O2",), ("-O3",), ("-O2", "-flto"))
INLINING = ((), ("-fno-inline",))


def cmake(prefix):
    with tempfile.TemporaryDirectory() as work:
        run("cmake", "-S", PROJECT, "-B", work, "-G", "Ninja", "-DCMAKE_CXX_COMPILER=g++",
            f"-DCMAKE_PREFIX_PATH={prefix}")
        run("cmake", "--build", work)
        programs = [name for name in sorted(os.listdir(work)) if name.startswith("modref-")]
        house.check(len(programs) == len(LEVELS) * len(INLINING), f"built only {programs}")
        for name in programs:
            run_program(os.path.join(work, name))


def pkg_config(prefix):
    flags = house.pkg_config(prefix, "--cflags", "--libs", "--static")
    with tempfile.TemporaryDirectory() as work:
        def build_and_run(job):
            compiler, level, inlining = job
            program = os.path.join(work, "".join((compiler, *level, *inlining)))
            # The system's linker need not understand the bitcode of this clang.
            linker = ["-fuse-ld=lld"] if compiler.startswith("clang") else []
            run(compiler, "-std=c++23", *level, *inlining, os.path.join(PROJECT, "main.cpp"),
                "-o", program, *linker, *flags)
            run_program(program)

        house.in_parallel(build_and_run, itertools.product(house.COMPILERS, LEVELS, INLINING))


if __name__ == "__main__":
    house.main({f.__name__: f for f in (cmake, pkg_config)})
