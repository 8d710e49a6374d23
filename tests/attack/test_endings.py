"""Junk on every protocol, and without any, ended in every way: by a close, a reset, or the end of the connection. What
of this ended a stock host (a handler that raises, faults C1 and C3) must cost nobody but the stream."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
import trio
from libp2p.peer.id import ID

from tests.harness.daemon import Daemon
from tests.harness.mallory import DM, HANDSHAKE, INVOKE, KAD, MESHSUB, Line, Mallory, framed, mallory, unharmed

pytestmark = pytest.mark.usefixtures("watched")

BITSWAP = "/ipfs/bitswap/1.2.0"
PROTOCOLS = (
    "", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0", KAD, MESHSUB, DM, INVOKE, HANDSHAKE, BITSWAP
)  # fmt: skip
JUNK = {
    "nothing": b"",
    "a length without end": b"\xff" * 20,
    "less than was announced": b"\x50abc",
    "random octets": random.Random(3).randbytes(300),
    "random octets in a frame": framed(random.Random(4).randbytes(60)),
    "an unknown type": b"\x02\x08\x63",
    "a name that is not UTF-8": b"\x13/multistream/1.0.0\n\x05\xff\xfe\xfd\n",
    "half a negotiation": b"\x13/multistream/1.0.0\n",
}


async def open_stream(m: Mallory, victim: Daemon, protocol: str) -> Line:
    if protocol:
        return await m.open(victim, protocol)
    connection = m.host.get_network().get_connections(ID.from_string(victim.peer_id))[0]
    return Line(await connection.muxed_conn.open_stream())


async def end(m: Mallory, victim: Daemon, line: Line, ending: str) -> None:
    if ending == "reset":
        await line.reset()
    elif ending == "close":
        await line.stream.close()
    else:
        await m.host.disconnect(ID.from_string(victim.peer_id))
        await m.dial(victim)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol or "none")
async def test_junk_that_ends_in_every_way(alice: Daemon, protocol: str) -> None:
    opened = 0
    with unharmed(alice):
        for name, junk in JUNK.items():
            async with mallory(alice, name=f"junk {protocol} {name}") as m:
                for ending in ("reset", "close", "disconnect"):
                    with suppress(Exception), trio.move_on_after(5):
                        line = await open_stream(m, alice, protocol)
                        opened += 1
                        await line.write(junk)
                        await end(m, alice, line, ending)
    assert opened >= len(JUNK), "else it was not heard"
