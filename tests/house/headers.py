# SPDX-License-Identifier: Apache-2.0
"""Every public header compiles alone, twice in a row, without a warning with g++; and all of them
with clang++, which uses the same standard library, so what is missing is missing with both."""

import os
import tempfile

import house

FLAGS = ["-std=c++23", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror", "-fsyntax-only"]


def public_headers():
    include = os.path.join(house.ROOT, "include")
    for folder, _, names in sorted(os.walk(include)):
        for name in sorted(names):
            if name.endswith(".hpp"):
                yield os.path.relpath(os.path.join(folder, name), include)


def headers():
    found = list(public_headers())
    house.check(found, "no public header found")
    with tempfile.TemporaryDirectory() as work:
        def compile_together(job):
            compiler, names = job
            source = os.path.join(work, f"{compiler}.{names[0].replace('/', '.')}.cpp")
            with open(source, "w", encoding="utf-8") as f:
                f.writelines(f"#include <{name}>\n" for name in names * 2)
            house.run(compiler, *FLAGS, "-I", os.path.join(house.ROOT, "include"), source)

        house.in_parallel(compile_together,
                          [("clang++-19", found)] + [("g++", [header]) for header in found])


if __name__ == "__main__":
    try:
        headers()
    except house.Failure as failure:
        raise SystemExit(str(failure)) from None
