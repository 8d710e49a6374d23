"""Streams between a node of ours and one of another implementation: bulk, many, half-closed, reset, not read."""

from __future__ import annotations

import base64
import json

import pytest
import trio

from nexusd.host.ports import ConnectionLostError
from nexusd.host.slots import StreamSlots
from nexusd_protocols import limits
from nexusd_protocols.yamux import session
from nexusd_protocols.yamux.bounds import Bounds
from nexusd_protocols.yamux.frames import DATA, HEADER_BYTES, unpack_header
from tests.harness.contents import BREAK, ECHO, HOLD, SINK, SOURCE, digest, pieces, send_content, text
from tests.harness.foreign import ForeignPeer
from tests.harness.nodes import until
from tests.interop.foreign import BULK, Dialler, Transport, meeting

MANY = 1000
AT_LEAST = 4096
SLOW = 12_000_000
"""More than js grants itself to hold unread, and than our windows grow to."""

transports = pytest.mark.parametrize("transport", ["tcp", "websocket"])
diallers = pytest.mark.parametrize("dialler", ["we", "they"])


@transports
@diallers
async def test_bulk_both_ways(bob: ForeignPeer, transport: Transport, dialler: Dialler) -> None:
    wanted = digest(BULK)
    async with meeting(bob, f"bulk {transport} {dialler}", transport, dialler) as alice:
        me = alice.node.peer_id
        with trio.fail_after(100):
            if dialler == "we":
                assert await alice.upload(bob.peer_id, BULK) == (wanted, wanted)
                assert await alice.fetch(bob.peer_id, BULK) == wanted
            else:
                sent = await bob.ask("upload", 90, peer=me, protocol=SINK, bytes=BULK)
                assert json.loads(sent.pop("answer")) == sent == wanted
                assert await bob.ask("fetch", 90, peer=me, protocol=SOURCE, bytes=BULK) == wanted


