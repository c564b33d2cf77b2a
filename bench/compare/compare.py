#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""weft beside Go, Boost.Fiber, oneTBB, std:: threads and raw sockets on the same work.

    ./dev bench                          every workload, 5 interleaved runs
    ./dev bench --quick                  small sizes, 1 run: is everything there and right?
    ./dev bench spawn_join ping_pong     these only (a name, name.1p, or a pattern like 'select*')
    ./dev bench --series 3               all of it three times over: which bars hold each time?

Each run of a peer is a process of its own that does the work three times; the third time counts,
the first is printed too ("cold"). Peers take turns, run by run, and each figure is the median of the
runs: what disturbs the machine disturbs all of them. The ratio is weft / peer: below 1, weft costs
less.

Law: a peer gets the size stated in WORKLOADS; where a peer cannot do that size, the smaller one is
stated there too and a note is printed. A peer that fails, hangs or answers wrongly is reported as
such and never left out silently.
"""

import argparse
import fnmatch
import json
import os
import platform
import statistics
import subprocess
import sys
import time

import bars

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

# Peers in the order of the columns: name -> (program below the build folder, CMake target).
PEERS = {
    "weft": ("bench/weft_compare", "weft_compare"),
    "go": ("bench/weft_compare_go", None),
    "boost": ("bench/weft_compare_boost", "weft_compare_boost"),
    "tbb": ("bench/weft_compare_tbb", "weft_compare_tbb"),
    "std": ("bench/weft_compare_std", "weft_compare_std"),
    "epoll": ("bench/weft_echo_epoll", "weft_echo_epoll"),
    "io_uring": ("bench/weft_echo_uring", "weft_echo_uring"),
}
RAW_SERVERS = ("epoll", "io_uring")
# Who loads the server of a workload, from a process of its own.
CLIENTS = {
    "echo": ("bench/weft_echo_load", "weft_echo_load"),
    "blocking_reads": ("bench/weft_http_load", "weft_http_load"),
}
TIMEOUT_S = 120


class Workload:
    """One row of the table: what runs, on how many workers, how much, beside whom."""

    def __init__(self, name, procs, n, quick, question, peers, smaller=None):
        self.name, self.procs, self.n, self.quick = name, procs, n, quick
        self.question, self.peers, self.smaller = question, peers.split(), smaller or {}

    def label(self, procs):
        return f"{self.name}.{procs}p"

    def size(self, peer, quick):
        n = min(self.n, self.smaller.get(peer, self.n))
        return min(n, self.quick) if quick else n


M, K = 1_000_000, 1_000
WORKLOADS = [
    Workload("yield", [1], M, 20 * K, "two fibers yield to each other", "go boost"),
    Workload("spawn_join", [1, 2], M, 20 * K, "start 1,000 fibers, wait for all, again",
             "go boost tbb std", {"std": 5 * K}),
    Workload("spawn_outstanding", [1], M, 20 * K, "start a million before any is waited for",
             "go boost tbb", {"boost": 100 * K}),
    Workload("fib", [1, 2], 30, 16, "fork-join fib(30): a task a left branch, no cutoff",
             "go boost tbb", {"boost": 22}),
    Workload("skynet", [1, 2], M, 10 * K, "a 10-ary tree of a million leaves, sums over channels",
             "go boost", {"boost": 10 * K}),
    Workload("ping_pong", [1, 2], 500 * K, 10 * K, "round trips over two rendezvous channels",
             "go boost std", {"std": 20 * K}),
    Workload("ring", [1, 2], M, 20 * K, "a token round 503 fibers", "go boost"),
    Workload("buffered", [1, 2], 2 * M, 50 * K, "one to one over a channel of 128", "go boost std"),
    Workload("mpmc", [2], 2 * M, 50 * K, "four to four over a channel of 128", "go boost std",
             {"std": 500 * K}),
    Workload("sieve", [1, 2], 2500, 200, "the first 2,500 primes through a chain of filters",
             "go boost"),
    Workload("select4", [1, 2], M, 20 * K, "select over 4 rendezvous channels, a producer each",
             "go"),
    Workload("select_ready", [1], 5 * M, 100 * K, "select: one ready, one not, otherwise; refill",
             "go"),
    Workload("select_empty", [1], 20 * M, 200 * K, "select: one case not ready, otherwise", "go"),
    Workload("mutex", [1, 2], 4 * M, 80 * K, "8 fibers on one mutex", "go boost std"),
    Workload("mutex_alone", [1], 20 * M, 200 * K, "lock and unlock, nobody else", "go boost std"),
    Workload("pool", [1, 2], 20 * M, 200 * K, "8 fibers get an object from a pool and put it back",
             "go"),
    Workload("sleepers", [2], M, 2 * K, "a million fibers sleep 0..1000 ms: CPU time, lateness",
             "go boost", {"boost": 20 * K}),
    # Go's sleeper is some 20 ms late each time: a thousand of them would take a minute a run.
    Workload("hogs", [2], K, 10, "four fibers never yield: how late is one that sleeps 1 ms?",
             "go", {"go": 300}),
    Workload("blocking_reads", [1, 2], K, 50,
             "1,000 fibers in read(2): until all are in it, then requests to an HTTP server", "go"),
    Workload("idle", [2], 10, 1, "10 s with parked fibers, a listener and a timer: CPU and iowait, "
             "of one core", "go"),
    Workload("parked", [2], M, 5 * K, "a million fibers parked on a channel: memory, create, wake",
             "go boost", {"boost": 20 * K}),
    Workload("ctx_cancel", [1], M, 20 * K, "with_cancel + cancel", "go"),
    Workload("ctx_cancel_child", [1], M, 20 * K, "the same under a cancellable parent", "go"),
    Workload("ctx_timeout", [1], M, 20 * K, "with_timeout(1 h) + cancel", "go"),
    Workload("ctx_tree", [1], 10 * K, 10 * K, "cancel a parent of 10,000", "go"),
    Workload("after_func", [1], M, 20 * K, "after_func(1 h) + stop", "go"),
    Workload("threads_buffered", [2], M, 20 * K,
             "plain thread to plain thread: a channel of 128 / a mutex + condition queue", "std"),
    Workload("echo", [1], 200 * K, 10 * K, "TCP echo 64 B, 64 connections: the server's CPU time",
             "go epoll io_uring"),
]


# --- building -------------------------------------------------------------------------------------

def run_quietly(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          **options)
    if done.returncode != 0:
        print(f"compare: `{' '.join(command)}` failed:\n{done.stdout[-4000:]}", file=sys.stderr)
    return done.returncode == 0


def known_targets(build_dir):
    done = subprocess.run(["cmake", "--build", build_dir, "--target", "help"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    names = (line.split(":")[0].lstrip(". ").strip() for line in done.stdout.splitlines())
    return set(names)


def configure(build_dir):
    """A build folder that has the benchmarks in it."""
    cache = os.path.join(build_dir, "CMakeCache.txt")
    if os.path.exists(cache):
        with open(cache, encoding="utf-8") as f:
            if "WEFT_BUILD_BENCH:BOOL=ON" in f.read():
                return True
        return run_quietly(["cmake", "-DWEFT_BUILD_BENCH=ON", build_dir])
    return run_quietly(["cmake", "-S", ROOT, "-B", build_dir, "-G", "Ninja",
                        "-DCMAKE_BUILD_TYPE=Release", "-DWEFT_BUILD_BENCH=ON",
                        "-DWEFT_BUILD_TESTS=OFF", "-DWEFT_BUILD_EXAMPLES=OFF"])


def build_go(build_dir, program):
    environment = dict(os.environ, GOFLAGS="-mod=mod", GOPROXY="off", CGO_ENABLED="0",
                       GO111MODULE="on", GOTOOLCHAIN="local",
                       GOCACHE=os.path.join(os.path.abspath(build_dir), "bench", "go-cache"))
    try:
        return run_quietly(["go", "build", "-o", os.path.abspath(program), "."],
                           cwd=os.path.join(HERE, "go"), env=environment)
    except FileNotFoundError:
        print("compare: no `go` on this machine (Debian: golang-go)", file=sys.stderr)
        return False


def build(build_dir, peers, clients):
    """Builds the programs of these peers and clients; returns the peers that are there."""
    there, built = None, []
    for name in peers + clients:
        program, target = PEERS.get(name) or CLIENTS[name]
        program = os.path.join(build_dir, program)
        if target is None:
            os.makedirs(os.path.dirname(program), exist_ok=True)
            done = build_go(build_dir, program)
        else:
            if there is None:
                if not configure(build_dir):
                    return []
                there = known_targets(build_dir)
            done = target in there and run_quietly(["cmake", "--build", build_dir,
                                                    "--target", target])
            if target not in there:
                print(f"compare: no {target} in this build (its library is missing)",
                      file=sys.stderr)
        if done:
            built.append(name)
    return [p for p in built if p in PEERS]


# --- running --------------------------------------------------------------------------------------

class Failed(Exception):
    """A peer that did not give an answer; the text is what the table shows."""


def clean_environment():
    """Nothing that the caller's shell sets for weft or Go may tilt a run."""
    return {k: v for k, v in os.environ.items()
            if not k.startswith("WEFT_") and k not in ("GOMAXPROCS", "GOGC", "GODEBUG")}


