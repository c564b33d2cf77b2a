# SPDX-License-Identifier: Apache-2.0
"""What the house tests share: running commands, compiling in parallel, looking into ELF files."""

import concurrent.futures
import os
import re
import shlex
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
COMPILERS = ("g++", "clang++-19")
# A runtime that hangs must not hang the test until ctest's own limit.
PROGRAM_SECONDS = 60


class Failure(Exception):
    """The property under test does not hold."""


def check(condition, text):
    if not condition:
        raise Failure(text)


def run(*command, env=None, cwd=None, timeout=None):
    """Runs a command to its end and returns what it printed; a failure shows all of it."""
    print("+", shlex.join(command), flush=True)
    try:
        result = subprocess.run(command, env={**os.environ, **(env or {})}, cwd=cwd, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
                                check=False)
    except subprocess.TimeoutExpired as late:
        raise Failure(f"{command[0]} did not end within {timeout} s") from late
    if result.returncode != 0:
        raise Failure(f"exit code {result.returncode} of {shlex.join(command)}\n{result.stdout}")
    return result.stdout


def run_program(path, env=None):
    """A test program says `ok` and returns 0."""
    output = run(path, env=env, timeout=PROGRAM_SECONDS)
    check(output.strip().endswith("ok"), f"{path} did not say ok:\n{output}")


def in_parallel(function, items):
    """Calls function(item) for all; reports every failure, not only the first."""
    failures = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as workers:
        for item, future in [(item, workers.submit(function, item)) for item in items]:
            try:
                future.result()
            except Failure as failure:
                failures.append(f"{item}: {failure}")
    check(not failures, "\n".join(failures))


def pkg_config(prefix, *flags):
    env = {"PKG_CONFIG_PATH": os.path.join(library_dir(prefix), "pkgconfig")}
    return run("pkg-config", *flags, "weft", env=env).split()


def library_dir(prefix):
    """lib, lib64 or lib/<triplet>: wherever libweft was put."""
    for folder, _, names in os.walk(prefix):
        if any(name.startswith("libweft.") for name in names):
            return folder
    raise Failure(f"no libweft under {prefix}")


def needed_libraries(path):
    return re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-dW", path))


def check_memory_protection(path):
    """The stack is not executable, and no segment is writable and executable."""
    segments = re.findall(r"^\s+(\S+)\s+0x\S+ 0x\S+ 0x\S+ 0x\S+ 0x\S+ ([R ][W ][E ])",
                          run("readelf", "-lW", path), re.MULTILINE)
    check(any(kind == "GNU_STACK" for kind, _ in segments), f"{path} has no GNU_STACK header")
    for kind, flags in segments:
        check(not ("W" in flags and "E" in flags), f"{path}: {kind} is {flags}")


def main(cases):
    """Runs the case named on the command line."""
    try:
        cases[sys.argv[1]](*sys.argv[2:])
    except Failure as failure:
        print(failure)
        sys.exit(1)
