"""Yamux with tasks round it: what streams promise while all is well, and resets."""

from __future__ import annotations

import hashlib
import random

import pytest
import trio
import trio.testing
from libp2p.stream_muxer.exceptions import (
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamError,
    MuxedStreamReset,
)

from nexusd.host import lingering
from nexusd_protocols import limits
from nexusd_protocols.yamux.frames import HEADER_BYTES
from tests.harness.muxed import (
    Side,
    echo_all,
    half_close,
    half_muxed,
    memory_raws,
    muxed,
    nothing_left,
    read_all,
    read_exactly,
    still_works,
    talk,
)
from tests.harness.nodes import until
from tests.harness.yamux import ACK, DATA, PING, RST, SYN, WINDOW, data, frames, window

MEMORY, TCP = "memory", "tcp"


# --- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("carrier", [MEMORY, TCP])
@pytest.mark.parametrize(
    "stock", [(False, False), (True, False), (False, True)], ids=["ours", "stock dials", "we dial"]
)
@pytest.mark.parametrize(
    ("size", "total"),
    [
        (1, 1_000),
        (700, 300_000),
        (65_536, 1_500_000),
        pytest.param(65_536, 6_000_000, marks=pytest.mark.slow),
        pytest.param(2_000_000, 6_000_000, marks=pytest.mark.slow),
    ],
)
async def test_bulk_both_ways(tcp, carrier, stock, size, total):
    content = random.Random(size).randbytes(total)
    digest = hashlib.sha256(content).hexdigest()

    async def send(stream) -> None:
        for start in range(0, total, size):
            await stream.write(content[start : start + size])
        await half_close(stream)

    async def receive(stream) -> None:
        assert hashlib.sha256(await read_all(stream)).hexdigest() == digest

    async def exchange(stream) -> None:
        async with trio.open_nursery() as both:
            both.start_soon(send, stream)
            both.start_soon(receive, stream)

    raws = memory_raws() if carrier == MEMORY else tcp
    async with muxed(raws, Side(stock[0]), Side(stock[1])) as (alice, bob):
        with trio.fail_after(30):
            mine = await alice.open_stream()
            await mine.write(b"")  # stock announces a stream at once, ours with its first word
            async with trio.open_nursery() as nursery:
                nursery.start_soon(exchange, mine)
                nursery.start_soon(exchange, await bob.accept_stream())


@pytest.mark.parametrize(
    "stock", [(False, False), (True, False), (False, True)], ids=["ours", "stock dials", "we dial"]
)
async def test_a_half_close_ends_one_direction(stock):
    async with muxed(None, Side(stock[0]), Side(stock[1])) as (alice, bob):
        mine, theirs = await talk(alice, bob)
        await mine.write(b"question")
        await half_close(mine)
        assert await read_all(theirs) == b"question"
        with pytest.raises(MuxedStreamError):
            await mine.write(b"more")
        await theirs.write(b"answer")
        await half_close(theirs)
        assert await read_all(mine) == b"answer"
        with pytest.raises(MuxedStreamEOF):
            await mine.read(1)
        ours = [conn for conn, is_stock in zip((alice, bob), stock, strict=True) if not is_stock]
        await until(lambda: nothing_left(*ours))


async def test_two_writers_take_turns(joined):
    alice, bob = joined
    mine, theirs = await talk(alice, bob)
    pieces = [bytes([number]) * 400_000 for number in range(4)]
    got = bytearray()

    async def read() -> None:
        while len(got) < 1_600_000:
            got.extend(await theirs.read(65_536))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for piece in pieces:
            nursery.start_soon(mine.write, piece)
    assert sorted(bytes(got[start : start + 400_000]) for start in range(0, 1_600_000, 400_000)) == pieces


