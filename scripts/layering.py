#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what the compiler does not: the order of modules, dead files, left-overs.

    include/weft <- runtime <- sched <- chan <- ctx <- sync <- netpoll <- http <- diag
    tests, bench, examples -> anything

Prints one line a finding, `file:line: what`, and exits with 1 if there was any.
"""

import os
import re
import sys

MODULES = ["include", "runtime", "sched", "chan", "ctx", "sync", "netpoll", "http", "diag"]
OUTER = ["tests", "bench", "examples"]
RANK = {name: place for place, name in enumerate(MODULES)}

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SKIPPED_DIRS = re.compile(r"^(build.*|\..*|__pycache__)$")

CODE = (".cpp", ".hpp", ".h", ".c", ".S", ".inc")
COMPILED = (".cpp", ".c", ".S")
NEEDS_LICENCE = CODE + (".py", ".sh", ".cmake", ".go")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# Written in pieces, so that this file does not find itself.
LEFT_OVER = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|\bst" r"ubs?\b")
SKIPPED_TEST = re.compile(r"GTEST_" r"SKIP|DIS" r"ABLED_")

findings = []


def report(path, line, text):
    findings.append(f"{path}:{line}: {text}")


def project_files():
    """Paths relative to the root, in order; hidden and build folders left out (.ci stays in)."""
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = sorted(d for d in subfolders if not SKIPPED_DIRS.match(d) or d == ".ci")
        for name in sorted(names):
            yield os.path.relpath(os.path.join(folder, name), ROOT)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def top(path):
    return path.split("/", 1)[0]


def check_includes(path, lines, included):
    """Quoted includes are paths from the root and point left; users' headers see only users'.

    Tests, benches and examples may also count from their own top folder."""
    module = top(path)
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        kind, target = match.groups()
        if kind == "<":
            if target.startswith("weft/"):
                included.add("include/" + target)
                if not os.path.exists(os.path.join(ROOT, "include", target)):
                    report(path, number, f"<{target}> does not exist")
            continue
        if module in OUTER and os.path.exists(os.path.join(ROOT, module, target)):
            included.add(module + "/" + target)
            continue
        included.add(target)
        if target.startswith("weft/"):
            report(path, number, f"write <{target}>")
        elif not os.path.exists(os.path.join(ROOT, target)):
            report(path, number, f'"{target}" is no path from the root of the repository')
        elif module == "include":
            report(path, number, f'a public header includes the private "{target}"')
        elif module in RANK and top(target) in OUTER:
            report(path, number, f'the library includes "{target}"')
        elif module in RANK and RANK.get(top(target), 0) > RANK[module]:
            report(path, number, f"{module} may not include {top(target)} (it lies to its right)")


def check_registered(path, build_texts):
    """Every compiled file is named in the CMakeLists.txt of its folder or of one above.

    Outside the library the name of a program made of that one file is enough."""
    folder, name = os.path.split(path)
    while True:
        names = [os.path.relpath(path, folder or ".")]
        if top(path) in OUTER:
            names.append(os.path.splitext(name)[0])
        text = build_texts.get(os.path.join(folder, "CMakeLists.txt"), "")
        if any(re.search(rf"(?<![\w./-]){re.escape(n)}(?![\w.-])", text) for n in names):
            return
        if not folder:
            break
        folder = os.path.dirname(folder)
    report(path, 1, f"{name} is in no CMakeLists.txt")


def check_licence(path, lines):
    first = lines[1] if lines and lines[0].startswith("#!") and len(lines) > 1 else (lines or [""])[0]
    if "SPDX-License-Identifier: Apache-2.0" not in first:
        report(path, 1, "does not open with its SPDX line")


def check_words(path, lines):
    for number, line in enumerate(lines, 1):
        word = LEFT_OVER.search(line)
        if word:
            report(path, number, f"left over: {word.group()}")
        if path.startswith("tests/") and SKIPPED_TEST.search(line):
            report(path, number, "a test that does not run")


def main():
    paths = [p for p in project_files() if top(p) in MODULES + OUTER + ["scripts", "cmake", ".ci"]
             or p in ("CMakeLists.txt", "dev")]
    build_texts = {p: read(p) for p in paths if os.path.basename(p) == "CMakeLists.txt"}
    included = set()
    for path in paths:
        extension = os.path.splitext(path)[1]
        lines = read(path).split("\n")
        script = extension == "" and lines[0].startswith("#!")
        if not (extension in NEEDS_LICENCE or path in build_texts or script):
            continue
        check_licence(path, lines)
        check_words(path, lines)
        if extension in CODE:
            check_includes(path, lines, included)
        if extension in COMPILED and top(path) in MODULES + OUTER:
            check_registered(path, build_texts)
    for path in paths:
        private = path.endswith((".hpp", ".h", ".inc")) and (
            top(path) != "include" or path.startswith("include/weft/detail/"))
        if private and path not in included:
            report(path, 1, "nobody includes this header")
    for finding in findings:
        print(finding)
    print(f"layering: {len(paths)} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
