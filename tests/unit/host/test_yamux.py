"""Yamux with tasks round it: what streams promise, whoever is cancelled, silent or gone."""

from __future__ import annotations

import hashlib
import random

import pytest
import trio
import trio.testing
from libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamError,
    MuxedStreamReset,
)

from nexusd.host import yamux
from nexusd.host.ports import PeerDisconnected
from nexusd_protocols import limits
from nexusd_protocols.yamux.bounds import Bounds
from nexusd_protocols.yamux.budget import Budget
from tests.harness.memnet import MemoryNetwork
from tests.harness.muxed import (
    Side,
    echo_all,
    half_muxed,
    memory_raws,
    muxed,
    network_raws,
    read_all,
    read_exactly,
    secured,
    tcp_raws,
)
from tests.harness.nodes import LOOPBACK, Bytes, ip_of, loopback, next_event, signer, swarm, until
from tests.harness.yamux import ACK, FIN, RST, SYN, data, frames, go_away, window

MEMORY, TCP = "memory", "tcp"


@pytest.fixture
async def tcp():
    """Both ends of a connection over loopback, not secured yet."""
    raws = await tcp_raws()
    yield raws
    for raw in raws:
        await raw.close()


@pytest.fixture
async def joined():
    """Alice's and bob's connection, in memory."""
    async with muxed() as (alice, bob):
        yield alice, bob


async def talk(alice, bob):
    """A stream that both sides know."""
    mine = await alice.open_stream()
    await mine.write(b"hello")
    theirs = await bob.accept_stream()
    assert await read_exactly(theirs, 5) == b"hello"
    await theirs.write(b"hi")
    assert await read_exactly(mine, 2) == b"hi"
    return mine, theirs


async def still_works(alice, bob) -> None:
    """The connection carries streams."""
    with trio.fail_after(5):
        mine, theirs = await talk(alice, bob)
    await mine.reset()
    await theirs.reset()


async def half_close(stream) -> None:
    """Stock Yamux calls it close."""
    await getattr(stream, "close_write", stream.close)()


def nothing_left(*conns) -> bool:
    """Neither streams nor bytes nor tasks that wait for one."""
    return all(
        not conn.session.streams
        and not conn.session.budget.held
        and not conn._lingering
        and not conn._readers
        and not conn._writers
        for conn in conns
    )


# --- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("carrier", [MEMORY, TCP])
@pytest.mark.parametrize(
    "stock", [(False, False), (True, False), (False, True)], ids=["ours", "stock dials", "we dial"]
)
@pytest.mark.parametrize(("size", "total"), [(1, 1_000), (700, 300_000), (65_536, 6_000_000), (2_000_000, 6_000_000)])
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


# --- a stream that was closed and goes on -----------------------------------------------------------------------------


async def test_a_closed_stream_ends_when_the_peer_ends_it_too(joined):
    mine, theirs = await talk(*joined)
    await theirs.write(b"unread")
    await trio.testing.wait_all_tasks_blocked()
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
        with trio.fail_after(60):
            while theirs.reset_by is None:
                await theirs.write(b"still here")
                await trio.sleep(1)
        assert yamux.LINGER_SECONDS <= trio.current_time() - started < yamux.LINGER_SECONDS + 10
        assert nothing_left(alice, bob)


async def test_a_peer_that_pours_into_a_closed_stream_is_reset(joined):
    mine, theirs = await talk(*joined)
    await mine.close()
    with pytest.raises(MuxedStreamReset):
        await theirs.write(bytes(4 * yamux.LINGER_BYTES))
    await until(lambda: nothing_left(*joined))


# --- cancellation (fault C5) ------------------------------------------------------------------------------------------


async def test_cancelled_reads_lose_nothing(joined):
    alice, bob = joined
    mine, theirs = await talk(alice, bob)
    for number in range(200):
        with trio.move_on_after(0.00002 * (number % 10)):
            await theirs.read(100)
        await mine.write(b"%03d" % number)
        assert await read_exactly(theirs, 3) == b"%03d" % number
    assert not bob._readers


async def test_cancelled_writes_leave_the_connection_usable(tcp):
    chosen = random.Random(11)
    async with muxed(tcp) as (alice, bob):
        witness, theirs = await talk(alice, bob)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo_all, bob)
            for _ in range(200):
                stream = await alice.open_stream()
                with trio.move_on_after(chosen.uniform(0, 0.002)):
                    await stream.write(bytes(600_000))
                await stream.reset()
            await witness.write(b"still here")
            assert await read_exactly(theirs, 10) == b"still here"
            nursery.cancel_scope.cancel()
        await witness.reset()
        await until(lambda: not alice.session.streams and not alice._writers)
        with trio.fail_after(5):
            await still_works(alice, bob)


