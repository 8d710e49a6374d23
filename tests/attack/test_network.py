"""Below the protocols of ours: sockets that say nothing or junk, negotiation, Kademlia."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import pytest
import trio
from libp2p.kad_dht.pb import kademlia_pb2
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID

from tests.harness.daemon import Daemon
from tests.harness.mallory import KAD, MESHSUB, Line, framed, mallory, unharmed
from tests.harness.nodes import signer, until

pytestmark = pytest.mark.usefixtures("watched")

JUNK = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "WebSocket upgrade that stops": b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
    "zeros": b"\x00" * 100_000,
    "huge length": b"\xff" * 100,
    "plaintext wanted": b"\x13/multistream/1.0.0\n\x11/plaintext/2.0.0\n",
    "noise, then junk": b"\x13/multistream/1.0.0\n\x07/noise\n" + b"\xff" * 70_000,
    "10 MB": b"x" * 10_000_000,
}


def port_of(daemon: Daemon, *, websocket: bool = False) -> int:
    address = daemon.websocket if websocket else daemon.tcp
    return int(address.split("/tcp/")[1].split("/")[0])


def say(daemon: Daemon, data: bytes, *, websocket: bool) -> None:
    with socket.create_connection(("127.0.0.1", port_of(daemon, websocket=websocket)), timeout=5) as sock:
        sock.settimeout(1)
        with contextlib.suppress(OSError):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65_536):
                pass


@pytest.mark.parametrize("websocket", [False, True], ids=["tcp", "ws"])
@pytest.mark.parametrize("junk", JUNK)
def test_junk_instead_of_libp2p(alice: Daemon, junk: str, websocket: bool) -> None:
    with unharmed(alice):
        for _ in range(1 if websocket else 3):
            say(alice, JUNK[junk], websocket=websocket)


async def test_a_hundred_silent_connections_do_not_keep_an_honest_peer_out(alice: Daemon) -> None:
    """And they are given up: none is there for longer than the negotiation may take."""
    silent: list[socket.socket] = []
    try:
        with unharmed(alice):
            silent.extend(socket.create_connection(("127.0.0.1", port_of(alice)), timeout=5) for _ in range(100))
            with trio.fail_after(10):
                async with mallory(alice, name="latecomer") as m:
                    await until(lambda: m.peer_id in alice.connected())
    finally:
        for sock in silent:
            sock.close()


NEGOTIATION = {
    "not UTF-8": b"\x13/multistream/1.0.0\n\x04\xff\xfe\xfd\n",
    "huge length": b"\xff\xff\xff\xff\x0f",
    "a thousand proposals": b"\x13/multistream/1.0.0\n" + b"\x06/nope\n" * 1000,
    "ls": b"\x13/multistream/1.0.0\n\x03ls\n" * 100,
    "nothing": b"",
}


@pytest.mark.parametrize("junk", NEGOTIATION)
async def test_junk_in_negotiation(alice: Daemon, junk: str) -> None:
    with unharmed(alice):
        async with mallory(alice, name=f"negotiation {junk}") as m:
            connection = m.host.get_network().get_connections(ID.from_string(alice.peer_id))[0]
            for _ in range(50):
                stream = await connection.muxed_conn.open_stream()
                with contextlib.suppress(Exception):
                    if NEGOTIATION[junk]:
                        await stream.write(NEGOTIATION[junk])
                    await stream.reset()
            await (await m.open(alice, MESHSUB)).reset()
            assert not connection.is_closed, "not even the connection ends"
            await until(lambda: m.peer_id in alice.connected())  # it may still be on its way to the list


def kad(**fields: Any) -> bytes:
    return framed(kademlia_pb2.Message(**fields).SerializeToString())


async def read(line: Line, seconds: float) -> bytes:
    """What comes in that time, empty if nothing does."""
    with trio.move_on_after(seconds), contextlib.suppress(StreamError):
        data: bytes = await line.stream.read(65_536)
        return data
    return b""


KIND = kademlia_pb2.Message
ASKED = {
    "junk": framed(b"\xff" * 50),
    "a length of 1 GB": b"\x80\x80\x80\x80\x04",
    "an unsigned record": kad(
        type=KIND.PUT_VALUE, key=b"/nexus/x", record=kademlia_pb2.Record(key=b"/nexus/x", value=b"poison")
    ),
    "a record outside the namespace": kad(
        type=KIND.PUT_VALUE, key=b"/pk/x", record=kademlia_pb2.Record(key=b"/pk/x", value=b"poison")
    ),
    "a record of 1 MB": kad(
        type=KIND.PUT_VALUE, key=b"/nexus/x", record=kademlia_pb2.Record(key=b"/nexus/x", value=b"x" * 1_000_000)
    ),
    "no key": kad(type=KIND.GET_VALUE),
    "a key of 1 MB": kad(type=KIND.FIND_NODE, key=b"x" * 1_000_000),
    "10,000 peers": kad(
        type=KIND.FIND_NODE,
        key=b"x",
        closerPeers=[
            KIND.Peer(id=b"\x00$\x08\x01\x12 " + n.to_bytes(32, "big"), addrs=[b"\x04\x7f\x00\x00\x01\x06\x00\x01"])
            for n in range(10_000)
        ],
    ),
    "providers of another's": kad(
        type=KIND.ADD_PROVIDER,
        key=b"x" * 32,
        providerPeers=[KIND.Peer(id=b"\x00$\x08\x01\x12 " + b"\x07" * 32, addrs=[b"junk"])],
    ),
}


@pytest.mark.parametrize("asked", ASKED)
async def test_kademlia(alice: Daemon, asked: str) -> None:
    known = alice.rpc("node.status")["peersKnown"]
    with unharmed(alice):
        async with mallory(alice, name=f"kad {asked}") as m:
            for _ in range(5):
                line = await m.open(alice, KAD)
                await line.write(ASKED[asked])
                await read(line, 0.2)
                await line.reset()
            line = await m.open(alice, KAD)
            await line.write(kad(type=KIND.GET_VALUE, key=b"/nexus/x"))
            answer = await read(line, 5)
            assert answer, "it still answers"
            assert b"poison" not in answer, "what nobody signed is not handed on"
    assert alice.rpc("node.status")["peersKnown"] <= known + 1, "nobody is known by hearsay"


async def test_peers_without_end_are_forgotten(alice: Daemon) -> None:
    """Identities one after the other: none leaves a connection, a stream or much memory."""
    names = [f"identity {number}" for number in range(12)]
    with unharmed(alice):
        for name in names:
            async with mallory(alice, name=name):
                pass
        # the last of them may be missed only by the muxer's ping
        gone = {signer(name).peer_id for name in names}
        await until(lambda: not gone & alice.connected(), 60)
