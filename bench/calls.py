"""Calls: many small ones, and one long stream of events."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial

from bench.figure import Figure, Group, Sample, cost, percentile
from bench.jspair import JsPair
from bench.load import Spent
from bench.pair import DaemonPair
from nexusd.client import Nexus

AT_ONCE = 16
LINE = 16
BULK = 65_536

SEQUENTIAL = Figure("call-1", "calls (unary), one at a time", "/s")
CONCURRENT = Figure("call-16", f"calls (unary), {AT_ONCE} at once", "/s")
FIRST = Figure("first", "first event of a call, p50", "ms", more_is_better=False)
EVENTS = Figure("events", f"events in one stream, {LINE} B each", "/s")
THROUGHPUT = Figure("bulk", f"one stream, {BULK // 1024} KiB events", "MB/s")


def _calls(quick: bool) -> int:
    return 100 if quick else 500


def _events(quick: bool) -> int:
    return 3000 if quick else 20_000


def _bulk(quick: bool) -> int:
    return 100 if quick else 500


def _many(pair: DaemonPair, count: int, at_once: int) -> tuple[float, list[float]]:
    """Calls a second, and the seconds to the first event of each."""
    firsts: list[float] = []
    peer = pair.b.peer_id

    def one(nexus: Nexus) -> None:
        began = time.perf_counter()
        first, size = 0.0, 0
        with nexus.stream(peer, "echo", "hello", stream=False) as call:
            for event in call:
                first = first or time.perf_counter() - began
                size += len(event.data)
        assert size == 5
        firsts.append(first)

    return count / pair.in_parallel(count, at_once, one), firsts


def _stream(pair: DaemonPair, events: int, size: int) -> float:
    """Seconds."""
    ask = json.dumps({"events": events, "bytes": size})
    count = total = 0
    with pair.client(pair.a) as nexus:
        began = time.perf_counter()
        with nexus.stream(pair.b.peer_id, "stream", ask, max_output_bytes=1 << 30, max_duration_ms=120_000) as call:
            for event in call:
                count += 1
                total += len(event.data)
        elapsed = time.perf_counter() - began
    assert (count, total) == (events, events * size)
    return elapsed


def _ours(pair: DaemonPair, quick: bool) -> Sample:
    with pair.provider():
        return _sample(partial(_many, pair), partial(_stream, pair), quick)


def _js(pair: JsPair, quick: bool) -> Sample:
    def many(count: int, at_once: int) -> tuple[float, list[float]]:
        done = pair.call(pair.a, "invokeMany", peer=pair.b.peer_id, count=count, concurrency=at_once)
        return done["count"] / done["seconds"], [value / 1e9 for value in done["firsts"]]

    def stream(events: int, size: int) -> float:
        done = pair.call(pair.a, "invokeStream", peer=pair.b.peer_id, events=events, bytes=size)
        assert (done["events"], done["bytes"]) == (events, events * size), done
        return float(done["ns"]) / 1e9

    return _sample(many, stream, quick)


def _sample(
    many: Callable[[int, int], tuple[float, list[float]]], stream: Callable[[int, int], float], quick: bool
) -> Sample:
    found: dict[str, float] = {}
    calls, events, bulk = _calls(quick), _events(quick), _bulk(quick)
    with Spent() as spent:
        found[SEQUENTIAL.key], firsts = many(calls, 1)
    found[cost(SEQUENTIAL).key] = 1e6 * spent.seconds / calls
    with Spent() as spent:
        found[CONCURRENT.key], _ = many(calls, AT_ONCE)
    found[cost(CONCURRENT).key] = 1e6 * spent.seconds / calls
    with Spent() as spent:
        found[EVENTS.key] = events / stream(events, LINE)
    found[cost(EVENTS).key] = 1e6 * spent.seconds / events
    found[FIRST.key] = 1000 * percentile(firsts, 0.5)
    found[THROUGHPUT.key] = bulk * BULK / stream(bulk, BULK) / 1e6
    return found


NOTE = (
    "Calls: caller and provider are clients of the sockets of two daemons, so that each event crosses two sockets "
    "besides the network; with js-libp2p they are the peers themselves."
)

GROUP = Group(
    "calls",
    (SEQUENTIAL, cost(SEQUENTIAL), CONCURRENT, cost(CONCURRENT), FIRST, EVENTS, cost(EVENTS), THROUGHPUT),
    _ours,
    _js,
    NOTE,
)
