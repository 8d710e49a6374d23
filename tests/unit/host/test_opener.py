"""Streams as they are opened: negotiated by our machines, or lazily where the peer is known to speak the protocol."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from libp2p.network.stream.exceptions import StreamEOF, StreamReset
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedStreamError

from nexusd.host.lazy_stream import LAZY_BYTES, LazyStream
from nexusd.host.ports import ConnectionLostError, HostError, UnsupportedError
from tests.harness.nodes import Bytes, connected, loopback, until
from tests.unit.host.conftest import TOY, dial_stock, raw_stream, running_stock

HEADER = b"\x13/multistream/1.0.0\n"
AGREED = HEADER + b"\x11/nexus/toy/1.0.0\n"
NA = b"\x03na\n"


def forget(node, peer) -> None:
    """As if nothing were known of what the peer speaks."""
    node._opener.learn(peer, ())


def told(node, peer, *protocols) -> None:
    """As if the peer had said that it speaks these."""
    node._opener.learn(peer, protocols)


def spoken(node, peer) -> set[str]:
    [connection] = node._opener._connections(peer)
    return connection.spoken


def streams_between(node, peer) -> int:
    """Open ones, on the one connection; those of GossipSub too."""
    [connection] = node._opener._connections(peer)
    return connection.session.streams


def serve_echo(node, protocol=TOY) -> list[str]:
    """Echo, and note each stream."""
    served = []

    async def echo(channel):
        served.append(channel.protocol)
        while (data := await channel.receive()) is not None:
            await channel.send(data)

    node.streams.handle(protocol, lambda _peer: Bytes(), echo)
    return served


class Theirs:
    """Bob's end of a stream, of which the first flight was read already."""

    def __init__(self, muxed, first: bytes) -> None:
        self.muxed = muxed
        self.first = first

    async def read(self, n: int) -> bytes:
        if self.first:
            data, self.first = self.first[:n], self.first[n:]
            return data
        return await self.muxed.read(n)

    def __getattr__(self, name):
        return getattr(self.muxed, name)


class Scripted:
    """Bob's muxer, answered by hand: what alice sends on each stream, and what she is told. Only the toy's streams:
    her DHT opens some too."""

    def __init__(self, alice, bob) -> None:
        self.streams: list = []
        [connection] = bob._opener._connections(alice.peer_id)
        self._came, self._take = trio.open_memory_channel(100)
        connection._serve = self._hold
        self._release = trio.Event()

    async def _hold(self, muxed) -> None:
        with suppress(MuxedStreamError):
            first = await muxed.read(1 << 20)
            if TOY.encode() in first:
                self.streams.append(muxed)
                await self._came.send(Theirs(muxed, first))
        await self._release.wait()

    async def next(self):
        with trio.fail_after(5):
            return await self._take.receive()


async def exactly(muxed, size: int) -> bytes:
    data = b""
    with trio.fail_after(5):
        while len(data) < size:
            data += await muxed.read(size - len(data))
    return data


@pytest.fixture
async def pair(pair):
    """Once the streams of GossipSub are open, so that they can be told from others: each has its own, with nothing to
    say on it yet."""
    alice, bob = pair
    await until(lambda: streams_between(alice, bob.peer_id) == streams_between(bob, alice.peer_id) == 1)
    return pair


@pytest.fixture
async def scripted(pair):
    alice, bob = pair
    serve_echo(bob)
    # bob's loop of acceptance reads the hook with each stream
    script = Scripted(alice, bob)
    yield alice, bob, script
    script._release.set()


async def test_what_is_not_known_is_asked_and_then_known(pair):
    alice, bob = pair
    serve_echo(bob)
    forget(alice, bob.peer_id)
    stream = await alice._opener.open(bob.peer_id, ["/no/such", TOY])
    assert not isinstance(stream, LazyStream)
    assert stream.get_protocol() == TOY
    assert spoken(alice, bob.peer_id) == {TOY}
    await stream.reset()
    stream = await alice._opener.open(bob.peer_id, [TOY])
    assert isinstance(stream, LazyStream)
    await stream.write(b"hello")
    assert await stream.read(10) == b"hello"
    await stream.reset()


