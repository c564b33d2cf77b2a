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
    ("threads_buffered.2p", "", "std", 1.0),
]


# Hot paths allocate nothing: what a round allocates, once, is a small part of an operation.
ALLOCATION_FREE = """
    yield.1p spawn_join.1p spawn_join.2p spawn_outstanding.1p fib.1p fib.2p skynet.1p skynet.2p
    parked.2p sleepers.2p hogs.2p mutex.1p mutex.2p mutex_alone.1p
    ping_pong.1p ping_pong.2p ring.1p ring.2p buffered.1p buffered.2p mpmc.2p sieve.1p sieve.2p
    select4.1p select4.2p select_ready.1p select_empty.1p threads_buffered.2p
    ctx_cancel.1p ctx_cancel_child.1p ctx_timeout.1p ctx_tree.1p after_func.1p
""".split()
BARS += [(row, "allocs", None, 0.005) for row in ALLOCATION_FREE]


def verdicts(median_of):
    """Yields (row, metric, peer, limit, reached) for each bar that could be checked.

    `median_of(row, peer, metric)` gives a median or None."""
    for row, metric, peer, limit in BARS:
        mine = median_of(row, "weft", metric)
        if mine is None:
            continue
        if peer is None:
            yield row, metric, peer, limit, mine
            continue
        name, _, lent = peer.partition(":")
        theirs = median_of(row, name, lent or metric)
        if theirs:
            yield row, metric, peer, limit, mine / theirs