async def test_cancelled_opens_leave_nothing(joined):
    alice, bob = joined
    full = [await alice.open_stream() for _ in range(limits.YAMUX_OUTBOUND_STREAMS)]
    for number in range(200):
        with trio.CancelScope() as scope:
            scope.deadline = trio.current_time() + 0.00002 * (number % 10)
            await alice.open_stream()
        assert scope.cancelled_caught
    assert not alice._openers
    for stream in full:
        await stream.reset()
    for _ in range(200):
        with trio.CancelScope() as scope:
            scope.cancel()
            await alice.open_stream()
        assert scope.cancelled_caught
    assert nothing_left(alice, bob)
    await still_works(alice, bob)


async def test_cancelled_accepts_lose_no_stream(joined):
    alice, bob = joined
    for _ in range(50):
        with trio.move_on_after(0.00005):
            await bob.accept_stream()
            raise AssertionError("nobody opened one")
    await still_works(alice, bob)


async def test_a_waiting_open_goes_on_when_a_stream_ends(joined):
    alice, _bob = joined
    full = [await alice.open_stream() for _ in range(limits.YAMUX_OUTBOUND_STREAMS)]
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.open_stream)
            await trio.testing.wait_all_tasks_blocked()
            await full[7].reset()


# --- back-pressure (fault C8) -----------------------------------------------------------------------------------------


async def test_a_reader_that_rests_holds_back_the_writer_and_loses_nothing(autojump_clock):
    content = random.Random(3).randbytes(3_000_000)
    async with muxed() as (alice, bob):
        mine, theirs = await talk(alice, bob)
        written = False

        async def write() -> None:
            nonlocal written
            await mine.write(content)
            written = True
            await mine.close_write()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.sleep(120)
            assert not written, "it is held back"
            assert limits.YAMUX_INITIAL_WINDOW - 100 < bob.session.budget.held <= limits.YAMUX_INITIAL_WINDOW
            await still_works(alice, bob)
            assert await read_all(theirs) == content
        assert written


async def test_one_stream_that_nobody_reads_does_not_hold_up_the_others(joined):
    alice, bob = joined
    mine, _theirs = await talk(alice, bob)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mine.write, bytes(1_000_000))
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(20):
            await still_works(alice, bob)
        nursery.cancel_scope.cancel()


async def test_the_hosts_memory_is_bounded_over_connections():
    """The connection that holds most gives back: a stream of it is reset, and the others live."""
    host = Budget(400_000)
    async with muxed(None, Side(), Side(budget=host)) as one, muxed(None, Side(), Side(budget=host)) as two:
        (alice, bob), (carol, dave) = one, two
        heavy, heavy_end = await talk(alice, bob)
        light, light_end = await talk(carol, dave)

        async def pour(stream, count: int) -> None:
            with trio.move_on_after(1):
                await stream.write(bytes(count))

        await pour(heavy, 256_000)
        await until(lambda: host.held == 256_000)
        await pour(light, 200_000)
        await until(lambda: heavy_end.reset_by == "memory")
        with pytest.raises(MuxedStreamReset):
            await heavy.read(1)
        assert await read_exactly(light_end, 200_000) == bytes(200_000)
        await still_works(alice, bob)
    assert host.held == 0
    assert host.promised == 0


# --- peers that are gone (fault C9) -----------------------------------------------------------------------------------


async def test_a_frozen_peer_is_noticed(autojump_clock):
    network = MemoryNetwork(1)
    async with muxed(network_raws(network)) as (alice, bob):
        mine, _theirs = await talk(alice, bob)
        await trio.sleep(60)
        assert not alice.is_closed
        network.silence("10.0.0.2", "10.0.0.1")
        started = trio.current_time()
        with pytest.raises(MuxedStreamReset, match="connection"):
            await mine.read(1)
        assert trio.current_time() - started < 15
        await alice.event_closed.wait()
        assert trio.current_time() - started < 15


async def test_a_silent_but_living_peer_is_kept(autojump_clock):
    async with muxed() as (alice, bob):
        await trio.sleep(3600)
        await still_works(alice, bob)