async def test_what_waits_goes_out_in_one_write(joined):
    alice, bob = joined
    mine, theirs = await talk(alice, bob)
    await trio.testing.wait_all_tasks_blocked()
    sent = []
    send = alice.secured_conn.send

    async def count(*texts) -> None:
        sent.append(texts)
        await send(*texts)

    alice.secured_conn.send = count
    for number in range(20):
        await mine.write(b"%02d" % number)
    await read_exactly(theirs, 40)
    assert len(sent) == 1
    assert len(sent[0]) == 1, "one Noise message"


async def test_300_streams_at_once(joined):
    alice, bob = joined
    done = 0

    async def one(number: int) -> None:
        nonlocal done
        stream = await alice.open_stream()
        content = b"%d" % number * 500
        await stream.write(content)
        await stream.close_write()
        assert await read_all(stream) == content
        done += 1

    async with trio.open_nursery() as outer:
        outer.start_soon(echo_all, bob)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for number in range(300):
                    nursery.start_soon(one, number)
        outer.cancel_scope.cancel()
    assert done == 300
    await until(lambda: nothing_left(alice, bob))


# --- resets -----------------------------------------------------------------------------------------------------------


async def test_a_stream_reset_before_anybody_heard_of_it(joined):
    alice, bob = joined
    stream = await alice.open_stream()
    await stream.reset()
    assert nothing_left(alice, bob)
    await still_works(alice, bob)


async def test_what_was_written_before_a_reset_goes_out():
    async with half_muxed() as (mine, bob, _side):
        stream = await bob.open_stream()
        await stream.write(b"cancel")
        await stream.reset()
        with pytest.raises(MuxedStreamReset):
            await stream.write(b"x")
        seen = []
        while not any(frame.flags & RST for frame in seen):
            seen += frames(await mine.read())
        assert [(frame.flags, frame.payload) for frame in seen if frame.stream] == [(SYN, b"cancel"), (RST, b"")]


async def test_a_reset_wakes_a_reader(joined):
    mine, theirs = await talk(*joined)

    async def reads() -> None:
        with pytest.raises(MuxedStreamReset, match="peer"):
            await theirs.read(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reads)
        await trio.testing.wait_all_tasks_blocked()
        await mine.reset()
    assert theirs.reset_by == "peer"
    await until(lambda: nothing_left(*joined))


async def test_a_reset_wakes_a_writer(joined):
    mine, theirs = await talk(*joined)

    async def writes() -> None:
        with pytest.raises(MuxedStreamReset):
            await theirs.write(bytes(1_000_000))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(writes)
        await trio.testing.wait_all_tasks_blocked()
        await mine.reset()
    await until(lambda: nothing_left(*joined))


async def test_ones_own_reset_wakes_the_others(joined):
    mine, _theirs = await talk(*joined)

    async def reads() -> None:
        with pytest.raises(MuxedStreamError):
            await mine.read(1)

    async def writes() -> None:
        with pytest.raises(MuxedStreamReset, match="local"):
            await mine.write(bytes(1_000_000))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reads)
        nursery.start_soon(writes)
        await trio.testing.wait_all_tasks_blocked()
        await mine.reset()


async def test_a_reset_drops_what_was_unread(joined):
    mine, theirs = await talk(*joined)
    await mine.write(b"unread")
    await trio.testing.wait_all_tasks_blocked()
    await mine.reset()
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(MuxedStreamReset):
        await theirs.read(1)
    assert nothing_left(*joined)


@pytest.mark.parametrize("who", ["who ended", "the other"])
async def test_a_reset_after_a_half_close(joined, who):
    mine, theirs = await talk(*joined)
    await mine.write(b"said")
    await mine.close_write()
    await trio.testing.wait_all_tasks_blocked()
    if who == "who ended":
        await mine.reset()
        await trio.testing.wait_all_tasks_blocked()
        assert await read_all(theirs) == b"said", "all was said before"
        with pytest.raises(MuxedStreamReset):
            await theirs.write(b"x")
    else:
        await theirs.reset()
        with pytest.raises(MuxedStreamReset):
            await mine.read(1)
    await until(lambda: nothing_left(*joined))