async def test_of_several_the_peer_chooses_whatever_is_known(pair):
    """It may have a better one by now than the one that was heard of."""
    alice, bob = pair
    serve_echo(bob)
    bob._host.set_stream_handler("/nexus/toy/2.0.0", bob._host.get_mux().handlers[TOY])
    told(alice, bob.peer_id, TOY)
    stream = await alice._opener.open(bob.peer_id, ["/nexus/toy/2.0.0", TOY])
    assert not isinstance(stream, LazyStream)
    assert stream.get_protocol() == "/nexus/toy/2.0.0"
    await stream.reset()
    told(alice, bob.peer_id, "/nexus/toy/3.0.0")
    stream = await alice._opener.open(bob.peer_id, ["/nexus/toy/3.0.0", TOY])
    assert stream.get_protocol() == TOY, "and it may not have what it had"
    await stream.reset()


async def test_identify_tells_what_is_spoken(pair):
    alice, bob = pair
    serve_echo(bob)
    await until(lambda: TOY in spoken(alice, bob.peer_id))


async def test_none_of_them_is_spoken(pair):
    alice, bob = pair
    before = streams_between(alice, bob.peer_id)
    with pytest.raises(UnsupportedError, match="does not speak /no/such or /nor/this"):
        await alice._opener.open(bob.peer_id, ["/no/such", "/nor/this"])
    await until(lambda: streams_between(alice, bob.peer_id) <= before)


async def test_proposal_and_data_are_one_flight(scripted):
    alice, bob, script = scripted
    told(alice, bob.peer_id, TOY)
    stream = await alice._opener.open(bob.peer_id, [TOY])
    await stream.write(b"hello")
    theirs = await script.next()
    assert await theirs.read(1000) == AGREED + b"hello"
    await stream.write(b" and more")
    assert await theirs.read(1000) == b" and more"
    await theirs.write(AGREED + b"an answer")
    assert await stream.read(100) == b"an answer"
    await stream.reset()


async def test_who_only_reads_proposes_too(scripted):
    alice, bob, script = scripted
    told(alice, bob.peer_id, TOY)
    stream = await alice._opener.open(bob.peer_id, [TOY])
    async with trio.open_nursery() as nursery:

        async def answer():
            theirs = await script.next()
            assert await exactly(theirs, len(AGREED)) == AGREED
            await theirs.write(AGREED[:7])
            await trio.testing.wait_all_tasks_blocked(0.01)
            await theirs.write(AGREED[7:] + b"first")

        nursery.start_soon(answer)
        assert await stream.read(3) == b"fir"
        assert await stream.read(3) == b"st"
    await stream.reset()


async def test_a_refusal_is_answered_by_saying_it_again_once(scripted):
    alice, bob, script = scripted
    told(alice, bob.peer_id, TOY)
    stream = await alice._opener.open(bob.peer_id, [TOY], replayable=True)
    await stream.write(b"hello")
    await stream.write(b" bob")
    await stream.close_write()
    first = await script.next()
    assert await exactly(first, len(AGREED) + 9) == AGREED + b"hello bob"
    await first.write(HEADER + NA)
    async with trio.open_nursery() as nursery:

        async def answer():
            second = await script.next()
            assert await exactly(second, len(AGREED)) == AGREED  # she asks
            await second.write(AGREED)
            assert await exactly(second, 9) == b"hello bob"
            with pytest.raises(Exception, match="said all"):
                await second.read(1)
            await second.write(b"welcome")
            await second.close()

        nursery.start_soon(answer)
        with trio.fail_after(5):
            assert await stream.read(100) == b"welcome"
            with pytest.raises(StreamEOF):
                await stream.read(1)
    assert len(script.streams) == 2
    assert first.is_closed or first.reset_by


