"""Room messages from one node to the other: as many as go, and 200 a second with their latency."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

from bench.figure import Figure, Group, Sample, cost, percentile
from bench.jspair import JsPair
from bench.load import Spent
from bench.pair import DaemonPair

BYTES = 200
PACED = 200

RATE = Figure("room", f"room messages delivered, {BYTES} B, unpaced", "/s")
P50 = Figure("room-p50", f"room latency p50 at {PACED}/s", "ms", more_is_better=False)
P99 = Figure("room-p99", f"room latency p99 at {PACED}/s", "ms", more_is_better=False)
LOSS = Figure("room-loss", "room messages lost", "of all", more_is_better=False)

_rooms = itertools.count()


def _burst(quick: bool) -> int:
    return 500 if quick else 3000


def _paced(quick: bool) -> int:
    return PACED * (2 if quick else 5)


def _deadlines(count: int, rate: float | None) -> Iterator[None]:
    """Wait for each turn."""
    began = time.perf_counter()
    for number in range(count):
        if rate and (wait := began + number / rate - time.perf_counter()) > 0:
            time.sleep(wait)
        yield


class _Receiver:
    """Counts messages of one tag at the other daemon, with the latency that each carries."""

    def __init__(self, pair: DaemonPair, tag: str, expect: int) -> None:
        self.latencies: list[float] = []
        self.last = 0.0
        self.done = threading.Event()
        self._ready = threading.Event()
        self._pair, self._tag, self._expect = pair, tag, expect
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(20)

    def _run(self) -> None:
        with self._pair.client(self._pair.b) as nexus:
            events = nexus.events(kinds=["room"], room="bench", cursor=self._pair.newest(nexus))
            self._ready.set()
            for event in events:
                if event.type != "message" or not event.data["content"].startswith(self._tag):
                    continue
                now = time.perf_counter()
                self.latencies.append(now - float(event.data["content"].split(" ", 2)[1]))
                self.last = now
                if len(self.latencies) >= self._expect:
                    self.done.set()
                    return


def _send(pair: DaemonPair, count: int, rate: float | None) -> tuple[_Receiver, float]:
    tag = f"t{next(_rooms)}"
    receiver = _Receiver(pair, tag, count)
    padding = "x" * BYTES
    with pair.client(pair.a) as nexus:
        began = time.perf_counter()
        for _ in _deadlines(count, rate):
            nexus.rooms.send("bench", f"{tag} {time.perf_counter()} {padding}")
    receiver.done.wait(30)
    return receiver, began


def _ours(pair: DaemonPair, quick: bool) -> Sample:
    with Spent() as spent:
        burst, began = _send(pair, _burst(quick), None)
    paced, _ = _send(pair, _paced(quick), PACED)
    return _sample(
        len(burst.latencies) / (burst.last - began),
        1e6 * spent.seconds / _burst(quick),
        [1000 * value for value in paced.latencies],
        _burst(quick) + _paced(quick) - len(burst.latencies) - len(paced.latencies),
    )


def _js(pair: JsPair, quick: bool) -> Sample:
    def send(count: int, rate: float | None) -> tuple[dict[str, Any], float]:
        pair.call(pair.b, "roomListen", room="bench", expect=count)
        sent = pair.call(pair.a, "roomSend", room="bench", count=count, bytes=BYTES, rate=rate)
        return pair.call(pair.b, "roomReceived", room="bench", timeoutMs=30_000), sent["begin"]

    with Spent() as spent:
        burst, began = send(_burst(quick), None)
    paced, _ = send(_paced(quick), PACED)
    return _sample(
        burst["received"] / ((burst["last"] - began) / 1e9),
        1e6 * spent.seconds / _burst(quick),
        [value / 1e6 for value in paced["latencies"]],
        _burst(quick) + _paced(quick) - burst["received"] - paced["received"],
    )


def _sample(rate: float, cpu_us: float, latencies_ms: list[float], lost: int) -> Sample:
    return {
        "room": rate,
        "room-cpu": cpu_us,
        "room-p50": percentile(latencies_ms, 0.5),
        "room-p99": percentile(latencies_ms, 0.99),
        "room-loss": lost,
    }


NOTE = (
    "Room messages: nexusd commits each message to disk on both nodes and the program that sends or reads is a "
    "client of the socket; the js peers keep nothing and the program is the peer itself."
)

GROUP = Group(
    "room",
    (RATE, cost(RATE), P50, P99, LOSS),
    _ours,
    _js,
    NOTE,
)