async def test_a_reset_of_a_stream_that_has_ended_changes_nothing(joined):
    mine, theirs = await talk(*joined)
    await mine.close_write()
    await theirs.close_write()
    assert await read_all(mine) == b""
    assert await read_all(theirs) == b""
    await mine.reset()
    await theirs.reset()
    assert nothing_left(*joined)
    await still_works(*joined)


async def test_a_stock_peers_reset_is_seen():
    async with muxed(None, Side(stock=True), Side()) as (mallory, bob):
        stream = await mallory.open_stream()
        await stream.write(b"x")
        theirs = await bob.accept_stream()
        assert await theirs.read(1) == b"x"
        await stream.reset()
        with pytest.raises(MuxedStreamReset):
            await theirs.read(1)


async def test_leaving_by_an_exception_resets_and_leaving_else_closes(joined):
    mine, theirs = await talk(*joined)
    with pytest.raises(ZeroDivisionError):
        async with mine:
            raise ZeroDivisionError
    with pytest.raises(MuxedStreamReset):
        await theirs.read(1)
    mine, theirs = await talk(*joined)
    async with mine:
        await mine.write(b"all")
    assert await read_all(theirs) == b"all"


async def test_a_hello_that_a_window_update_has_said_already_is_not_said_again():
    """A full message of another stream goes out between the two."""
    async with half_muxed() as (mine, bob, _side):
        await mine.write(window(1, 0, SYN) + data(3, bytes(200_000), SYN))
        bulk, quiet = await bob.accept_stream(), await bob.accept_stream()
        await until(lambda: quiet._stream.incoming.size == 200_000)
        await bulk.write(bytes(limits.NOISE_TEXT_BYTES - 2 * HEADER_BYTES))
        while quiet._stream.incoming.size:
            await quiet.read()
        with trio.move_on_after(0.01):
            await quiet.read()
        octets = b""
        with trio.move_on_after(0.05):
            while True:
                octets += await mine.read()
        said = [(frame.kind, frame.flags, frame.stream) for frame in frames(octets)]
        assert said == [(PING, SYN, 0), (WINDOW, ACK, 3), (DATA, ACK, 1)]


# --- a stream that was closed and goes on -----------------------------------------------------------------------------


async def test_a_closed_stream_ends_when_the_peer_ends_it_too(joined):
    mine, theirs = await talk(*joined)
    await theirs.write(b"unread")
    await trio.testing.wait_all_tasks_blocked()
    await mine.close()
    await mine.close()
    assert mine.is_closed
    with pytest.raises(MuxedStreamClosed):
        await mine.read(1)
    await theirs.write(b"dropped")
    assert await read_all(theirs) == b""
    await theirs.close()
    await until(lambda: nothing_left(*joined))


async def test_a_peer_that_does_not_end_it_is_reset_in_time(autojump_clock):
    async with muxed() as (alice, bob):
        mine, theirs = await talk(alice, bob)
        await mine.close()
        started = trio.current_time()
        assert await read_all(theirs) == b""
        await trio.sleep(lingering.LINGER_SECONDS / 2)
        later, _theirs = await talk(alice, bob)
        await later.close()
        with trio.fail_after(60):
            while theirs.reset_by is None:
                await theirs.write(b"still here")
                await trio.sleep(1)
        assert lingering.LINGER_SECONDS <= trio.current_time() - started < lingering.LINGER_SECONDS + 10
        assert alice.session.streams == 1, "the other has time left"
        await trio.sleep(lingering.LINGER_SECONDS)
        assert nothing_left(alice, bob)


async def test_a_peer_that_pours_into_a_closed_stream_is_reset(joined):
    mine, theirs = await talk(*joined)
    await mine.close()
    with pytest.raises(MuxedStreamReset):
        await theirs.write(bytes(4 * lingering.LINGER_BYTES))
    await until(lambda: nothing_left(*joined))
