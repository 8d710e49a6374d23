"""Noise after the handshake: one read takes all, a write begun is ended, and stock py-libp2p understands."""

from __future__ import annotations

import hashlib
import random

import pytest
import trio
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.security.noise.exceptions import PeerIDMismatchesPubkey

from nexusd.host.noise import WRITE_SECONDS
from nexusd_protocols.errors import RemoteProtocolError
from tests.harness.muxed import memory_raws, peer_of, read_exactly, secured, security_of, tcp_raws


@pytest.fixture
async def ends():
    """Alice's end and bob's."""
    return await secured(memory_raws())


@pytest.fixture
async def tcp():
    """Both ends of a connection over loopback, not secured yet."""
    raws = await tcp_raws()
    yield raws
    for raw in raws:
        await raw.close()


async def test_who_is_who(ends):
    alice, bob = ends
    assert (alice.get_remote_peer(), bob.get_remote_peer()) == (peer_of("bob"), peer_of("alice"))
    assert alice.is_initiator
    assert not bob.is_initiator


async def test_another_than_was_dialled_is_refused():
    raws = memory_raws()

    async def listen() -> None:
        with pytest.raises(Exception):  # noqa: B017, PT011 # whatever the handshake says when the dialler goes
            await security_of("mallory").secure_inbound(raws[1])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        with pytest.raises(PeerIDMismatchesPubkey):
            await security_of("alice").secure_outbound(raws[0], peer_of("bob"))
        await raws[0].close()


async def test_one_read_takes_all_that_has_come(ends):
    alice, bob = ends
    for number in range(50):
        await alice.write(b"%d," % number)
    assert b"".join(await bob.receive()) == b"".join(b"%d," % number for number in range(50))


async def test_reads_of_a_few_bytes_leave_the_rest(ends):
    alice, bob = ends
    await alice.write(b"abcdef")
    assert await bob.read(0) == b""
    assert [await bob.read(1), await bob.read(2)] == [b"a", b"bc"]
    assert await bob.receive() == [b"def"]
    await alice.write(b"ghi")
    assert await bob.read() == b"ghi"


@pytest.mark.parametrize(
    "stock", [(False, False), (True, False), (False, True)], ids=["ours", "stock dials", "we dial"]
)
async def test_bulk_both_ways(tcp, stock):
    ends = await secured(tcp, stock=stock)
    data = random.Random(5).randbytes(1_500_000)
    sizes = [1, 2, 65_518, 65_519, 65_520, 200_000]

    async def send(end) -> None:
        start = 0
        while start < len(data):
            size = sizes[start % len(sizes)]
            await end.write(data[start : start + size])
            start += size

    async def receive(end) -> None:
        got = hashlib.sha256()
        left = len(data)
        while left:
            piece = await end.read(min(left, 65_536))
            got.update(piece)
            left -= len(piece)
        assert got.digest() == hashlib.sha256(data).digest()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for end in ends:
                nursery.start_soon(send, end)
                nursery.start_soon(receive, end)


async def test_a_cancelled_read_loses_nothing(ends):
    alice, bob = ends
    for number in range(200):
        with trio.CancelScope() as scope:
            scope.cancel()
            await bob.receive()
        await alice.write(b"%03d" % number)
        assert await read_exactly(bob, 3) == b"%03d" % number


async def test_a_cancelled_write_is_ended_all_the_same(tcp):
    """Part of fault C5: a stock session breaks after a few of these."""
    alice, bob = await secured(tcp)
    piece = random.Random(1).randbytes(300_000)
    got = bytearray()

    async def read() -> None:
        while not got.endswith(b"end"):
            got.extend(await bob.read(65_536))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            for number in range(200):
                with trio.move_on_after(0.00001 * number):
                    await alice.write(piece)
            await alice.write(b"end")
    count, rest = divmod(len(got), len(piece))
    assert rest == 3, "each write was done whole, or not begun"
    assert count > 50
    assert got == piece * count + b"end"


async def test_a_torn_connection_takes_nothing_more(tcp):
    alice, _bob = await secured(tcp)
    with trio.move_on_after(0.05):
        while True:
            await alice.send(bytes(1_000_000))
    with pytest.raises(ConnectionClosedError, match="half-way"):
        await alice.send(b"x")
    with pytest.raises(ConnectionClosedError, match="half-way"):
        await alice.write(b"x")


async def test_a_peer_that_takes_nothing_does_not_hold_a_write_for_ever(autojump_clock):
    raws = memory_raws()
    alice, _bob = await secured(raws)

    async def stuck(_data: bytes) -> None:
        await trio.sleep_forever()

    raws[0].stream.write = stuck
    started = trio.current_time()
    with pytest.raises(ConnectionClosedError, match="takes nothing"):
        await alice.write(b"x")
    assert trio.current_time() - started == pytest.approx(WRITE_SECONDS)


async def test_the_end(ends):
    alice, bob = ends
    await alice.write(b"last")
    await alice.close()
    assert await bob.receive() == [b"last"]
    assert await bob.receive() == []
    with pytest.raises(ConnectionClosedError, match="ended"):
        await bob.read(1)


@pytest.mark.parametrize(
    ("octets", "code"),
    [(b"\x00\x10" + bytes(16), "bad_tag"), (b"\x00\x0f" + bytes(15), "short_message"), (b"\x00\x20abc", "cut_short")],
)
@pytest.mark.parametrize("reading", [False, True])
async def test_what_the_peer_may_not_send(octets, code, reading):
    raws = memory_raws()
    _alice, bob = await secured(raws)
    await raws[0].write(octets)
    await raws[0].close()
    if reading:
        with pytest.raises(ConnectionClosedError, match=code):
            await bob.read(1)
    else:
        with pytest.raises(RemoteProtocolError) as caught:
            await bob.receive()
        assert caught.value.code == code


async def test_addresses_are_those_of_the_transport(tcp):
    alice, _bob = await secured(tcp)
    ip, port = alice.get_remote_address()
    assert ip == "127.0.0.1"
    assert [str(address) for address in alice.get_transport_addresses()] == [f"/ip4/127.0.0.1/tcp/{port}"]
    assert alice.get_connection_type().name == "DIRECT"
    assert isinstance(alice._raw, RawConnection)
