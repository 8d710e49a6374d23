"""TCP connections, over loopback."""

import socket
from collections.abc import Iterator

import pytest
import trio
import trio.testing
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr

from nexusd.host.tcp import Tcp, TcpConnection

MANY = bytes(range(256)) * 40_000
"""Ten times what the kernel takes at once."""


@pytest.fixture
def pair() -> Iterator[tuple[TcpConnection, socket.socket]]:
    """Ours, and the other end as a plain socket that does not block either."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        sock, remote = server.accept()
    for end in (sock, theirs):
        end.setblocking(False)
    yield TcpConnection(sock, remote), theirs
    sock.close()
    theirs.close()


async def test_bytes_come_as_they_were_sent(pair):
    ours, theirs = pair
    theirs.sendall(b"hello")
    assert await ours.read(3) == b"hel"
    assert await ours.read() == b"lo"
    theirs.close()
    assert await ours.read(10) == b""
    assert await ours.read(10) == b"", "and so it stays"


async def test_a_read_waits_and_loses_nothing_when_it_is_cancelled(pair):
    ours, theirs = pair
    with trio.move_on_after(0.01) as scope:
        await ours.read(10)
    assert scope.cancelled_caught
    theirs.sendall(b"later")
    assert await ours.read(10) == b"later"


async def test_a_reader_lets_others_run_even_if_there_is_always_something_to_read(pair):
    ours, theirs = pair
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    theirs.sendall(b"x" * 100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(100):
            assert await ours.read(1) == b"x"
        nursery.cancel_scope.cancel()
    assert turns >= 50


async def test_what_was_read_before_comes_first_and_is_not_heard_again(pair):
    ours, theirs = pair
    heard: list[int] = []
    early = TcpConnection(ours._sock, ("127.0.0.1", 1), ahead=b"early", heard=lambda: heard.append(1))
    theirs.sendall(b"late")
    assert [await early.read(3), await early.read(3)] == [b"ear", b"ly"]
    assert heard == []
    assert await early.read(10) == b"late"
    assert heard == [1]


async def test_a_write_goes_out_whole_however_slow_the_other_end_reads(pair):
    ours, theirs = pair
    got = bytearray()

    async def drain() -> None:
        while len(got) < len(MANY):
            await trio.lowlevel.wait_readable(theirs)
            got.extend(theirs.recv(50_000))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain)
        await ours.write(MANY)
    assert got == MANY


async def test_a_write_that_the_kernel_takes_needs_no_turn(pair):
    ours, theirs = pair
    with trio.CancelScope() as scope:
        scope.cancel()
        await ours.write(b"said")
    assert not scope.cancelled_caught
    assert theirs.recv(10) == b"said"


async def test_a_write_that_waits_can_be_cancelled(pair):
    ours, _ = pair
    with trio.move_on_after(0.05) as scope:
        await ours.write(MANY)
    assert scope.cancelled_caught


async def test_a_reset_is_no_end(pair):
    ours, theirs = pair
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    with pytest.raises(ConnectionClosedError, match="lost"):
        await ours.read(10)
    with pytest.raises(ConnectionClosedError, match="lost"):
        await ours.write(b"anybody?")


async def test_closing_ends_whoever_reads_and_whoever_writes(pair):
    ours, _ = pair
    ends: list[object] = []

    async def read() -> None:
        ends.append(await ours.read(10))

    async def write() -> None:
        try:
            await ours.write(MANY)
        except ConnectionClosedError as error:
            ends.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        await ours.close()
        await ours.close()
    assert b"" in ends
    assert any(isinstance(end, ConnectionClosedError) for end in ends)
    assert await ours.read(10) == b""
    with pytest.raises(ConnectionClosedError, match="closed"):
        await ours.write(b"x")


async def test_dialling_gives_a_connection_that_knows_the_other_end():
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with listener:
        raw = await Tcp().dial(Multiaddr(f"/ip4/127.0.0.1/tcp/{port}"))
        theirs = await listener.accept()
    async with theirs:
        assert raw.is_initiator
        assert raw.get_remote_address() == ("127.0.0.1", port)
        await raw.write(b"hello")
        assert await theirs.receive_some(10) == b"hello"
        await theirs.send_all(b"hi")
        assert await raw.read(10) == b"hi"
        await raw.close()
        assert await theirs.receive_some(10) == b""


async def test_a_dial_that_fails_says_so():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(OpenConnectionError):
        await Tcp().dial(Multiaddr(f"/ip4/127.0.0.1/tcp/{port}"))
