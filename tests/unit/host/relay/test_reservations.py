"""When a place is asked for again, by a relay that is only played."""

from __future__ import annotations

from random import Random

import pytest
import trio

from nexusd.host.ports import UnreachableError
from nexusd.host.relay.circuits import split
from nexusd.host.relay.reservations import LEAST_SECONDS, MOST_SECONDS, RETRY_MAX_SECONDS, Reservations
from nexusd_protocols.relay import circuit_pb2 as pb
from nexusd_protocols.relay.frame import framed
from tests.harness.mesh import virtual_ms
from tests.harness.nodes import signer

RELAY = signer("relay").peer_id
ADDRESS = f"/ip4/203.0.113.1/tcp/4001/p2p/{RELAY}"
PEER = signer("bob").peer_id


class Played:
    """A relay that answers with `said`, and notes when it was asked."""

    def __init__(self, said) -> None:
        self.said = said
        self.asked: list[float] = []
        self.connected = True
        self.changes = 0
        self.places = Reservations(
            [ADDRESS],
            opener=self,
            connect=self.connect,
            connected=lambda _peer: self.connected,
            accept=self.accept,
            charge=lambda *_: None,
            changed=self.change,
            now=virtual_ms,
            random=Random(1),
        )

    async def accept(self, raw) -> None:
        raise AssertionError("nobody comes")

    def change(self) -> None:
        self.changes += 1

    async def connect(self, peer, addresses) -> None:
        assert (peer, addresses) == (RELAY, ["/ip4/203.0.113.1/tcp/4001"])
        if not self.connected:
            raise UnreachableError("it is away")

    async def open(self, peer, protocols, *, lazily):
        assert not lazily
        self.asked.append(trio.current_time())
        return self

    async def write(self, data) -> None:
        await trio.lowlevel.checkpoint()

    async def read(self, _n) -> bytes:
        await trio.lowlevel.checkpoint()
        return framed(self.said().SerializeToString())

    async def reset(self) -> None:
        await trio.lowlevel.checkpoint()

    def waits(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.asked, self.asked[1:], strict=False)]


def until_in(seconds: float):
    """A place for so long."""
    return lambda: pb.HopMessage(
        type="STATUS", status="OK", reservation=pb.Reservation(expire=max(0, virtual_ms() // 1000 + int(seconds)))
    )


def refused() -> pb.HopMessage:
    return pb.HopMessage(type="STATUS", status="RESOURCE_LIMIT_EXCEEDED")


@pytest.mark.parametrize(
    ("seconds", "wait"),
    [(3600, 2700), (600, 450), (-(10**9), LEAST_SECONDS), (1, LEAST_SECONDS), (10**12, MOST_SECONDS)],
)
async def test_a_place_is_renewed_in_time_and_neither_always_nor_never(autojump_clock, seconds, wait):
    relay = Played(until_in(seconds))
    with trio.move_on_after(4 * wait):
        await relay.places.run()
    assert len(relay.asked) >= 4
    assert relay.waits() == pytest.approx([wait] * len(relay.waits()), abs=1.5)
    assert relay.places.addresses() == [f"{ADDRESS}/p2p-circuit"]
    assert relay.changes == 1, "a renewal changes nothing"


async def test_a_relay_that_refuses_is_asked_less_and_less(autojump_clock):
    relay = Played(refused)
    with trio.move_on_after(7200):
        await relay.places.run()
    assert relay.waits()[0] < 4
    assert all(wait <= 1.5 * RETRY_MAX_SECONDS for wait in relay.waits())
    assert len(relay.asked) < 50
    assert relay.places.addresses() == []
    assert relay.changes == 0


async def test_a_place_goes_with_the_connection(autojump_clock):
    relay = Played(until_in(3600))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay.places.run)
        await trio.sleep(10)
        relay.connected = False
        relay.places.left(PEER)
        await trio.sleep(1)
        assert relay.places.addresses(), "another peer went"
        relay.places.left(RELAY)
        await trio.sleep(1)
        assert relay.places.addresses() == []
        assert relay.changes == 2
        relay.connected = True
        await trio.sleep(10)
        assert relay.places.addresses()
        nursery.cancel_scope.cancel()


def test_relayed_addresses():
    assert split(f"{ADDRESS}/p2p-circuit/p2p/{PEER}") == (RELAY, "/ip4/203.0.113.1/tcp/4001", PEER)


@pytest.mark.parametrize(
    "address",
    [
        ADDRESS,
        f"{ADDRESS}/p2p-circuit",
        f"/p2p/{RELAY}/p2p-circuit/p2p/{PEER}",
        f"/ip4/203.0.113.1/tcp/4001/p2p-circuit/p2p/{PEER}",
        f"{ADDRESS}/p2p-circuit/p2p/{RELAY}/p2p-circuit/p2p/{PEER}",
        f"{ADDRESS}/p2p-circuit/p2p/nobody",
    ],
)
def test_what_is_no_relayed_address(address):
    with pytest.raises(ValueError):  # noqa: PT011 - the reasons differ
        split(address)
