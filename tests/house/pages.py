# SPDX-License-Identifier: Apache-2.0
"""The pages in docs/ say what is so, as far as a program can tell.

docs/<page>.md shows examples/docs/<page>.cpp, without its licence line, between ```cpp and ```, and
examples/docs/<page>.txt, which is what that prints, between ```text and ```. Each page stands in
docs/README.md, its links lead to files, and names written `weft::...` are in a public header.
"""

import os
import re

import house

PAGES = os.path.join(house.ROOT, "docs")
PROGRAMS = os.path.join(house.ROOT, "examples", "docs")
INDEX = "README.md"
LONGEST_PROGRAM = 60  # lines: a screen

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s#]+)(?:#[^()\s]*)?\)")
NAME = re.compile(r"\bweft((?:::\w+)+)")


def read(folder, name):
    with open(os.path.join(folder, name), encoding="utf-8") as f:
        return f.read()


def names(folder, extension):
    return sorted(n for n in os.listdir(folder) if n.endswith(extension))


def blocks(text, language):
    return [body for lang, body in BLOCK.findall(text) if lang == language]


def is_program(block):
    return "int main(" in block


def page_of(program):
    return os.path.splitext(program)[0].replace("_", "-") + ".md"


def check_program(program):
    page = page_of(program)
    house.check(os.path.exists(os.path.join(PAGES, page)), f"there is no docs/{page}")
    text = read(PAGES, page)
    licence, source = read(PROGRAMS, program).split("\n", 1)
    house.check("SPDX" in licence, "does not open with its SPDX line")
    house.check(source.count("\n") < LONGEST_PROGRAM, f"has more than {LONGEST_PROGRAM} lines")
    house.check([b for b in blocks(text, "cpp") if is_program(b)] == [source],
                f"docs/{page} does not show this program, or another one")
    output = program[:-len(".cpp")] + ".txt"
    house.check(os.path.exists(os.path.join(PROGRAMS, output)), f"there is no {output}")
    house.check(blocks(text, "text") == [read(PROGRAMS, output)],
                f"docs/{page} does not show what the program prints")


def public_words():
    include = os.path.join(house.ROOT, "include")
    words = set()
    for folder, _, files in os.walk(include):
        for name in files:
            words.update(re.findall(r"\w+", read(folder, name)))
    return words


def check_page(page):
    text = read(PAGES, page)
    for link in LINK.findall(text):
        house.check("://" in link or os.path.exists(os.path.join(PAGES, link)),
                    f"the link to {link} leads nowhere")
    house.check(page == INDEX or f"]({page})" in read(PAGES, INDEX), f"is not in docs/{INDEX}")
    programs = {page_of(p) for p in names(PROGRAMS, ".cpp")}
    house.check(page in programs or not any(map(is_program, blocks(text, "cpp"))),
                "shows a program that is not in examples/docs")
    unknown = {name for path in NAME.findall(text) for name in path.split("::")} - PUBLIC - {""}
    house.check(not unknown, f"names what is in no public header: {', '.join(sorted(unknown))}")


PUBLIC = public_words() | {"weft", "malloc", "testing"}  # and the targets of the CMake package


def main():
    house.check(names(PROGRAMS, ".cpp"), "no program found")
    house.in_parallel(check_program, names(PROGRAMS, ".cpp"))
    house.in_parallel(check_page, names(PAGES, ".md"))


if __name__ == "__main__":
    try:
        main()
    except house.Failure as failure:
        raise SystemExit(str(failure)) from None
