"""Bytes through a WebSocket, and what a hostile end may do to it."""

from __future__ import annotations

import random
import struct
from contextlib import asynccontextmanager

import pytest
import trio
from libp2p.io.exceptions import ConnectionClosedError
from trio.testing import memory_stream_pair
from websockets.frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, Frame

from nexusd.host import websocket_connection
from nexusd.host.websocket_connection import FrameCredit, HandshakeError, WebSocketConnection, accept, connect
from nexusd_protocols.errors import FLOOD, RemoteProtocolError

REMOTE = ("192.0.2.1", 4001)
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def open_pair() -> tuple[WebSocketConnection, WebSocketConnection]:
    """alice dialled bob."""
    ends: list = [None, None]
    near, far = memory_stream_pair()

    async def listen():
        ends[1] = await accept(far, REMOTE)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        ends[0] = await connect(near, "bob", 80, secure=False, remote=REMOTE)
    return ends[0], ends[1]


@asynccontextmanager
async def pair():
    ends = await open_pair()
    yield ends
    async with trio.open_nursery() as nursery:
        for end in ends:
            nursery.start_soon(end.close)


@asynccontextmanager
async def mallory():
    """A raw stream whose handshake is done, and bob, who accepted it."""
    raw, far = memory_stream_pair()
    await raw.send_all(REQUEST)
    bob = await accept(far, REMOTE)
    assert (await raw.receive_some(4096)).startswith(b"HTTP/1.1 101 ")
    with trio.fail_after(60):
        yield raw, bob
        await trio.aclose_forcefully(raw)
        await bob.close()