def finish(process, timeout_s):
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Failed(f"TIMEOUT {timeout_s} s") from None
    if process.returncode != 0:
        last = (err.strip().splitlines() or [""])[0]
        what = "WRONG" if process.returncode == 3 else f"FAILED rc={process.returncode}"
        raise Failed(f"{what}: {last}" if last else what)
    return out


def start(command):
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=clean_environment())


def run_process(program, workload, procs, n):
    return finish(start([program, workload.name, str(procs), str(n)]), TIMEOUT_S)


def run_echo(build_dir, peer, program, procs, n):
    """The server in one process, the load client in another."""
    server = start([program] if peer in RAW_SERVERS else [program, "echo_server", str(procs), "1"])
    try:
        announced = server.stdout.readline().split()
        if len(announced) != 2 or announced[0] != "port":
            server.kill()
            finish(server, 10)
            raise Failed("FAILED: the server did not announce its port")
        load = os.path.join(build_dir, CLIENTS["echo"][0])
        return finish(start([load, announced[1], str(server.pid), str(n)]), TIMEOUT_S)
    finally:
        server.kill()
        server.wait()


def parse(text, name):
    """Lines `name[.metric] value unit` -> {metric: ([value of each round], unit)}, "" first."""
    figures = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) != 3 or fields[0].split(".")[0] != name:
            continue
        metric = fields[0].partition(".")[2]
        figures.setdefault(metric, ([], fields[2]))[0].append(float(fields[1]))
    if not figures:
        raise Failed("FAILED: printed no figures")
    return figures


