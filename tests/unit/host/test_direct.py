"""How direct peers are kept: by a network that is only played, and by nodes on loopback."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest
import trio
from structlog.testing import capture_logs

from nexusd.host.direct import LONGEST_SECONDS, LOOK_SECONDS, STEADY_SECONDS, DirectPeers
from nexusd.host.limits.figures import Figures
from nexusd.host.ports import PeerConnected, PeerDisconnected, UnreachableError
from tests.harness.examples import first
from tests.harness.nodes import loopback, loopback_node, running, signer, until

ALICE, BOB, CAROL = (signer(name).peer_id for name in ("alice", "bob", "carol"))
TCP, WS = "/ip4/10.0.0.2/tcp/4001", "/ip4/10.0.0.2/tcp/4001/ws"


class Played:
    """A network on which bob is there or not. `lasts` is how long his connections do, if he cuts them himself."""

    def __init__(self, *addresses: str, there: bool = True, lasts: float | None = None) -> None:
        self.there = there
        self.lasts = lasts
        self.dials: list[float] = []
        self.asked: dict[str, list[str]] = {}
        self.open = False
        self.nursery: trio.Nursery | None = None
        self.direct = DirectPeers(addresses or [f"{TCP}/p2p/{BOB}"], own=ALICE, connect=self.connect, random=Random(1))

    async def connect(self, peer, addresses) -> None:
        await trio.lowlevel.checkpoint()
        self.asked[peer] = list(addresses)
        if self.open:
            return
        self.dials.append(trio.current_time())
        if not self.there:
            raise UnreachableError("it is away")
        self.open = True
        if self.lasts is not None:
            assert self.nursery is not None
            self.nursery.start_soon(self.cut, self.lasts)

    async def cut(self, after: float = 0.0) -> None:
        await trio.sleep(after)
        self.open = False
        self.direct.left(BOB)

    async def run(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as self.nursery:
                self.nursery.start_soon(self.direct.run)

    def waits(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.dials, self.dials[1:], strict=False)]


def test_addresses_are_gathered_by_peer_and_none_is_ours():
    relayed = f"/ip4/10.0.0.9/tcp/1/p2p/{CAROL}/p2p-circuit"
    played = Played(f"{TCP}/p2p/{BOB}", f"{relayed}/p2p/{BOB}", f"{WS}/p2p/{CAROL}", f"{TCP}/p2p/{ALICE}")
    assert played.direct.peers == {BOB, CAROL}
    assert played.direct._addresses == {BOB: [TCP, relayed], CAROL: [WS]}


async def test_who_is_away_is_dialled_for_ever_and_at_most_twice_a_minute(autojump_clock):
    network = Played(there=False)
    await network.run(24 * 3600)
    waits = network.waits()
    assert 0.5 <= waits[0] <= 1.5, "soon at first"
    assert all(LONGEST_SECONDS / 2 <= wait <= LONGEST_SECONDS * 1.5 for wait in waits[6:])
    assert len(set(waits[6:])) > 100, "with jitter"
    assert network.dials[-1] > 24 * 3600 + network.dials[0] - 60, "and still"


async def test_a_connection_that_breaks_is_made_again_at_once(autojump_clock):
    network = Played()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.run, 1000)
        for lost in (STEADY_SECONDS + 1, 300, 600):
            await trio.sleep(lost - 1)
            assert network.open
            await network.cut()
            await trio.sleep(2)
            assert network.open
    assert len(network.dials) == 4


async def test_one_that_refuses_us_is_dialled_less_and_less(autojump_clock):
    network = Played(lasts=0.0)
    await network.run(3600)
    assert len(network.dials) < 3600 / (LONGEST_SECONDS / 2) + 10
    assert min(network.waits()[6:]) >= LONGEST_SECONDS / 2


async def test_a_loss_that_nobody_told_of_is_found(autojump_clock):
    network = Played()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.run, 1000)
        await trio.sleep(100)
        network.open = False
        await trio.sleep(LOOK_SECONDS + STEADY_SECONDS + 1)
        assert network.open


async def test_the_log_says_once_that_a_peer_is_away_and_once_that_it_is_back(autojump_clock):
    network = Played(there=False)
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network.run, 1000)
            await trio.sleep(500)
            network.there = True
    told = [(line["event"], line["log_level"]) for line in logs if line["log_level"] != "debug"]
    assert told == [("direct_peer_away", "warning"), ("direct_peer_back", "info")]


@pytest.mark.parametrize("agreed", first(1, [True, False]))
async def test_a_direct_peer_finds_a_place_among_strangers_and_keeps_it(agreed):
    bob = signer("bob").peer_id
    # nobody listens there: he comes
    direct = [f"/ip4/127.0.0.1/tcp/1/p2p/{bob}"] if agreed else []
    names = [f"stranger {number}" for number in range(10)]
    async with loopback(*names, "bob") as (*strangers, comes), trio.open_nursery() as nursery:
        alice = loopback_node("alice", figures=Figures.scaled(8, 4), direct=direct)
        async with running(alice):
            # what the daemon knows of people adds to it, and takes nothing away
            alice.set_known(lambda _peer: False)
            seen: set[type] = set()
            nursery.start_soon(_note, alice.peer_events(), bob, seen)
            for node in (*strangers[:5], comes, *strangers[5:]):
                with suppress(UnreachableError):
                    await node.connect(alice.peer_id, alice.addresses())
                if node is comes:
                    alice.penalise(bob, "of all that are here he is worth least", 100)
                await trio.sleep(0.05)
            await until(lambda: alice.connection_usage().refused >= 5)  # there was not room for all
            await until(lambda: PeerConnected in seen and (agreed or PeerDisconnected in seen))
            assert (PeerDisconnected not in seen) is agreed
            nursery.cancel_scope.cancel()


async def _note(events, peer, seen: set[type]) -> None:
    async for event in events:
        seen |= {type(event)} if event.peer == peer else set()
