#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the accounts cost a spawn: instructions and time, from a pair of builds.

    ./dev bench accounts

The same sources are built with WEFT_ACCOUNTS ON and OFF, and each build starts and joins fibers on one
P (spawn_join of weft_compare). Callgrind counts the instructions of all threads but the monitor's, whose
work goes by the clock, at two sizes: what the larger one needs more, per fiber, is free of start-up.
Then both builds run in turns by the clock, and the medians are compared.

Law: OFF leaves out what the accounts alone need: the site that started a fiber, its parent's id, and the
counters of fibers started and ended. A fiber's own id, by which dumps name it, is in both builds. So is
the one instruction with which the caller passes the site: it is added to the difference.
"""

import argparse
import glob
import os
import re
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(HERE, "compare"))
import compare  # noqa: E402

ROUNDS = 3  # of each run of weft_compare, see compare/harness.hpp
SIZES = (50_000, 250_000)  # under callgrind: some seconds each
TIMED_SIZE = 1_000_000
TIMEOUT_S = 300
PASSING_THE_SITE = 1  # instruction in the caller

MAX_INSTRUCTIONS = 6
MAX_TIME = 0.05
# A spawn and join outside of this range was not what callgrind has counted.
SENSIBLE = (50, 2000)


class Failed(Exception):
    """No figure; the text says why."""


def build(build_dir, accounts):
    """Builds weft_compare with the accounts ON or OFF; returns the program."""
    configure = ["cmake", "-S", ROOT, "-B", build_dir, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                 "-DWEFT_BUILD_BENCH=ON", "-DWEFT_BUILD_TESTS=OFF", "-DWEFT_BUILD_EXAMPLES=OFF",
                 f"-DWEFT_ACCOUNTS={accounts}"]
    make = ["cmake", "--build", build_dir, "--target", "weft_compare"]
    if not (compare.run_quietly(configure) and compare.run_quietly(make)):
        raise Failed(f"no build with WEFT_ACCOUNTS={accounts}")
    return os.path.join(build_dir, "bench", "weft_compare")


def run(command, **environment):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=dict(compare.clean_environment(), **environment),
                              timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise Failed(f"`{' '.join(command)}` took more than {TIMEOUT_S} s") from None
    if done.returncode != 0:
        raise Failed(f"`{' '.join(command)}` gave {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


# --- instructions ---------------------------------------------------------------------------------

def total_of_workers(files):
    """Callgrind writes a file a thread; the monitor's is known by its first function."""
    texts = []
    for path in files:
        with open(path, encoding="utf-8", errors="replace") as f:
            texts.append(f.read())
    workers = [t for t in texts if "sysmon_main" not in t]
    if len(workers) != len(texts) - 1:
        raise Failed(f"callgrind shows {len(texts) - len(workers)} monitor threads instead of one")
    return sum(int(n) for t in workers for n in re.findall(r"^totals: (\d+)", t, re.MULTILINE))


def instructions(program, fibers):
    """Of a whole run. epoll, because callgrind need not know io_uring; it runs one thread at a time, and
    fair turns keep one that spins for another from keeping it waiting."""
    with tempfile.TemporaryDirectory() as folder:
        run(["valgrind", "--tool=callgrind", "--separate-threads=yes", "--fair-sched=try",
             f"--callgrind-out-file={folder}/threads", program, "spawn_join", "1", str(fibers)],
            WEFT_NETPOLL="epoll")
        return total_of_workers(glob.glob(f"{folder}/threads*"))


def instructions_a_spawn(program):
    small, large = (instructions(program, n) for n in SIZES)
    each = (large - small) / (ROUNDS * (SIZES[1] - SIZES[0]))
    if not SENSIBLE[0] < each < SENSIBLE[1]:
        raise Failed(f"callgrind counted {small} and {large} instructions: {each:.1f} a spawn?")
    return each


# --- time -----------------------------------------------------------------------------------------

def spawn_ns(program):
    figures = compare.parse(run([program, "spawn_join", "1", str(TIMED_SIZE)]), "spawn_join")
    return figures[""][0][-1]


def times(with_accounts, without, runs):
    """Medians of interleaved runs, (with, without)."""
    pairs = [(spawn_ns(with_accounts), spawn_ns(without)) for _ in range(runs)]
    return [statistics.median(column) for column in zip(*pairs)]


# --- the command ----------------------------------------------------------------------------------

def verdict(value, limit):
    return "held" if value <= limit else "missed"


def report(with_accounts, without, runs):
    v, m = compare.versions(), compare.machine()
    print(f"machine   {m['cpu']}, {m['cores']} cores, Linux {m['kernel']}, load {m['load']}")
    print(f"versions  weft {v['weft']} ({v['commit']}), {v['g++']}, "
          f"{compare.first_line(['valgrind', '--version'])}", flush=True)
    full, bare = instructions_a_spawn(with_accounts), instructions_a_spawn(without)
    extra = full - bare + PASSING_THE_SITE
    print(f"spawn + join, 1 P: {full:.1f} instructions with accounts, {bare:.1f} without; with the one "
          "in the caller")
    print(f"  {verdict(extra, MAX_INSTRUCTIONS):<8}{extra:.1f} for the accounts, bar "
          f"{MAX_INSTRUCTIONS}", flush=True)
    full, bare = times(with_accounts, without, runs)
    share = full / bare - 1
    print(f"spawn + join, 1 P: {full:.2f} ns with accounts, {bare:.2f} without; medians of {runs} runs "
          "each, in turns")
    print(f"  {verdict(share, MAX_TIME):<8}{100 * share:+.1f} % for the accounts, bar "
          f"{100 * MAX_TIME:.0f} %")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--build-dir", default=os.path.join(ROOT, "build"),
                   help="where accounts-on and accounts-off are built")
    p.add_argument("--runs", type=int, default=11, help="timed runs of each build (default 11)")
    options = p.parse_args()
    try:
        programs = [build(os.path.join(options.build_dir, f"accounts-{switch.lower()}"), switch)
                    for switch in ("ON", "OFF")]
        report(*programs, options.runs)
    except (Failed, compare.Failed, FileNotFoundError) as failure:
        print(f"accounts_cost: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