class Samples:
    """What a peer gave for one workload over all runs."""

    def __init__(self):
        self.warm, self.cold, self.units, self.failure = {}, {}, {}, None

    def add(self, figures):
        for metric, (rounds, unit) in figures.items():
            self.warm.setdefault(metric, []).append(rounds[-1])
            self.cold.setdefault(metric, []).append(rounds[0])
            self.units[metric] = unit

    def median(self, metric):
        return statistics.median(self.warm[metric]) if metric in self.warm else None

    def first_round(self, metric):
        return statistics.median(self.cold[metric]) if metric in self.cold else None

    def spread(self, metric):
        return [min(self.warm[metric]), max(self.warm[metric])]

    def shown(self, metric):
        """The median, with ~ before it when the runs lay more than 30 % apart."""
        if metric not in self.warm:
            return "-"
        low, high = self.spread(metric)
        noisy = high - low > 0.3 * abs(self.median(metric))
        return ("~" if noisy else "") + number(self.median(metric))


def measure(workload, procs, peers, options):
    samples = {peer: Samples() for peer in peers}
    for _ in range(options.runs):
        for peer in peers:
            mine = samples[peer]
            if mine.failure:
                continue
            program = os.path.join(options.build_dir, PEERS[peer][0])
            n = workload.size(peer, options.quick)
            try:
                if workload.name == "echo":
                    text = run_echo(options.build_dir, peer, program, procs, n)
                else:
                    text = run_process(program, workload, procs, n)
                mine.add(parse(text, workload.name))
            except Failed as failure:
                mine.failure = str(failure)
    return samples


# --- printing -------------------------------------------------------------------------------------

def number(value):
    if value is None:
        return "-"
    if value != 0 and abs(value) < 10:
        return f"{value:.2f}"
    return f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"


def ratio(mine, theirs):
    if mine is None or theirs is None or theirs <= 0:
        return "-"
    value = mine / theirs
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def metrics_of(samples):
    """The metrics any peer gave, the main one ("") first, allocs last, the others as printed."""
    seen = []
    for mine in samples.values():
        seen += [m for m in mine.warm if m not in seen]
    return sorted(seen, key=lambda m: (m != "", m == "allocs"))


