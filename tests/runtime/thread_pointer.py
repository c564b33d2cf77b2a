# SPDX-License-Identifier: Apache-2.0
"""No function both switches stacks and reads the thread pointer.

    thread_pointer.py <objdump> <libweft.a>

A compiler takes the thread pointer for a constant of the function, and keeps it, or an address made
of it, over the switch; the fiber may be on another thread then. x86-64 hides that, because it reads
thread_local variables through a segment register; aarch64 does not.
"""

import re
import subprocess
import sys

FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$")
# The jump of switch_stack and the landing pad behind it (an old objdump calls it a hint).
JUMP = re.compile(r"\tbr\tx9\b")
LANDING = re.compile(r"\t(bti\tj\b|hint\t#0x24\b)")
THREAD_POINTER = re.compile(r"\tmrs\t\w+, tpidr_el0\b")


def main():
    text = subprocess.run([sys.argv[1], "-d", "--no-show-raw-insn", sys.argv[2]], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    switches, readers = set(), set()
    name, before = "?", ""
    for line in text.split("\n"):
        match = FUNCTION.match(line)
        if match:
            name = match.group(1)
        elif THREAD_POINTER.search(line):
            readers.add(name)
        elif LANDING.search(line) and JUMP.search(before):
            switches.add(name)
        before = line
    print(f"{len(switches)} functions switch, {len(readers)} read the thread pointer")
    for name in sorted(switches & readers):
        print(f"both: {name}")
    # None of the one or of the other: the patterns above are no longer true.
    return 1 if switches & readers or not switches or not readers else 0


if __name__ == "__main__":
    sys.exit(main())