async def test_a_lost_transport_breaks_all_streams(joined):
    alice, bob = joined
    mine, theirs = await talk(alice, bob)

    async def reads(stream) -> None:
        with pytest.raises(MuxedStreamReset):
            await stream.read(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reads, mine)
        nursery.start_soon(reads, theirs)
        await trio.testing.wait_all_tasks_blocked()
        await bob.secured_conn.close()
    await alice.event_closed.wait()
    await bob.event_closed.wait()
    for conn in (alice, bob):
        assert conn.is_closed
        assert not conn.is_established
        with pytest.raises(MuxedConnUnavailable):
            await conn.open_stream()
        with pytest.raises(MuxedConnUnavailable):
            await conn.accept_stream()


async def test_a_transport_that_fails_while_sending(joined):
    alice, bob = joined
    mine, _theirs = await talk(alice, bob)

    async def broken(_data: bytes) -> None:
        raise trio.BrokenResourceError

    alice.secured_conn._raw.write = broken
    await mine.write(b"x")
    with pytest.raises(MuxedStreamReset):
        await mine.read(1)
    with trio.fail_after(1):
        await alice.event_closed.wait()


# --- closing ----------------------------------------------------------------------------------------------------------


async def test_what_was_written_and_ended_before_the_close_arrives(joined):
    alice, bob = joined
    mine, theirs = await talk(alice, bob)
    await mine.write(b"last words" * 10_000)
    await mine.close()
    await alice.close()
    assert await read_all(theirs) == b"last words" * 10_000
    await bob.event_closed.wait()


async def test_a_close_wakes_everybody_and_says_goodbye():
    raws = memory_raws()
    async with half_muxed(raws) as (mine, bob, _side):
        called = []

        async def hook() -> None:
            called.append(bob.is_closed)

        bob.on_close = hook

        async def accepts() -> None:
            with pytest.raises(MuxedConnUnavailable):
                await bob.accept_stream()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accepts)
            await trio.testing.wait_all_tasks_blocked()
            await bob.close()
            await bob.close()
        assert called == [True]
        last = b"".join([text async for text in _texts(mine)])
        assert last.endswith(go_away(0))


async def _texts(end):
    while texts := await end.receive():
        for text in texts:
            yield text


async def test_a_close_before_the_start():
    _mine, theirs = await secured(memory_raws())
    bob = yamux.YamuxConnection(theirs, None, budget=Budget().child(), charge=lambda *_: None)
    await bob.close()
    assert bob.is_closed
    await bob.start()
    await bob.close()


async def test_a_peer_that_takes_nothing_does_not_hold_up_the_end(autojump_clock):
    network = MemoryNetwork(1)
    async with muxed(network_raws(network)) as (alice, bob):
        mine, _theirs = await talk(alice, bob)

        async def stuck(_data: bytes) -> None:
            await trio.sleep_forever()

        alice.secured_conn._raw.write = stuck
        await mine.write(b"x")
        await trio.testing.wait_all_tasks_blocked()
        started = trio.current_time()
        await alice.close()
        assert trio.current_time() - started <= yamux.FLUSH_SECONDS + yamux.CLOSE_SECONDS


async def test_cancelling_it_breaks_streams_and_leaves_nothing():
    mine, theirs = await secured(memory_raws())
    host = Budget()
    ends = [yamux.YamuxConnection(end, None, budget=host.child(), charge=lambda *_: None) for end in (mine, theirs)]
    async with trio.open_nursery() as nursery:
        for end in ends:
            nursery.start_soon(end.start)
        await trio.testing.wait_all_tasks_blocked()
        streams = await talk(*ends)
        await streams[0].write(b"unread")
        await (await ends[0].open_stream()).write(b"unaccepted")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    for end, stream in zip(ends, streams, strict=True):
        assert end.is_closed
        with pytest.raises(MuxedStreamReset):
            await stream.read(1)
    assert host.held == 0


async def test_a_hook_that_fails_or_hangs_does_not_hold_up_the_end(autojump_clock):
    for hook in (_fails, trio.sleep_forever):
        async with muxed() as (alice, _bob):
            alice.on_close = hook
            await alice.close()
            assert alice.is_closed


async def _fails() -> None:
    raise ZeroDivisionError


# --- what the peer does -----------------------------------------------------------------------------------------------


async def test_a_peer_that_goes_away_is_left_when_the_last_stream_ends():
    async with half_muxed() as (mine, bob, _side):
        await mine.write(data(1, b"x", SYN))
        stream = await bob.accept_stream()
        await mine.write(go_away(0))
        await trio.testing.wait_all_tasks_blocked()
        assert await stream.read(1) == b"x"
        with pytest.raises(MuxedConnUnavailable):
            await bob.open_stream()
        await stream.write(b"answer")
        await mine.write(window(1, 0, FIN))
        await stream.close()
        with trio.fail_after(5):
            await bob.event_closed.wait()