def print_rows(workload, procs, samples, columns):
    for place, metric in enumerate(metrics_of(samples)):
        label = f"  .{metric}"
        if place == 0:  # the row that carries the name, whether or not its figure has one
            label = workload.label(procs) + (f" {metric}" if metric else "")
        weft = samples["weft"].median(metric) if "weft" in samples else None
        cells = []
        for peer in columns:
            mine = samples.get(peer)
            if mine is None:
                cells.append("")
            elif mine.failure:
                cells.append(mine.failure.split(":")[0].split()[0])
            elif peer == "weft":
                cells.append(mine.shown(metric))
            elif mine.median(metric) is None:
                cells.append("-")
            else:
                cells.append(f"{ratio(weft, mine.median(metric))} ({mine.shown(metric)})")
        unit = next(s.units[metric] for s in samples.values() if metric in s.units)
        cold = samples["weft"].first_round(metric) if "weft" in samples else None
        print(f"{label:<22} {unit:<14}" + "".join(f"{c:>18}" for c in cells) + f"{number(cold):>12}",
              flush=True)
    for peer, mine in samples.items():
        if mine.failure:
            print(f"  ! {workload.label(procs)} {peer}: {mine.failure}", flush=True)


def first_line(command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return (done.stdout.splitlines() or ["?"])[0].strip()
    except FileNotFoundError:
        return "not installed"


def defined_in(header, macro):
    try:
        with open(header, encoding="utf-8") as f:
            for line in f:
                if line.startswith(f"#define {macro} "):
                    return line.split(None, 2)[2].strip().strip('"')
    except OSError:
        pass
    return "?"


def versions():
    parts = (defined_in(f"{ROOT}/include/weft/version.hpp", f"WEFT_VERSION_{p}")
             for p in ("MAJOR", "MINOR", "PATCH"))
    tbb = "/usr/include/oneapi/tbb/version.h"
    return {
        "weft": ".".join(parts),
        "commit": first_line(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]),
        "go": first_line(["go", "version"]).replace("go version ", ""),
        "boost": defined_in("/usr/include/boost/version.hpp", "BOOST_LIB_VERSION").replace("_", "."),
        "tbb": f"{defined_in(tbb, 'TBB_VERSION_MAJOR')}.{defined_in(tbb, 'TBB_VERSION_MINOR')}",
        "g++": first_line(["g++", "--version"]),
    }


def machine():
    model = "?"
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo", encoding="utf-8") as f:
        memory_gib = int(f.readline().split()[1]) / 2**20
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "memory_gib": round(memory_gib, 1),
            "kernel": platform.release(), "load": round(os.getloadavg()[0], 2)}


def columns_of(workload, peers):
    """Raw servers only appear beside the echo, the others everywhere, so that columns stand."""
    if workload.name == "echo":
        return [p for p in peers if p == "weft" or p in workload.peers]
    return [p for p in peers if p not in RAW_SERVERS]


def print_columns(columns):
    print(f"{'workload.procs':<22} {'unit':<14}" + "".join(f"{c:>18}" for c in columns)
          + f"{'cold':>12}", flush=True)


def print_heading(options):
    v, m = versions(), machine()
    print(f"machine   {m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB, Linux {m['kernel']}, "
          f"load {m['load']}")
    print(f"versions  weft {v['weft']} ({v['commit']}), {v['go']}, Boost {v['boost']}, "
          f"oneTBB {v['tbb']}, {v['g++']}")
    print(f"runs      {options.runs}, interleaved, medians; 3 rounds each, the third counts"
          + ("; QUICK sizes: no figures to quote" if options.quick else ""))
    print("cells     weft: its figure; others: ratio weft/peer (the peer's figure); < 1: weft costs "
          "less; cold: weft's first round")


def print_notes(chosen, peers, options):
    print("\nNotes")
    print("  ratios under 1.3 either way are ties; absolute figures drift between machines; ~ = the "
          "runs\n    lay more than 30 % apart")
    for workload, _ in unique(chosen):
        print(f"  {workload.name}: {workload.question}")
        for peer, _ in workload.smaller.items():
            if peer in peers and workload.size(peer, options.quick) != workload.size("", options.quick):
                print(f"    {peer} does {workload.size(peer, options.quick):,} of "
                      f"{workload.size('', options.quick):,}")
    print("  boost: 16 KiB unguarded stacks from malloc that is told not to trim; work stealing on 2p;"
          "\n    its channel of 128 holds 127")
    print("  std: one kernel thread each; a queue of capacity 1 stands in for a rendezvous; pinned "
          "to as many\n    cores as the row says")


def unique(chosen):
    seen = {}
    for workload, procs in chosen:
        seen.setdefault(workload.name, (workload, procs))
    return seen.values()


# --- the command ----------------------------------------------------------------------------------

