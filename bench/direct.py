"""Direct messages with a commit at both ends, acknowledged after the receiver's."""

from __future__ import annotations

from bench.figure import Figure, Group, Sample
from bench.jspair import JsPair
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
    return {
        "dm-1": _send(pair, _count(quick), 1),
        "dm-16": _send(pair, _count(quick), AT_ONCE),
    }


def _js(pair: JsPair, quick: bool) -> Sample:
    def rate(at_once: int) -> float:
        count = _count(quick)
        done = pair.call(pair.a, "dmSend", peer=pair.b.peer_id, count=count, concurrency=at_once, bytes=BYTES)
        assert done["stored"] == count, done
        return float(done["stored"] / done["seconds"])

    return {"dm-1": rate(1), "dm-16": rate(AT_ONCE)}


NOTE = (
    "Direct messages: both sides keep them in SQLite (WAL, synchronous=FULL) and acknowledge after the commit; the "
    "js peers use node:sqlite, a transaction each."
)

GROUP = Group(
    "dm",
    (SEQUENTIAL, CONCURRENT),
    _ours,
    _js,
    NOTE,
)