def masked(opcode, data: bytes = b"", fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


async def read_all(end, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await end.read(65_536)
        assert more
        data += more
    return data


async def test_bytes_both_ways_whatever_the_pieces(autojump_clock):
    choose = random.Random(5)
    async with pair() as (alice, bob):
        data = choose.randbytes(700_000)

        async def send(end):
            start = 0
            while start < len(data):
                size = choose.choice((1, 2, 125, 126, 65_535, 65_536, 131_070))
                await end.write(data[start : start + size])
                start += size

        async def receive(end):
            got = bytearray()
            while len(got) < len(data):
                limit = choose.choice((None, 1, 2, 100, 65_537))
                more = await end.read(limit)
                assert 0 < len(more) <= (limit or len(data))
                got += more
            assert bytes(got) == data

        async with trio.open_nursery() as nursery:
            for task in (send, receive):
                nursery.start_soon(task, alice)
                nursery.start_soon(task, bob)


async def test_small_messages_are_read_together(autojump_clock):
    async with pair() as (alice, bob):
        await alice.write(b"ab")
        await alice.write(b"cdefg")
        assert await bob.read(3) == b"ab"
        assert await bob.read(4) == b"cdef"
        assert await bob.read(100) == b"g"
        await alice.write(b"ab")
        await alice.write(b"cd")
        assert await bob.read(100) == b"abcd"
        assert await bob.read(0) == b""


async def test_a_read_that_is_cancelled_loses_nothing(autojump_clock):
    async with pair() as (alice, bob):
        with trio.move_on_after(1):
            await bob.read(10)
        await alice.write(b"hello")
        assert await bob.read(10) == b"hello"


async def test_close_says_goodbye_and_the_other_end_reads_what_was_sent(autojump_clock):
    async with pair() as (alice, bob):
        await alice.write(b"last words")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.close)
            assert await bob.read(100) == b"last words"
            assert await bob.read(100) == b""
        started = trio.current_time()
        await alice.close()
        await bob.close()
        assert trio.current_time() == started
        with pytest.raises(ConnectionClosedError):
            await bob.write(b"too late")
        assert await bob.read(1) == b""


async def test_close_does_not_wait_for_long_and_closes_even_if_cancelled(autojump_clock):
    alice, bob = await open_pair()
    started = trio.current_time()
    await alice.close()  # bob does not read
    assert trio.current_time() - started == websocket_connection.CLOSE_SECONDS
    assert await bob.read(10) == b""
    await bob.close()
    alice, bob = await open_pair()
    with trio.CancelScope() as scope:
        scope.cancel()
        await alice.close()
    with pytest.raises(trio.ClosedResourceError):
        await alice._stream.receive_some(1)
    await bob.close()


async def test_a_reader_ends_when_its_own_side_closes(autojump_clock):
    async with pair() as (alice, _bob), trio.open_nursery() as nursery:

        async def reader():
            assert await alice.read(10) == b""

        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        await alice.close()


async def test_a_lost_connection(autojump_clock):
    alice, bob = await open_pair()
    await trio.aclose_forcefully(bob._stream)
    assert await alice.read(10) == b""
    with pytest.raises(ConnectionClosedError):
        await alice.write(b"x")
    await alice.close()


async def test_a_ping_is_answered_also_beside_a_writer(autojump_clock):
    async with mallory() as (raw, bob), trio.open_nursery() as nursery:
        nursery.start_soon(bob.read, 10)
        await raw.send_all(masked(PING, b"are you there"))
        assert await raw.receive_some(100) == Frame(PONG, b"are you there").serialize(mask=False)
        async with bob._sending:  # a write is under way
            await raw.send_all(b"".join(masked(PING, bytes([n])) for n in range(100)))
            await trio.testing.wait_all_tasks_blocked()
            assert len(bob._protocol.writes) <= websocket_connection.PONGS
        await bob.write(b"hi")
        answer = await raw.receive_some(4096)
        assert answer.endswith(Frame(BINARY, b"hi").serialize(mask=False))
        assert Frame(PONG, bytes([99])).serialize(mask=False) in answer
        await raw.send_all(masked(BINARY, b"x"))


async def test_a_pong_that_nobody_takes_ends_the_connection(autojump_clock):
    async with mallory() as (raw, bob):

        async def full(_data):
            await trio.sleep_forever()

        bob._stream.send_all = full
        await raw.send_all(masked(PING))
        with pytest.raises(ConnectionClosedError, match="takes nothing"):
            await bob.read(10)
        with pytest.raises(ConnectionClosedError):
            await bob.write(b"torn")


async def test_a_write_that_is_cancelled_leaves_nothing_to_build_on(autojump_clock):
    async with pair() as (alice, _bob):

        async def full(_data):
            await trio.sleep_forever()

        alice._stream.send_all = full
        with trio.move_on_after(1):
            await alice.write(b"half")
        with pytest.raises(ConnectionClosedError):
            await alice.write(b"more")


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (masked(TEXT, b"hello"), "websocket_text"),
        (Frame(BINARY, b"bare").serialize(mask=False), "websocket_frame"),
        (masked(CONT, b"of nothing"), "websocket_frame"),
        (masked(BINARY, b"a", fin=False) + masked(BINARY, b"b"), "websocket_frame"),
        (b"\xc2\x80\0\0\0\0", "websocket_frame"),  # a reserved bit
        (b"\x83\x80\0\0\0\0", "websocket_frame"),  # a reserved opcode
        (b"\x09\x80\0\0\0\0", "websocket_frame"),  # a ping in pieces
        (b"\x89\xfe\0\x7e\0\0\0\0" + bytes(126), "websocket_frame"),  # a ping too long
        (b"\x88\x81\0\0\0\0\0", "websocket_frame"),  # half a close code
        (b"\x82\xff" + struct.pack("!Q", 1 << 20 | 1) + bytes(4), "websocket_frame"),
        (b"\x82\xff" + struct.pack("!Q", 1 << 63) + bytes(4), "websocket_frame"),
        (masked(BINARY, bytes(600_000), fin=False) + masked(CONT, bytes(600_000)), "websocket_frame"),
        (masked(BINARY) * 5000, "websocket_flood"),
        (masked(BINARY, b"", fin=False) + masked(CONT, b"", fin=False) * 5000, "websocket_flood"),
        (masked(PING) * 5000, "websocket_flood"),
        (masked(PONG) * 5000, "websocket_flood"),
        (masked(BINARY, b"x") * 5000, "websocket_flood"),
    ],
    ids=lambda value: None if isinstance(value, str) else "",  # the masks are chosen anew by every process of the tests
)
async def test_what_no_honest_end_sends(wire, code, autojump_clock):
    async with mallory() as (raw, bob), trio.open_nursery() as nursery:
        answers = bytearray()

        async def collect():
            while data := await raw.receive_some(65_536):
                answers.extend(data)

        async def send():
            await raw.send_all(masked(BINARY, b"honest") + wire)

        nursery.start_soon(collect)
        nursery.start_soon(send)
        assert await bob.read(6) == b"honest"
        with pytest.raises(RemoteProtocolError) as caught:
            await read_all(bob, 10_000_000)
        assert caught.value.code == code
        assert caught.value.penalty == (FLOOD if code == "websocket_flood" else 10)
        with pytest.raises(RemoteProtocolError):
            await bob.read(1)
        with pytest.raises(ConnectionClosedError):
            await bob.write(b"x")
        await bob.close()
        assert b"\x88" in answers  # a goodbye with a reason
    assert len(bob._protocol.reader.buffer) == 0