async def test_a_second_refusal_is_for_the_caller(scripted):
    alice, bob, script = scripted
    told(alice, bob.peer_id, TOY)
    stream = await alice._opener.open(bob.peer_id, [TOY], replayable=True)
    await stream.write(b"hello")
    await (await script.next()).write(HEADER + NA)
    async with trio.open_nursery() as nursery:

        async def refuse():
            await (await script.next()).write(HEADER + NA)

        nursery.start_soon(refuse)
        with trio.fail_after(5), pytest.raises(UnsupportedError):
            await stream.read(100)
    with pytest.raises(UnsupportedError):
        await stream.read(100)
    assert TOY not in spoken(alice, bob.peer_id)
    assert len(script.streams) == 2
    await stream.reset()


@pytest.mark.parametrize("ended", [True, False])
async def test_what_must_not_be_said_twice_is_not(scripted, ended):
    alice, bob, script = scripted
    told(alice, bob.peer_id, TOY)
    stream = await alice._opener.open(bob.peer_id, [TOY])
    assert isinstance(stream, LazyStream), "and takes no longer"
    await stream.write(b"pay carol")
    if ended:
        await stream.close_write()
    theirs = await script.next()
    assert await exactly(theirs, len(AGREED) + 9) == AGREED + b"pay carol"
    await theirs.write(HEADER + NA)
    for _ in range(2):
        with trio.fail_after(5), pytest.raises(UnsupportedError, match=f"does not speak {TOY}"):
            await stream.read(100)
    if not ended:
        with pytest.raises(UnsupportedError):
            await stream.write(b" more")
    await until(lambda: theirs.reset_by == "peer")
    assert len(script.streams) == 1
    assert TOY not in spoken(alice, bob.peer_id), "the next stream is asked for"
    await stream.reset()


async def test_what_breaks_before_the_answer_is_not_said_again(scripted):
    alice, bob, script = scripted
    told(alice, bob.peer_id, TOY)
    stream = await alice._opener.open(bob.peer_id, [TOY], replayable=True)
    await stream.write(b"once")
    theirs = await script.next()
    await theirs.reset()
    with trio.fail_after(5), pytest.raises(StreamReset):
        await stream.read(100)
    await trio.testing.wait_all_tasks_blocked(0.02)
    assert len(script.streams) == 1


async def test_nonsense_for_an_answer(scripted):
    alice, bob, script = scripted
    told(alice, bob.peer_id, TOY)
    stream = await alice._opener.open(bob.peer_id, [TOY])
    await stream.write(b"once")
    await (await script.next()).write(HEADER + b"\x04/no\n")
    with trio.fail_after(5), pytest.raises(ConnectionLostError, match="nonsense"):
        await stream.read(100)
    await stream.reset()
    assert alice._accounts.balance(bob.peer_id, trio.current_time()) == pytest.approx(10, abs=0.1), "and it costs"
    assert len(script.streams) == 1