async def test_a_peer_that_goes_away_with_an_error_is_left_at_once():
    async with half_muxed() as (mine, bob, _side):
        await mine.write(data(1, b"x", SYN))
        await bob.accept_stream()
        await mine.write(go_away(2))
        with trio.fail_after(5):
            await bob.event_closed.wait()


async def test_a_breach_is_charged_answered_and_ends_the_connection():
    async with half_muxed() as (mine, bob, side):
        await mine.write(data(1, b"x", SYN))
        stream = await bob.accept_stream()
        await mine.write(bytes(b"\x07" * 12))
        with trio.fail_after(5):
            last = b"".join([text async for text in _texts(mine)])
            await bob.event_closed.wait()
        assert frames(last)[-1][:4] == (3, 0, 0, 1), "GOAWAY, protocol error"
        assert side.charged == [(signer("alice").peer_id, "bad_version", 10)]
        assert stream.reset_by == "connection"


async def test_a_changed_message_ends_the_connection():
    raws = memory_raws()
    async with half_muxed(raws) as (_mine, bob, side):
        await raws[0].write(b"\x00\x20" + bytes(32))
        with trio.fail_after(5):
            await bob.event_closed.wait()
        assert [charge[1:] for charge in side.charged] == [("bad_tag", 1)]


async def test_a_stream_is_acknowledged_with_the_first_answer():
    async with half_muxed() as (mine, bob, _side):
        await mine.write(data(1, b"x", SYN))
        stream = await bob.accept_stream()
        await stream.write(b"y")
        seen = []
        while not any(frame.stream == 1 for frame in seen):
            seen += frames(await mine.read())
        [answer] = [frame for frame in seen if frame.stream == 1]
        assert (answer.flags, answer.payload) == (ACK, b"y")


async def test_streams_over_the_bound_are_refused():
    async with half_muxed(bounds=Bounds(inbound_streams=2)) as (mine, bob, _side):
        await mine.write(b"".join(data(number, b"x", SYN) for number in (1, 3, 5)))
        seen = []
        while not any(frame.stream for frame in seen):
            seen += frames(await mine.read())
        assert [(frame.stream, frame.flags) for frame in seen if frame.stream] == [(5, RST)]
        assert bob.session.streams == 2


async def test_a_stream_has_no_deadline_of_its_own(joined):
    mine, _theirs = await talk(*joined)
    with pytest.raises(NotImplementedError):
        mine.set_deadline(3)
    assert await mine.read(0) == b""
    assert mine.get_remote_address() is None


# --- under a host -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("carrier", ["tcp", "ws"])
async def test_two_nodes_over_each_transport(carrier):
    content = random.Random(8).randbytes(3_000_000)
    async with loopback("alice", "bob", listen=LOOPBACK) as (alice, bob):
        [address] = [each for each in bob.addresses() if ("/ws/" in each) == (carrier == "ws")]
        await alice.connect(bob.peer_id, [address])
        [connection] = alice._swarm.get_connections()
        assert isinstance(connection.muxed_conn, yamux.YamuxConnection)

        async def echo(channel) -> None:
            while (piece := await channel.receive()) is not None:
                await channel.send(piece)

        bob.streams.handle("/nexus/toy/1.0.0", lambda _peer: Bytes(), echo)
        with trio.fail_after(20):
            async with (
                await alice.streams.open(bob.peer_id, ["/nexus/toy/1.0.0"], lambda _protocol: Bytes()) as channel,
                trio.open_nursery() as nursery,
            ):

                @nursery.start_soon
                async def _() -> None:
                    await channel.send(content)
                    await channel.close_write()

                got = bytearray()
                while (piece := await channel.receive()) is not None:
                    got += piece
        assert got == content
        await alice.disconnect(bob.peer_id)


async def test_a_frozen_peer_of_a_node_is_dropped(autojump_clock):
    """Fault C9: nobody hears of it from stock Yamux."""
    network = MemoryNetwork(1)
    async with swarm(2, network, links=1, keepalive=3600) as (alice, bob):
        events = alice.peer_events()
        network.silence(ip_of(1), ip_of(0))
        started = trio.current_time()
        await next_event(events, PeerDisconnected, bob.peer_id)
        assert trio.current_time() - started < 15


async def test_connections_share_the_nodes_memory():
    async with loopback("alice", "bob", "carol") as (alice, bob, carol):
        for other in (bob, carol):
            await alice.connect(other.peer_id, other.addresses())
        parents = {id(each.muxed_conn.session.budget._parent) for each in alice._swarm.get_connections()}
        assert len(parents) == 1
