"""Connections in numbers, silent and slow: an honest peer gets in all the while, the attacker is cut off and named."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.harness import js
from tests.harness.daemon import Daemon, Home, connect
from tests.harness.foreign import ForeignError
from tests.harness.js import JsPeer
from tests.harness.mallory import Client
from tests.harness.process import poll
from tests.harness.siege import Siege

WITNESS_SECONDS = 1.0
"""What an honest connection may take, at the median."""
ROUNDS = 5
"""Honest connections during an attack, one a second."""
TRIES = 3
"""For one of them: a connection that is cut is dialled again, as every peer does."""
MEBIBYTES = 32


@pytest.fixture
def carol(own_home: Home) -> Iterator[JsPeer]:
    """The honest peer, from another implementation. It listens nowhere, so that nobody but itself connects the two."""
    js.require()
    with JsPeer("carol", own_home.directory, listen=False) as peer:
        yield peer


@pytest.fixture
def besieged(own_home: Home) -> Iterator[Daemon]:
    """A daemon that makes no exception for this host's addresses. What the witness asks for is under its limits."""
    with Daemon("dave", own_home, "--limit-loopback") as daemon:
        yield daemon


def port_of(address: str) -> int:
    return int(address.split("/")[4])


def dial(carol: JsPeer, daemon: Daemon, address: str) -> float:
    """An honest connection and its end. Returns the seconds until it stood, more than one try included."""
    carol.call("hangup", peer=daemon.peer_id)  # a try that was given up may have come through after all
    poll(lambda: not carol.call("connections")["connections"], "carol alone")
    began = time.monotonic()
    for _ in range(TRIES):
        try:
            carol.call("dial", address=address)
        except ForeignError:
            continue
        took = time.monotonic() - began
        carol.call("hangup", peer=daemon.peer_id)
        return took
    return float("inf")


def refused(daemon: Daemon) -> list[dict[str, Any]]:
    """What the log says of connections that were turned away or cut."""
    lines = (json.loads(line) for line in daemon.log_text().splitlines() if line.startswith("{"))
    return [line for line in lines if line["event"] == "connection_refused"]


KINDS = [
    # kind, sources, at once, reasons of which one must be in the log, held no longer than
    ("silent", 1, 1000, {"too_many_from_address", "too_often_from_address"}, 2.0),
    ("silent", 1000, 1000, {"evicted_in_transit", "silent", "transit_full"}, 2.0),
    ("trickled multistream", 1000, 1000, {"evicted_in_transit", "handshake_too_slow"}, 3.0),
    ("stop in noise", 1000, 1000, {"evicted_in_transit", "handshake_too_slow"}, 3.0),
    ("stop after noise", 1000, 100, {"evicted_in_transit", "handshake_too_slow"}, 3.0),
    ("stop in muxer", 1000, 100, {"evicted_in_transit", "handshake_too_slow"}, 3.0),
    ("trickled upgrade", 1000, 1000, {"evicted_in_transit", "handshake_too_slow"}, 3.0),
    ("come and go", 1, 50, {"too_often_from_address"}, 3.0),
    ("come and go", 1000, 50, {"too_often_from_address"}, 3.0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "sources", "at_once", "reasons", "longest"), KINDS, ids=[f"{k[0]} from {k[1]}" for k in KINDS]
)
def test_an_honest_peer_gets_in(
    besieged: Daemon, carol: JsPeer, own_home: Home, kind: str, sources: int, at_once: int, reasons: set, longest: float
) -> None:
    address = besieged.websocket if kind == "trickled upgrade" else besieged.tcp
    assert dial(carol, besieged, address) < 10  # what is loaded once is loaded now
    before = besieged.rss()
    took, grown, transit = [], 0, 0
    pause = 0.0 if kind == "come and go" else 0.2
    with Siege(kind, port_of(address), own_home.directory, sources=sources, at_once=at_once, pause=pause) as siege:
        for _ in range(ROUNDS):
            began = time.monotonic()
            took.append(dial(carol, besieged, address))
            grown = max(grown, besieged.rss() - before)
            transit = max(transit, besieged.status()["connections"]["inTransit"])
            time.sleep(max(0.0, began + 1 - time.monotonic()))
        tally = siege.tally()
    print(f"{kind} from {sources}: honest {took}, grown {grown >> 10} KiB, transit {transit}, {tally}")
    assert statistics.median(took) < WITNESS_SECONDS, took
    assert grown < MEBIBYTES << 20
    assert transit <= 32
    assert tally["longest"] < longest + 3.0  # a busy machine takes a moment to hear of it
    assert tally["most_up"] > 0
    named = refused(besieged)
    assert {line["reason"] for line in named} & reasons, {line["reason"] for line in named}
    strangers = {line["address"] for line in named} - set(siege.sources)
    assert strangers <= {"127.0.0.1"}  # the witness, in the first second perhaps
    assert besieged.status()["connections"]["refused"] >= len(named) > 0
    poll(lambda: besieged.status()["connections"]["inTransit"] == 0, "no attacker left")