def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                epilog="Sizes and peers of each workload: --list")
    p.add_argument("workloads", nargs="*", help="names or patterns; nothing = all")
    p.add_argument("--build-dir", default=os.path.join(ROOT, "build", "release"))
    p.add_argument("--runs", type=int, help="interleaved runs of each peer (default 5, quick 1)")
    p.add_argument("--series", type=int, default=1, metavar="N",
                   help="the whole selection N times over; the bars as a table in Markdown")
    p.add_argument("--quick", action="store_true", help="small sizes, one run: smoke test")
    p.add_argument("--peers", help="only these, comma separated (default: all)")
    p.add_argument("--no-build", action="store_true", help="take the programs as they are")
    p.add_argument("--json", metavar="FILE", help="also write every figure there")
    p.add_argument("--list", action="store_true", help="print the workloads and stop")
    options = p.parse_args()
    options.runs = options.runs or (1 if options.quick else 5)
    return options


def choose(patterns):
    chosen = []
    for workload in WORKLOADS:
        for procs in workload.procs:
            names = (workload.name, workload.label(procs))
            if not patterns or any(fnmatch.fnmatch(n, p) for p in patterns for n in names):
                chosen.append((workload, procs))
    return chosen


def json_rows(number, results, options):
    for workload, procs, samples in results:
        for peer, mine in samples.items():
            about = {"series": number, "workload": workload.name, "procs": procs, "peer": peer}
            if mine.failure:
                yield {**about, "failure": mine.failure}
            for metric in mine.warm:
                yield {**about, "metric": metric, "unit": mine.units[metric],
                       "median": mine.median(metric), "range": mine.spread(metric),
                       "first_round": mine.first_round(metric),
                       "n": workload.size(peer, options.quick)}


def write_json(path, series, options):
    rows = [row for number, results in enumerate(series, 1)
            for row in json_rows(number, results, options)]
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"machine": machine(), "versions": versions(), "runs": options.runs,
                   "quick": options.quick, "results": rows}, f, indent=1)


def list_workloads(chosen):
    for workload, procs in chosen:
        print(f"{workload.label(procs):<22} n={workload.n:<10,} weft {' '.join(workload.peers):<24}"
              f" {workload.question}")


def run_series(chosen, peers, options):
    """Runs every chosen row once and prints it; returns [(workload, procs, samples)]."""
    results, columns = [], None
    for workload, procs in chosen:
        if columns != columns_of(workload, peers):
            columns = columns_of(workload, peers)
            print()
            print_columns(columns)
        mine = [p for p in peers if p == "weft" or p in workload.peers]
        samples = measure(workload, procs, mine, options)
        print_rows(workload, procs, samples, columns)
        results.append((workload, procs, samples))
    return results


def run_all(chosen, peers, options):
    """Every series, with its bars; then all bars over all series."""
    series, judged = [], []
    for number in range(1, options.series + 1):
        if options.series > 1:
            print(f"\nSeries {number} of {options.series}")
        series.append(run_series(chosen, peers, options))
        judged.append({workload.label(procs): samples for workload, procs, samples in series[-1]})
        if not options.quick:
            bars.print_list(judged[-1])
    print_notes(chosen, peers, options)
    if options.series > 1 and not options.quick:
        bars.print_table(judged)
    return series


def main():
    options = arguments()
    chosen = choose(options.workloads)
    if options.list:
        list_workloads(chosen)
        return 0
    if not chosen:
        print("compare: no such workload; --list shows them", file=sys.stderr)
        return 64
    wanted = options.peers.split(",") if options.peers else list(PEERS)
    peers = [p for p in PEERS if p in wanted and
             (p == "weft" or any(p in w.peers for w, _ in chosen))]
    clients = [name for name in CLIENTS if any(w.name == name for w, _ in chosen)]
    if options.no_build:
        peers = [p for p in peers if os.access(os.path.join(options.build_dir, PEERS[p][0]), os.X_OK)]
    else:
        peers = build(options.build_dir, peers, clients)
    if not peers:
        print("compare: nothing to run", file=sys.stderr)
        return 1
    print_heading(options)
    began = time.monotonic()
    series = run_all(chosen, peers, options)
    print(f"\ntook {time.monotonic() - began:.0f} s")
    if options.json:
        write_json(options.json, series, options)
    # Peers may fail at what they do; weft may not.
    if "weft" in wanted and "weft" not in peers:
        return 1
    return 1 if any("weft" in samples and samples["weft"].failure
                    for results in series for _, _, samples in results) else 0


if __name__ == "__main__":
    sys.exit(main())