async def test_a_storm_of_goodbyes(autojump_clock):
    async with mallory() as (raw, bob):
        await raw.send_all(masked(CLOSE, b"\x03\xe8") * 1000)
        assert await bob.read(10) == b""
        await raw.send_all(masked(BINARY, b"after"))
        assert await bob.read(10) == b""


def test_credit():
    credit = FrameCredit(0.0)
    assert all(credit.take(0, 0.0) for _ in range(4096))
    assert not credit.take(0, 0.0)
    assert credit.take(0, 1.0)
    credit = FrameCredit(0.0)
    for _ in range(100_000):  # js-libp2p: a length, then the smallest message that carries anything
        assert credit.take(2, 0.0)
        assert credit.take(30, 0.0)


@pytest.mark.parametrize(
    "opening",
    [
        b"GET / HTTP/1.1\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: b\r\n\r\n",
        REQUEST.replace(b"13", b"12"),
        REQUEST.replace(b"AAAA", b"!!!!"),
        REQUEST.replace(b"1.1", b"1.0"),
        REQUEST.replace(b"\r\n\r\n", b"\r\nContent-Length: 7\r\n\r\n"),
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"GET " + b"/" * 9000 + b" HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 9000 + b"\r\n",
        b"x" * 20_000,
        b"GET / HTTP/1.1\r\n" + (b"A: " + b"b" * 4000 + b"\r\n") * 5,
        b"GET / HTTP/1.1\r\n",
        REQUEST + masked(BINARY, b"too early"),
    ],
)
async def test_what_is_no_request(opening, autojump_clock):
    raw, far = memory_stream_pair()
    await raw.send_all(opening)
    await raw.send_stream.aclose()
    with pytest.raises(HandshakeError), trio.fail_after(1):
        await accept(far, REMOTE)
    await trio.aclose_forcefully(far)
    answer = await raw.receive_some(10_000)
    assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505"))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP status 404"),
        (b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "does not speak WebSocket"),
        (b"\x13/multistream/1.0.0\n", "does not speak WebSocket"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(20_000), "too long"),
        (b"HTTP/1.1 101", "in the midst"),
    ],
)
async def test_what_is_no_answer(answer, reason, autojump_clock):
    raw, near = memory_stream_pair()
    await raw.send_all(answer)
    await raw.send_stream.aclose()
    with pytest.raises(HandshakeError, match=reason):
        await connect(near, "bob", 80, secure=False, remote=REMOTE)


async def test_what_comes_right_behind_the_answer_is_not_lost(autojump_clock):
    near, far = memory_stream_pair()

    async def listen():
        request = await far.receive_some(4096)
        assert request.startswith(b"GET / HTTP/1.1\r\nHost: bob:4001\r\n")
        assert b"Sec-WebSocket-Extensions" not in request
        from websockets.http11 import Request
        from websockets.server import ServerProtocol

        server = ServerProtocol()
        server.receive_data(request)
        (event,) = server.events_received()
        assert isinstance(event, Request)
        server.send_response(server.accept(event))
        server.send_binary(b"first")
        await far.send_all(b"".join(server.data_to_send()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        alice = await connect(near, "bob", 4001, secure=False, remote=REMOTE)
    assert await alice.read(100) == b"first"
    assert alice.get_remote_address() == REMOTE
    await trio.aclose_forcefully(far)
    await alice.close()
