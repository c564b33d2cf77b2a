# SPDX-License-Identifier: Apache-2.0
"""Every way to take weft into another project, tried with the small program in user/.

    package.py install <build directory> <prefix>
    package.py find_package|pkg_config <prefix>
    package.py add_subdirectory|fetch_content|shared|headers_without_http <work directory>
"""

import json
import os
import re
import shlex
import shutil
import tempfile

import house
from house import check, run, run_program

USER = os.path.join(house.HERE, "user")
# What libweft.so may need: the C++ runtime, and liburing. Above all not libmimalloc.
ALLOWED_LIBRARIES = re.compile(r"^(libstdc\+\+|libm|libgcc_s|libc|libpthread|liburing|ld-linux.*)\.so")
# How an exported name may read after demangling. Templates of the standard library that were
# instantiated in weft are weak there and cannot be hidden.
OWN_SYMBOL = re.compile(r"^((typeinfo( name)?|vtable|VTT|guard variable|construction vtable) for "
                        r"|(non-)?virtual thunk to )?weft(::|_)")


def install(build, prefix):
    """Installs, then moves the tree: nothing in it may know where it was."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(prefix)) as first:
        run("cmake", "--install", build, "--prefix", os.path.join(first, "prefix"))
        shutil.rmtree(prefix, ignore_errors=True)
        os.rename(os.path.join(first, "prefix"), prefix)


def configure_user(work, how, *options, compiler="g++"):
    shutil.rmtree(work, ignore_errors=True)
    run("cmake", "-S", USER, "-B", work, "-G", "Ninja", f"-DCMAKE_CXX_COMPILER={compiler}",
        "-DCMAKE_BUILD_TYPE=None", f"-DUSER_TAKES_WEFT_BY={how}", *options)


def build_user(work, env=None):
    run("cmake", "--build", work)
    for program in ("user", "user_malloc", "user_test"):
        path = os.path.join(work, program)
        if os.path.exists(path):
            run_program(path, env) if program != "user_test" else run(path, env=env, timeout=60)
            house.check_memory_protection(path)
    without = house.needed_libraries(os.path.join(work, "user"))
    check(not any("mimalloc" in n for n in without), "weft::weft brings libmimalloc")


def find_package(prefix):
    for compiler in house.COMPILERS:
        with tempfile.TemporaryDirectory() as work:
            configure_user(work, "find_package", f"-DCMAKE_PREFIX_PATH={prefix}", compiler=compiler)
            build_user(work)
            with_malloc = house.needed_libraries(os.path.join(work, "user_malloc"))
            check(any("mimalloc" in n for n in with_malloc), "weft::malloc does not interpose malloc")


def pkg_config(prefix):
    for asked in (["--static"], []):
        flags = house.pkg_config(prefix, "--cflags", "--libs", *asked)
        with tempfile.TemporaryDirectory() as work:
            for compiler in house.COMPILERS:
                program = os.path.join(work, compiler)
                run(compiler, "-std=c++23", "-Wall", "-Werror", os.path.join(USER, "main.cpp"),
                    "-o", program, *flags)
                run_program(program)


def add_subdirectory(work):
    configure_user(work, "add_subdirectory", f"-DWEFT_ROOT_DIR={house.ROOT}", "-DWEFT_PRECOMPILE=ON",
                   compiler="clang++-19")
    build_user(work)


def fetch_content(work):
    # A user who joins files: weft's stay apart.
    configure_user(work, "fetch_content", f"-DWEFT_ROOT_DIR={house.ROOT}",
                   "-DCMAKE_UNITY_BUILD=ON", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON",
                   "-DWEFT_PRECOMPILE=ON")
    with open(os.path.join(work, "compile_commands.json"), encoding="utf-8") as f:
        joined = [e["file"] for e in json.load(f) if re.search("/weft-build/.*/Unity/", e["file"])]
    check(not joined, f"weft's files are joined: {joined}")
    build_user(work)


def check_exports(library):
    for line in run("nm", "-D", "-C", "--defined-only", library).splitlines():
        match = re.match(r"^[0-9a-f]+ (\w) (.*)$", line)
        if match and match.group(1) not in "WVu":
            check(OWN_SYMBOL.match(match.group(2)), f"{library} exports {match.group(2)}")


def shared(work):
    """The shared library: what it exports and needs, and that users build against it."""
    build, prefix = os.path.join(work, "weft"), os.path.join(work, "prefix")
    run("cmake", "-S", house.ROOT, "-B", build, "-G", "Ninja", "-DWEFT_SHARED=ON",
        # As Debian builds its packages.
        "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_C_FLAGS=-O2 -DNDEBUG", "-DCMAKE_CXX_FLAGS=-O2 -DNDEBUG",
        "-DCMAKE_INSTALL_LIBDIR=lib", "-DWEFT_BUILD_TESTS=OFF",
        "-DWEFT_BUILD_EXAMPLES=OFF", "-DWEFT_BUILD_BENCH=OFF")
    run("cmake", "--build", build)
    install(build, prefix)
    library = os.path.join(prefix, "lib", "libweft.so")
    check(re.search(r"SONAME.*\[libweft\.so\.\d+\.\d+\]", run("readelf", "-dW", library)),
          "the SONAME does not carry major and minor version")
    for name in house.needed_libraries(library):
        check(ALLOWED_LIBRARIES.match(name), f"libweft.so needs {name}")
    house.check_memory_protection(library)
    check_exports(library)
    configure_user(os.path.join(work, "user"), "find_package", f"-DCMAKE_PREFIX_PATH={prefix}")
    build_user(os.path.join(work, "user"))
    program = os.path.join(work, "by_pkg_config")
    run("g++", "-std=c++23", os.path.join(USER, "main.cpp"), "-o", program,
        *house.pkg_config(prefix, "--cflags", "--libs"))
    run_program(program, env={"LD_LIBRARY_PATH": os.path.join(prefix, "lib")})


def preprocessed(work, source):
    """What a source of the project in `work` is to the compiler there."""
    with open(os.path.join(work, "compile_commands.json"), encoding="utf-8") as f:
        command = next(shlex.split(e["command"]) for e in json.load(f)
                       if os.path.realpath(e["file"]) == os.path.realpath(source))
    return run(*command[:command.index("-o")], "-E", source, cwd=work)


def headers_without_http(work):
    """Built without HTTP, weft installs no header of it, and the umbrella does without; also where
    weft is built in its user's project, and all of include/ is there."""
    build, prefix = os.path.join(work, "weft"), os.path.join(work, "prefix")
    shutil.rmtree(work, ignore_errors=True)
    run("cmake", "-S", house.ROOT, "-B", build, "-G", "Ninja", "-DWEFT_HTTP=OFF",
        "-DWEFT_BUILD_TESTS=OFF", "-DWEFT_BUILD_EXAMPLES=OFF", "-DWEFT_BUILD_BENCH=OFF")
    run("cmake", "--install", build, "--prefix", prefix, "--component", "weft_headers")
    include = os.path.join(prefix, "include")
    installed = sorted(os.listdir(os.path.join(include, "weft")))
    check("weft.hpp" in installed and "net.hpp" in installed, f"headers are missing: {installed}")
    check("http" not in installed and "http.hpp" not in installed, "headers of HTTP are installed")
    for compiler in house.COMPILERS:
        run(compiler, "-std=c++23", "-fsyntax-only", "-Wall", "-Werror", "-I", include,
            os.path.join(USER, "main.cpp"))
    by_source = os.path.join(work, "by_source")
    configure_user(by_source, "add_subdirectory", f"-DWEFT_ROOT_DIR={house.ROOT}", "-DWEFT_HTTP=OFF",
                   "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON")
    text = preprocessed(by_source, os.path.join(USER, "main.cpp"))
    check("weft/net.hpp" in text, "the umbrella is not what was preprocessed")
    check("weft/http.hpp" not in text, "the umbrella has the HTTP server, which is not built")


if __name__ == "__main__":
    house.main({f.__name__: f for f in (install, find_package, pkg_config, add_subdirectory,
                                        fetch_content, shared, headers_without_http)})