async def test_both_ways_at_once(bob: ForeignPeer) -> None:
    wanted = digest(BULK // 4)
    heard = []
    async with meeting(bob, "duplex") as alice, trio.open_nursery() as nursery:

        async def ours() -> None:
            heard.extend(await alice.upload(bob.peer_id, BULK // 4))

        async def theirs() -> None:
            sent = await bob.ask("upload", 60, peer=alice.node.peer_id, protocol=SINK, bytes=BULK // 4)
            heard.append(json.loads(sent["answer"]))

        nursery.start_soon(ours)
        nursery.start_soon(theirs)
    assert heard == [wanted] * 3


async def test_frames_are_as_large_as_the_window_allows(bob: ForeignPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    """js fills what it was granted; go splits. Ours must take either."""
    largest = 0

    def unpack(*args):
        nonlocal largest
        header = unpack_header(*args)
        if header[0] == DATA:
            largest = max(largest, header[3])
        return header

    monkeypatch.setattr(session, "unpack_header", unpack)
    async with meeting(bob, "large frames") as alice:
        size = 8 * limits.MIB
        line = base64.b64encode(b"x" * size).decode()
        answer = await bob.ask("stream", 60, peer=alice.node.peer_id, protocol=SINK, base64=[line])
        assert json.loads(answer["text"])["bytes"] == size
    assert largest >= (limits.NOISE_MESSAGE_BYTES if bob.name == "js" else 16 * limits.KIB)


@diallers
async def test_a_thousand_streams_at_once(bob: ForeignPeer, dialler: Dialler) -> None:
    slots = StreamSlots(per_peer=AT_LEAST, per_protocol=AT_LEAST, outbound=AT_LEAST)
    # js opens all at once; go wants no more than 256 that it has not acknowledged
    backlog = AT_LEAST if dialler == "they" else limits.YAMUX_BACKLOG
    bounds = Bounds(inbound_streams=AT_LEAST, outbound_streams=AT_LEAST, backlog=backlog)
    async with meeting(bob, f"many {dialler}", dialler=dialler, slots=slots, bounds=bounds) as alice:
        with trio.fail_after(100):
            if dialler == "they":
                done = await bob.ask("many", 90, peer=alice.node.peer_id, protocol=ECHO, count=MANY)
                assert done == {"count": MANY}
            else:
                await many(alice, bob)
        assert slots.refused == 0
        await until(lambda: not [key for key in (*slots._outbound, *slots._inbound_by_protocol) if ECHO in key])


async def many(alice, bob: ForeignPeer) -> None:
    echoed = 0
    all_echoed = trio.Event()

    async def one(number: int) -> None:
        nonlocal echoed
        word = str(number).encode()
        async with await alice.open(bob.peer_id, ECHO) as channel:
            await channel.send(word)
            heard = b""
            while len(heard) < len(word):
                heard += await channel.receive() or pytest.fail("ended early")
            assert heard == word
            echoed += 1
            if echoed == MANY:
                all_echoed.set()
            await all_echoed.wait()
            await channel.close_write()
            assert await channel.receive() is None

    async with trio.open_nursery() as nursery:
        for number in range(MANY):
            nursery.start_soon(one, number)


async def test_a_half_close_ends_one_direction(bob: ForeignPeer) -> None:
    async with meeting(bob, "half-close") as alice:
        with trio.fail_after(30):
            async with await alice.open(bob.peer_id, ECHO) as channel:
                await channel.send(b"question")
                await channel.close_write()
                assert await text(channel) == "question"
            words = [base64.b64encode(word).decode() for word in (b"one ", b"two ", b"three")]
            answer = await bob.ask("stream", peer=alice.node.peer_id, protocol=ECHO, base64=words)
            assert (answer["text"], answer["reset"], answer["open"]) == ("one two three", False, False)
            # nothing said at all is an end too
            answer = await bob.ask("stream", peer=alice.node.peer_id, protocol=SINK, base64=[])
            assert json.loads(answer["text"])["bytes"] == 0
            async with await alice.open(bob.peer_id, SINK) as channel:
                await channel.close_write()
                assert json.loads(await text(channel))["bytes"] == 0


@pytest.mark.parametrize("size", [1000, 200_000])
async def test_their_reset_is_never_a_clean_end(bob: ForeignPeer, size: int) -> None:
    """Also when it has come before anything was read."""
    async with meeting(bob, f"their reset {size}") as alice:
        async with await alice.open(bob.peer_id, BREAK) as channel:
            await channel.send(str(size).encode())
            await channel.close_write()
            muxed = channel._stream.muxed_stream
            await until(lambda: muxed.reset_by)
            assert muxed.reset_by == "peer"
            with trio.fail_after(10), pytest.raises(ConnectionLostError):
                async for _ in pieces(channel):
                    pass
        word = base64.b64encode(b"word").decode()
        await bob.ask("stream", peer=alice.node.peer_id, protocol=ECHO, base64=[word], hear=4, end="reset")
        await until(lambda: alice.broke)
        assert [type(error) for error in alice.broke] == [ConnectionLostError]


async def test_our_reset_is_never_a_clean_end(bob: ForeignPeer) -> None:
    async with meeting(bob, "our reset") as alice:
        since = bob.mark()
        channel = await alice.open(bob.peer_id, ECHO)
        await channel.send(b"word")
        assert await channel.receive() == b"word"
        await channel.reset()
        broke = await bob.hear("streamBroke", lambda event: event["peer"] == alice.node.peer_id, since=since)
        assert broke["reset"] is True
        count = base64.b64encode(b"1000").decode()
        answer = await bob.ask("stream", peer=alice.node.peer_id, protocol=BREAK, base64=[count])
        assert (answer["reset"], answer["open"]) == (True, False)


@pytest.mark.parametrize("rest_after", [0, 6_000_000])
async def test_we_read_late(bob: ForeignPeer, rest_after: int) -> None:
    """They wait, and nothing is lost; other streams go on meanwhile."""
    async with meeting(bob, f"we read late {rest_after}") as alice:
        alice.rest_after = rest_after
        answers = []

        async def upload() -> None:
            answers.append(await bob.ask("upload", 60, peer=alice.node.peer_id, protocol=HOLD, bytes=SLOW))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload)
            with trio.fail_after(60):
                await alice.holding.wait()
                muxed = alice.held[0]._stream.muxed_stream
                window = muxed._stream.window
                # they have sent all that they may, but for the size of a header that js keeps back
                await until(lambda: window.available <= HEADER_BYTES, 20)
                assert muxed.muxed_conn.session.budget.held <= limits.YAMUX_WINDOW_BYTES
                await still_speaks(alice, bob)
                assert window.available <= HEADER_BYTES
                assert not answers
                alice.released.set()
        assert json.loads(answers[0]["answer"]) == digest(SLOW)


async def test_they_read_late(bob: ForeignPeer) -> None:
    """We wait, and nothing is lost; other streams go on meanwhile."""
    async with meeting(bob, "they read late") as alice:
        since = bob.mark()
        sent = []
        with trio.fail_after(90):
            async with await alice.open(bob.peer_id, HOLD) as channel:

                async def send() -> None:
                    sent.append(await send_content(channel, SLOW))
                    await channel.close_write()

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send)
                    await bob.hear("holding", lambda event: event["peer"] == alice.node.peer_id, since=since)
                    await still_speaks(alice, bob)
                    assert not sent
                    await bob.ask("release")
                assert json.loads(await text(channel)) == sent[0] == digest(SLOW)


async def still_speaks(alice, bob: ForeignPeer) -> None:
    """Another stream of the same connection, in both directions."""
    assert await alice.fetch(bob.peer_id, 1_000_000) == digest(1_000_000)
    wanted = digest(1_000_000)
    assert await bob.ask("fetch", peer=alice.node.peer_id, protocol=SOURCE, bytes=1_000_000) == wanted
