"""Yamux with tasks round it: whoever is cancelled, slow, silent, hostile or gone."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing
from libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamReset,
)

from nexusd.host import yamux
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
    nothing_left,
    read_all,
    read_exactly,
    secured,
    still_works,
    talk,
)
from tests.harness.nodes import signer, until
from tests.harness.yamux import ACK, FIN, RST, SYN, data, frames, go_away, window

MEMORY, TCP = "memory", "tcp"


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


async def test_a_peer_that_always_holds_most_is_dropped():
    """Whoever it is that finds the memory spent."""
    heavy = Side()
    async with muxed(None, None, heavy) as (alice, bob):
        for number in range(limits.YAMUX_MEMORY_RESETS + 1):
            assert not bob.is_closed, number
            mine, _theirs = await talk(alice, bob)
            await mine.write(bytes(100_000))
            await until(lambda: heavy.budget.held == 100_000)
            assert bob.relieve(trio.current_time()) == []
            assert heavy.budget.held == 0
        await bob.event_closed.wait()
        assert [(code, points) for _peer, code, points in heavy.charged] == [("memory_exhausted", 5)]


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
    with trio.fail_after(10):
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


async def test_streams_that_nobody_has_accepted_are_given_up_at_the_end():
    """Even those that the peer has ended, whose bytes could still be read."""
    async with half_muxed() as (mine, bob, side):
        await mine.write(data(1, b"unread", SYN | FIN) + data(3, b"unread", SYN))
        await until(lambda: side.budget.held == 12)
        await bob.close()
        assert side.budget.held == 0
        assert not bob.session.streams


async def test_a_transport_that_fails_while_closing():
    async with muxed() as (alice, _bob):
        closing = alice.secured_conn.close

        async def fail() -> None:
            await closing()
            raise OSError

        alice.secured_conn.close = fail
        await alice.close()
        assert alice.is_closed


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


async def test_others_have_their_turn_within_what_one_read_brings(monkeypatch):
    """Small frames cost time out of proportion to their bytes."""
    async with half_muxed() as (mine, bob, _side):
        turns = 0
        seen: list[int] = []
        receive = bob.session.receive

        def take(text: bytes, now: float):
            seen.append(turns)
            return receive(text, now)

        monkeypatch.setattr(bob.session, "receive", take)
        monkeypatch.setattr(yamux, "TURN_SECONDS", -1.0)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                nonlocal turns
                while True:
                    await trio.lowlevel.checkpoint()
                    turns += 1

            await mine.send(*(window(number, 0, SYN) for number in range(1, 21, 2)))
            await until(lambda: len(seen) == 10)
            nursery.cancel_scope.cancel()
        assert len(set(seen)) >= 5, "two in a row at most: the order within a round is chance"


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


async def test_a_stream_knows_on_which_side_it_is(joined):
    alice, bob = joined
    assert alice.is_initiator
    assert not bob.is_initiator
    mine, theirs = await talk(bob, alice)
    assert mine.is_initiator
    assert not theirs.is_initiator


async def test_a_stream_has_no_deadline_of_its_own(joined):
    mine, _theirs = await talk(*joined)
    with pytest.raises(NotImplementedError):
        mine.set_deadline(3)
    assert await mine.read(0) == b""
    assert mine.get_remote_address() is None