def test_a_peer_that_was_never_here_gets_in_within_seconds(besieged: Daemon, carol: JsPeer, own_home: Home) -> None:
    """A thousand addresses have a few tries each before they are told from her; then one a second is enough."""
    port = port_of(besieged.tcp)
    with Siege("stop in noise", port, own_home.directory, sources=1000, at_once=1000, pause=0.2) as siege:
        began = time.monotonic()
        for attempt in range(20):
            try:
                carol.call("dial", address=besieged.tcp)
                break
            except ForeignError:
                time.sleep(max(0.0, began + attempt + 1 - time.monotonic()))
        else:
            pytest.fail(f"not in 20 tries: {siege.tally()}")
        print(f"in after {attempt + 1} tries, {time.monotonic() - began:.1f} s")


def test_a_full_house_of_strangers(own_home: Home) -> None:
    """Sybils that complete every handshake and then say nothing: they have what is for strangers, and no more. A peer
    that a person named keeps its connection; an honest stranger comes in and stays."""
    js.require()
    with (
        Daemon("dave", own_home, "--limit-loopback") as dave,
        Daemon("bob", own_home) as bob,
        JsPeer("carol", own_home.directory, listen=False) as carol,
    ):
        connect(dave, bob)
        port = port_of(dave.tcp)
        with Siege("stay", port, own_home.directory, sources=1000, at_once=120, pause=0.5) as siege:
            full = 96 - 16
            poll(lambda: dave.status()["connections"]["inbound"] >= full, "all places for strangers taken", 60)
            poll(lambda: {"evicted"} <= {line["reason"] for line in refused(dave)}, "one sybil cut for another")
            before = dave.rss()
            assert dial_and_stay(carol, dave) < 5
            began = time.monotonic()
            while time.monotonic() < began + 5:
                usage = dave.status()["connections"]
                assert usage["inbound"] <= full
                assert usage["open"] <= 128
                assert {bob.peer_id, carol.peer_id} <= dave.connected()
                time.sleep(0.2)
            assert dave.rss() - before < MEBIBYTES << 20
            cut = {line["address"] for line in refused(dave) if line["reason"] == "evicted"}
            assert cut <= set(siege.sources)
        carol.call("hangup", peer=dave.peer_id)


def dial_and_stay(carol: JsPeer, daemon: Daemon) -> float:
    began = time.monotonic()
    carol.call("dial", address=daemon.tcp)
    poll(lambda: carol.peer_id in daemon.connected(), "carol, seen from the daemon")
    return time.monotonic() - began


def test_few_descriptors(own_home: Home, carol: JsPeer) -> None:
    """With 64 descriptors the daemon takes fewer connections, turns others away, and answers at its socket."""
    limited = ("sh", "-c", 'ulimit -n 64; exec "$@"', "sh")
    with Daemon("erin", own_home, through=limited) as erin:
        usage = erin.status()["connections"]
        assert usage["limit"] < 16
        assert dial(carol, erin, erin.tcp) < 10
        with Siege("silent", port_of(erin.tcp), own_home.directory, sources=1000) as siege:
            for _ in range(5):
                assert erin.cli("status")["pid"] == erin.pid
                assert descriptors(erin) < 64 - 8  # enough is left for commands and their pipes
            assert dial(carol, erin, erin.tcp) < 10
            assert siege.tally()["tried"] > usage["limit"]
        assert "few_descriptors" in erin.log_text()


def test_no_descriptor_left(own_home: Home, carol: JsPeer) -> None:
    """Local clients have taken the last one: callers are turned away, by name, and nothing breaks."""
    limited = ("sh", "-c", 'ulimit -n 64; exec "$@"', "sh")
    with Daemon("erin", own_home, through=limited) as erin, ExitStack() as clients:
        erin.rpc("node.status")
        while descriptors(erin) < 64:
            clients.enter_context(Client(erin)).ask("node.status")
        with pytest.raises(ForeignError):
            carol.call("dial", address=erin.tcp)
        poll(lambda: "out_of_descriptors" in {line["reason"] for line in refused(erin)}, "the reason in the log")
        assert erin.rpc("node.status")["pid"] == erin.pid
        clients.close()
        poll(lambda: dial(carol, erin, erin.tcp) < 10, "an honest connection afterwards")


def descriptors(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))
