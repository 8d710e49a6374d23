"""Direct messages with a commit at both ends, acknowledged after the receiver's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench.figure import Figure, Group, Sample, cost
from bench.jspair import JsPair
from bench.load import Spent
from bench.pair import DaemonPair
from nexusd.client import Nexus

BYTES = 200
AT_ONCE = 16

SEQUENTIAL = Figure("dm-1", "direct messages with commit, one at a time", "/s")
CONCURRENT = Figure("dm-16", f"direct messages with commit, {AT_ONCE} at once", "/s")


def _count(quick: bool) -> int:
    return 150 if quick else 600


def _send(pair: DaemonPair, count: int, at_once: int) -> float:
    content = "x" * BYTES
    peer = pair.b.peer_id

    def one(nexus: Nexus) -> None:
        sent = nexus.inbox.send(peer, content)
        assert sent.status == "stored", sent

    return count / pair.in_parallel(count, at_once, one)


def _ours(pair: DaemonPair, quick: bool) -> Sample:
    return _sample(partial(_send, pair), _count(quick))


def _js(pair: JsPair, quick: bool) -> Sample:
    def rate(count: int, at_once: int) -> float:
        done = pair.call(pair.a, "dmSend", peer=pair.b.peer_id, count=count, concurrency=at_once, bytes=BYTES)
        assert done["stored"] == count, done
        return float(done["stored"] / done["seconds"])

    return _sample(rate, _count(quick))


def _sample(rate: Callable[[int, int], float], count: int) -> Sample:
    found: dict[str, float] = {}
    for figure, at_once in ((SEQUENTIAL, 1), (CONCURRENT, AT_ONCE)):
        with Spent() as spent:
            found[figure.key] = rate(count, at_once)
        found[cost(figure).key] = 1e6 * spent.seconds / count
    return found


NOTE = (
    "Direct messages: both sides keep them in SQLite (WAL, synchronous=FULL) and acknowledge after the commit; the "
    "js peers use node:sqlite, a transaction each."
)

GROUP = Group(
    "dm",
    (SEQUENTIAL, cost(SEQUENTIAL), CONCURRENT, cost(CONCURRENT)),
    _ours,
    _js,
    NOTE,
)
