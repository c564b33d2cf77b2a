# SPDX-License-Identifier: Apache-2.0
"""What weft has promised itself: how its figures compare with a peer's, or with a plain number.

A bar is (row, metric, peer, limit): weft's median of that metric is at most `limit` times the peer's,
or at most `limit` itself where the peer is None. A peer given as "go:late_p99" lends that metric.
"""

BARS = [
    # scheduler, stacks, memory
    ("yield.1p", "", "go", 1 / 12),
    ("yield.1p", "", "boost", 1 / 6),
    ("spawn_join.1p", "", "go", 1 / 6),
    ("spawn_join.2p", "", "go", 1 / 6),
    ("spawn_outstanding.1p", "", "go", 1 / 14),
    ("spawn_outstanding.1p", "", "tbb", 1.0),
    ("spawn_outstanding.1p", "memory", None, 400),
    ("skynet.2p", "", "go", 1 / 6),
    ("skynet.2p", "stacks", None, 5000),
    ("fib.2p", "", "go", 1 / 12),
    ("fib.2p", "", "tbb", 1.0),
    ("fib.2p", "stacks", None, 200),
    ("parked.2p", "", None, 4500),
    ("parked.2p", "create", "go", 1.0),
    ("parked.2p", "wake", "go", 1.0),
    ("parked.2p", "kept", None, 5),
    ("sleepers.2p", "", "go", 0.7),
    ("sleepers.2p", "late_max", "go:late_p99", 1.0),
    ("mutex.2p", "", "go", 0.7),
    ("mutex_alone.1p", "", "go", 0.95),
    ("hogs.2p", "late_p50", None, 2),
    ("hogs.2p", "late_p99", None, 10),
    ("blocking_reads.2p", "ramp", None, 2000),
    ("blocking_reads.2p", "p99", None, 20),
    ("idle.2p", "cpu", None, 0.05),
    # channels, select, contexts, timers
    ("ping_pong.1p", "", "go", 1 / 8),
    ("ping_pong.2p", "", "go", 1 / 6),
    ("ring.1p", "", "go", 1 / 6),
    ("ring.2p", "", "go", 1 / 6),
    ("buffered.1p", "", "go", 1 / 3),
    ("buffered.2p", "", "go", 1 / 3),
    ("mpmc.2p", "", "go", 1 / 2),
    ("sieve.1p", "", "go", 1 / 5),
    ("sieve.2p", "", "go", 1 / 5),
    ("select4.2p", "", "go", 1 / 4),
    ("select_ready.1p", "", "go", 1 / 3),
    ("select_empty.1p", "", "go", 1.0),
    ("ctx_cancel.1p", "", "go", 1 / 3),
    ("ctx_cancel_child.1p", "", "go", 1 / 3),
    ("ctx_timeout.1p", "", "go", 1 / 4),
    ("ctx_tree.1p", "", "go", 1 / 2),
    ("after_func.1p", "", "go", 1 / 3),
    ("pool.1p", "", "go", 1 / 2),
    ("pool.2p", "", "go", 1 / 2),
    ("threads_buffered.2p", "", "std", 1.0),
]


# Hot paths allocate nothing: what a round allocates, once, is a small part of an operation.
ALLOCATION_FREE = """
    yield.1p spawn_join.1p spawn_join.2p spawn_outstanding.1p fib.1p fib.2p skynet.1p skynet.2p
    parked.2p sleepers.2p hogs.2p mutex.1p mutex.2p mutex_alone.1p
    ping_pong.1p ping_pong.2p ring.1p ring.2p buffered.1p buffered.2p mpmc.2p sieve.1p sieve.2p
    select4.1p select4.2p select_ready.1p select_empty.1p threads_buffered.2p
    ctx_cancel.1p ctx_cancel_child.1p ctx_timeout.1p ctx_tree.1p after_func.1p
    pool.1p pool.2p
""".split()
BARS += [(row, "allocs", None, 0.005) for row in ALLOCATION_FREE]


# --- judging --------------------------------------------------------------------------------------
# A series is {row: {peer: compare.Samples}}. A bar without its figures, because a program failed or
# answered wrongly, even in one run of several, is missed.

def lender(bar):
    """The (peer, metric) a bar compares with, or None for a plain number."""
    _, metric, peer, _ = bar
    if peer is None:
        return None
    name, _, lent = peer.partition(":")
    return name, lent or metric


def was_run(bar, series):
    programs = {"weft"} | ({lender(bar)[0]} if lender(bar) else set())
    return programs <= set(series.get(bar[0], {}))


def figure_of(samples, metric):
    return None if samples.failure else samples.median(metric)


def reached(bar, series):
    """What weft has reached of a bar in a series, or None."""
    row, metric, _, _ = bar
    mine = figure_of(series[row]["weft"], metric)
    if mine is None or lender(bar) is None:
        return mine
    peer, lent = lender(bar)
    theirs = figure_of(series[row][peer], lent)
    return mine / theirs if theirs else None


def held(bar, figure):
    return figure is not None and figure <= bar[3]


# --- printing -------------------------------------------------------------------------------------

def figure_text(value):
    if value is None:
        return "none"
    if value < 1:
        return f"{value:.3f}"
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def name_of(bar):
    return f"{bar[0]}.{bar[1]}" if bar[1] else bar[0]


def limit_text(bar, series):
    """As in: 0.083 of go; 1.00 of go's late_p99; 2.00 ms."""
    limit = figure_text(bar[3])
    if lender(bar) is None:
        unit = series[bar[0]]["weft"].units.get(bar[1])
        return f"{limit} {unit}" if unit else limit
    peer, lent = lender(bar)
    return f"{limit} of {peer}" + (f"'s {lent}" if lent != bar[1] else "")


def print_list(series):
    """Every bar whose programs were run, a line each; a miss is printed as one."""
    judged = [(bar, reached(bar, series)) for bar in BARS if was_run(bar, series)]
    if not judged:
        return
    print(f"\nBars: {sum(held(*pair) for pair in judged)} of {len(judged)} held")
    for bar, figure in judged:
        print(f"  {'held  ' if held(bar, figure) else 'missed'}  {name_of(bar):<26} "
              f"{figure_text(figure)}, bar {limit_text(bar, series)}")


def print_table(all_series):
    """The same over several series, in Markdown: each figure, and how often the bar was held."""
    count = len(all_series)
    numbers = list(range(1, count + 1))
    print("\n| row | bar: at most | " + " | ".join(f"series {n}" for n in numbers) + " | verdict |")
    print("|---|---|" + "---|" * count + "---|")
    for bar in BARS:
        if not all(was_run(bar, series) for series in all_series):
            continue
        figures = [reached(bar, series) for series in all_series]
        misses = sum(not held(bar, figure) for figure in figures)
        verdict = f"missed in {misses} of {count}" if misses else f"held in all {count}"
        cells = [name_of(bar), limit_text(bar, all_series[0])] + [figure_text(f) for f in figures]
        print("| " + " | ".join(cells + [verdict]) + " |")