async def test_more_than_is_kept_waits_for_the_answer(scripted):
    alice, bob, script = scripted
    told(alice, bob.peer_id, TOY)
    stream = await alice._opener.open(bob.peer_id, [TOY])
    piece = bytes(LAZY_BYTES // 2)
    await stream.write(piece)
    await stream.write(piece)
    written = trio.Event()

    async def write():
        await stream.write(b"!")
        written.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        theirs = await script.next()
        assert len(await exactly(theirs, len(AGREED) + LAZY_BYTES)) == len(AGREED) + LAZY_BYTES
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert not written.is_set()
        await theirs.write(AGREED)
        assert await exactly(theirs, 1) == b"!"
        assert written.is_set()
    assert not stream._said
    await stream.reset()


async def test_who_gives_up_while_it_is_said_again_leaves_nothing(scripted):
    alice, bob, script = scripted
    told(alice, bob.peer_id, TOY)
    stream = await alice._opener.open(bob.peer_id, [TOY], replayable=True)
    await stream.write(b"hello")
    await (await script.next()).write(HEADER + NA)
    with trio.move_on_after(0.05):
        await stream.read(1)
    second = await script.next()
    await stream.reset()
    await second.write(AGREED)
    await until(lambda: second.reset_by == "peer")
    assert await second_read(second) in (AGREED, b"")


async def second_read(muxed) -> bytes:
    try:
        return await muxed.read(1000)
    except Exception:
        return b""


async def test_a_cancelled_negotiation_leaves_no_stream(scripted):
    alice, bob, script = scripted
    forget(alice, bob.peer_id)
    before = streams_between(alice, bob.peer_id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(alice._opener.open, bob.peer_id, [TOY])
        theirs = await script.next()
        nursery.cancel_scope.cancel()
    await until(lambda: theirs.reset_by == "peer")
    await until(lambda: streams_between(alice, bob.peer_id) <= before)


@pytest.mark.parametrize("answer", [b"", HEADER, HEADER + b"\x11/nexus/toy/9.9.9\n", b"\xff\xff\xff"])
async def test_a_stream_that_ends_or_errs_before_the_answer(scripted, answer):
    alice, bob, script = scripted
    forget(alice, bob.peer_id)
    before = streams_between(alice, bob.peer_id)
    async with trio.open_nursery() as nursery:

        async def refuse():
            theirs = await script.next()
            if answer:
                await theirs.write(answer)
            await theirs.close_write()

        nursery.start_soon(refuse)
        with trio.fail_after(5), pytest.raises(HostError):
            await alice._opener.open(bob.peer_id, [TOY])
    await until(lambda: streams_between(alice, bob.peer_id) <= before)


async def test_stock_peers_are_asked_and_told_lazily(pair):
    """py-libp2p's own listener takes both in one flight."""
    alice, _bob = pair
    async with running_stock("carol") as carol:

        async def echo(stream):
            await stream.write(await stream.read(100))
            await stream.close()

        carol.set_stream_handler(TOY, echo)
        await dial_stock(carol, alice)
        peer = str(carol.get_id())
        await until(lambda: peer in alice.connected())
        for known in (False, True):
            told(alice, peer, *([TOY] if known else []))
            stream = await alice._opener.open(peer, [TOY])
            assert isinstance(stream, LazyStream) is known
            await stream.write(b"hello")
            with trio.fail_after(5):
                assert await stream.read(100) == b"hello"
            await stream.reset()


async def test_a_stock_peer_opens_here_in_any_pieces(pair):
    _alice, bob = pair
    serve_echo(bob)
    async with running_stock("mallory") as mallory:
        await dial_stock(mallory, bob)
        stream = await raw_stream(mallory, bob.peer_id)
        for octet in AGREED + b"hello":
            await stream.write(bytes([octet]))
        assert await exactly(stream, len(AGREED) + 5) == AGREED + b"hello"
        stream = await raw_stream(mallory, bob.peer_id)
        await stream.write(HEADER + b"\x08/no/way\n\x03ls\n")
        said = await exactly(stream, len(HEADER) + len(NA) + 2)
        assert said.startswith(HEADER + NA)
        await stream.reset()


async def test_the_host_of_py_libp2p_opens_its_streams_here(pair):
    alice, bob = pair
    serve_echo(bob)
    stream = await alice._host.new_stream(ID.from_string(bob.peer_id), ["/no/such", TOY])
    assert stream.get_protocol() == TOY
    await stream.write(b"x")
    assert await stream.read(10) == b"x"
    await stream.reset()
    with pytest.raises(Exception, match="failed to open a stream"):
        await alice._host.new_stream(ID.from_string(bob.peer_id), ["/no/such"])


async def test_a_channel_that_the_peer_refuses_says_so():
    async with loopback("alice", "bob") as (alice, bob):
        await connected(alice, bob)
        told(alice, bob.peer_id, TOY)
        async with await alice.streams.open(bob.peer_id, [TOY], lambda _protocol: Bytes()) as channel:
            await channel.send(b"hello")
            with pytest.raises(UnsupportedError):
                await channel.receive(timeout=5)
            with pytest.raises(ConnectionLostError):
                await channel.send(b"more")
        with pytest.raises(UnsupportedError):
            await alice.streams.open(bob.peer_id, [TOY], lambda _protocol: Bytes())
