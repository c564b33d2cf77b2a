#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs clang-tidy-19 over the library: scripts/tidy.py <build directory> [files].

The compile commands come from the build directory; flags that only g++ knows are left out of a
copy made for clang-tidy. Prints the findings of each file that has some; exits with 1 if any.
"""

import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIBRARY = ("runtime", "sched", "chan", "ctx", "sync", "netpoll", "http", "diag")
ONLY_GCC = {"-fno-ipa-modref", "-Wno-restrict"}
# As cmake/WeftLibrary.cmake does for clang.
ONLY_CLANG = ["-Wno-deprecated-declarations"]


def library_commands(build, wanted):
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as f:
        commands = json.load(f)
    for entry in commands:
        path = os.path.relpath(os.path.realpath(entry["file"]), os.path.realpath(ROOT))
        if path.split("/")[0] not in LIBRARY or not path.endswith(".cpp"):
            continue
        if wanted and path not in wanted:
            continue
        words = [w for w in entry["command"].split() if w not in ONLY_GCC] + ONLY_CLANG
        if "-include" in words:  # what g++ has precompiled
            at = words.index("-include")
            del words[at:at + 2]
        yield {**entry, "command": " ".join(words)}


def tidy(database, path):
    result = subprocess.run(["clang-tidy-19", "--quiet", "-p", database, path], cwd=ROOT,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return result.returncode, result.stdout


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    wanted = {os.path.relpath(p, ROOT) for p in sys.argv[2:]}
    entries = list(library_commands(sys.argv[1], wanted))
    # The biggest first, so that none of them is the last one running.
    paths = sorted({e["file"] for e in entries}, key=os.path.getsize, reverse=True)
    failed = 0
    with tempfile.TemporaryDirectory() as database:
        with open(os.path.join(database, "compile_commands.json"), "w", encoding="utf-8") as f:
            json.dump(entries, f)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as workers:
            for code, output in workers.map(lambda p: tidy(database, p), paths):
                if code != 0:
                    failed += 1
                    print(output, flush=True)
    print(f"tidy: {len(paths)} files, {failed} with findings")
    return 1 if failed or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
