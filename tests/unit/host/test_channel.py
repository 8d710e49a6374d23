"""The pump, over real connections: deadlines, back-pressure, penalties, and how streams end."""

from __future__ import annotations

import contextlib
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from nexusd.host.channel import CHUNK_BYTES
from nexusd.host.ports import ConnectionLostError, DeadlineError
from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError
from tests.harness.memnet import MemoryNetwork
from tests.harness.nodes import Bytes, signer, swallow, swarm, until
from tests.unit.host.conftest import TOY
from tests.unit.host.lines import Lines


@asynccontextmanager
async def trickling(channel):
    """A line that comes a letter at a time, and never ends."""
    channel._machine.send = str.encode

    async def trickle():
        with contextlib.suppress(ConnectionLostError):
            while True:
                await channel.send("x")
                await trio.sleep(0.02)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trickle)
        yield
        nursery.cancel_scope.cancel()


@pytest.fixture
async def talk(pair):
    """Opens a channel from alice to bob and gives both ends."""
    alice, bob = pair
    ends, receive = trio.open_memory_channel(10)
    release = trio.Event()
    results: list[BaseException | None] = []

    async def hold(channel):
        await ends.send(channel)
        try:
            await release.wait()
        except BaseException as error:
            results.append(error)
            raise

    bob.streams.handle(TOY, lambda _peer: Lines(), hold)

    async def start():
        alice._opener.learn(bob.peer_id, ())  # she asks first, so that bob's end is there before anything is said
        mine = await alice.streams.open(bob.peer_id, [TOY], lambda _protocol: Lines())
        with trio.fail_after(5):
            return mine, await receive.receive()

    yield start
    release.set()


async def test_what_waits_for_the_rest_of_a_message_is_charged_to_the_peer(talk):
    mine, theirs = await talk()
    held = theirs._stream.muxed_conn.session.budget
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.receive)
        await mine._write(b"half of ", float("inf"))
        await until(lambda: held.held == 8)
        await mine._write(b"a li", float("inf"))
        await until(lambda: held.held == 12)
        await mine._write(b"ne\n", float("inf"))
        await until(lambda: held.held == 0)


async def test_both_directions_at_once(talk):
    mine, theirs = await talk()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mine.send, "ping")
        nursery.start_soon(theirs.send, "pong")
        assert await theirs.receive(timeout=5) == "ping"
        assert await mine.receive(timeout=5) == "pong"
    assert mine.peer == signer("bob").peer_id
    assert theirs.peer == signer("alice").peer_id
    assert mine.protocol == theirs.protocol == TOY


async def test_several_events_of_one_read_are_handed_out_one_by_one(talk):
    mine, theirs = await talk()
    await mine._write(b"a\nb\nc\nd", float("inf"))
    assert [await theirs.receive(timeout=5) for _ in range(3)] == ["a", "b", "c"]
    await mine._write(b"e\n", float("inf"))
    assert await theirs.receive(timeout=5) == "de"


async def test_half_close_is_none_for_ever_and_the_other_way_stays_open(talk):
    mine, theirs = await talk()
    await mine.send("last")
    await mine.close_write()
    assert await theirs.receive(timeout=5) == "last"
    assert await theirs.receive(timeout=5) is None
    assert await theirs.receive(timeout=5) is None
    await theirs.send("answer")
    assert await mine.receive(timeout=5) == "answer"
    with pytest.raises(LocalProtocolError, match="closed"):
        await mine.send("more")


async def test_a_reset_is_not_an_end(talk):
    mine, theirs = await talk()
    await mine.send("x")
    assert await theirs.receive(timeout=5) == "x"
    await mine.reset()
    with pytest.raises(ConnectionLostError):
        await theirs.receive(timeout=5)
    with pytest.raises(ConnectionLostError):
        await theirs.receive(timeout=5)
    with pytest.raises(LocalProtocolError):
        await mine.send("y")


async def test_a_lost_connection_is_not_an_end(pair, talk):
    alice, bob = pair
    _mine, theirs = await talk()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _():
            with pytest.raises(ConnectionLostError):
                await theirs.receive()

        await trio.testing.wait_all_tasks_blocked()
        await alice.disconnect(bob.peer_id)
    with pytest.raises(ConnectionLostError):
        await theirs.send("anybody?")


async def test_the_deadline_of_one_receive(talk):
    mine, theirs = await talk()
    await mine.send("x")
    assert await theirs.receive(timeout=5) == "x"
    with pytest.raises(DeadlineError, match="nothing for"):
        await theirs.receive(timeout=0.05)
    await mine.send("late")
    assert await theirs.receive(timeout=5) == "late", "nothing was lost"


async def test_a_cancelled_receive_loses_nothing(talk):
    mine, theirs = await talk()
    for number in range(20):
        with trio.move_on_after(0.001):
            await theirs.receive()
        await mine.send(str(number))
        assert await theirs.receive(timeout=5) == str(number)


async def test_the_first_byte_has_a_deadline_of_its_own(talk, monkeypatch):
    monkeypatch.setattr("nexusd.host.router.FIRST_BYTE_SECONDS", 0.05)
    _mine, theirs = await talk()
    with pytest.raises(DeadlineError):
        await theirs.receive()
    _mine, theirs = await talk()
    with pytest.raises(DeadlineError):
        await theirs.receive(timeout=60)


async def test_a_request_that_trickles_in_has_an_end(talk, monkeypatch):
    monkeypatch.setattr("nexusd.host.patience.REQUEST_SECONDS", 0.3)
    mine, theirs = await talk()
    async with trickling(mine):
        with trio.fail_after(20), pytest.raises(DeadlineError):
            await theirs.receive()


async def test_any_message_that_trickles_in_has_an_end_and_is_charged(pair, talk, monkeypatch):
    """However long the stream has been good, and whatever time its handler would give it."""
    monkeypatch.setattr("nexusd.host.patience.SLACK_SECONDS", 0.3)
    alice, bob = pair
    mine, theirs = await talk()
    await mine.send("good")
    assert await theirs.receive() == "good"
    with trio.move_on_after(0.5) as between:
        await theirs.receive()
    assert between.cancelled_caught, "between messages it may rest"
    assert bob.balance(alice.peer_id) == 0

    async def receive() -> None:
        while True:  # nothing is forgotten from one wait to the next
            with trio.move_on_after(0.05):
                await theirs.receive(timeout=60)

    async with trickling(mine):
        with trio.fail_after(20), pytest.raises(ConnectionLostError, match="too slow"):
            await receive()
        await until(lambda: theirs.ended)
    assert round(bob.balance(alice.peer_id)) == 1


async def test_who_reads_late_does_not_blame_the_writer(talk, monkeypatch):
    monkeypatch.setattr("nexusd.host.patience.SLACK_SECONDS", 0.3)
    mine, theirs = await talk()
    await mine._write(b"be", float("inf"))
    with trio.move_on_after(0.05):
        await theirs.receive()
    await trio.sleep(0.5)
    await mine._write(b"gun\n", float("inf"))
    assert await theirs.receive() == "begun"


async def test_an_opener_has_no_deadline_for_the_first_byte(talk, monkeypatch):
    monkeypatch.setattr("nexusd.host.router.FIRST_BYTE_SECONDS", 0.01)
    mine, _theirs = await talk()
    with trio.move_on_after(0.1) as patience:
        await mine.receive()
    assert patience.cancelled_caught


async def test_a_breach_is_answered_charged_and_ended(pair, talk):
    alice, bob = pair
    mine, theirs = await talk()
    await mine.send("fine")
    assert await theirs.receive(timeout=5) == "fine"
    await mine.send("stop")
    with pytest.raises(RemoteProtocolError, match="said_stop"):
        await theirs.receive(timeout=5)
    assert bob._accounts.balance(alice.peer_id, trio.current_time()) == pytest.approx(7, abs=0.1)
    assert await mine.receive(timeout=5) == "go on"
    assert await mine.receive(timeout=5) is None
    with pytest.raises(ConnectionLostError, match="said_stop"):
        await theirs.receive(timeout=5)


async def test_an_end_that_cuts_something_short_is_a_breach(pair, talk):
    alice, bob = pair
    mine, theirs = await talk()
    await mine._write(b"half a li", float("inf"))
    await mine.close_write()
    with pytest.raises(RemoteProtocolError, match="cut_short"):
        await theirs.receive(timeout=5)
    assert bob._accounts.balance(alice.peer_id, trio.current_time()) > 1


async def test_a_large_command_goes_in_frames_and_is_counted(talk):
    mine, theirs = await talk()
    size = 3 * CHUNK_BYTES + 10
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mine.send, "x" * size)
        assert await theirs.receive(timeout=10) == "x" * size
    assert mine._machine.sent_sizes == [CHUNK_BYTES] * 3 + [11]


async def test_a_reader_that_stops_holds_back_the_writer_and_the_writer_gives_up(autojump_clock):
    async with swarm(2, MemoryNetwork(), links=1) as (alice, bob):

        async def never_read(_channel):
            await trio.sleep_forever()

        bob.streams.handle(TOY, lambda _peer: Lines(), never_read)
        channel = await alice.streams.open(bob.peer_id, [TOY], lambda _protocol: Lines())

        async def fill() -> None:
            for _ in range(200):
                await channel.send("x" * 200_000, timeout=0.2)

        with pytest.raises((DeadlineError, ConnectionLostError)):
            await fill()
        assert sum(channel._machine.sent_sizes) < 20_000_000, "far from all of it was taken"
        with pytest.raises((LocalProtocolError, ConnectionLostError)):
            await channel.send("y")


async def test_cancelled_sends_do_not_tear_the_connection(pair):
    """Part of fault C5: with stock streams, three of these end every stream of the connection."""
    alice, bob = pair
    bob.streams.handle(TOY, lambda _peer: Bytes(), swallow)
    witness = await alice.streams.open(bob.peer_id, [TOY], lambda _protocol: Bytes())
    for number in range(30):
        channel = await alice.streams.open(bob.peer_id, [TOY], lambda _protocol: Bytes())
        with trio.move_on_after(0.0005 * number):
            await channel.send(bytes(500_000))
        await channel.reset()
        await witness.send(b"still here")
    await witness.aclose()
    assert len(alice._swarm.get_connections()) == 1


async def test_leaving_by_an_exception_resets(talk):
    mine, theirs = await talk()

    async def fail() -> None:
        async with mine:
            await mine.send("x")
            raise ZeroDivisionError

    async def read_all() -> None:
        while await theirs.receive(timeout=5) is not None:
            pass

    with pytest.raises(ZeroDivisionError):
        await fail()
    with pytest.raises(ConnectionLostError):
        await read_all()


async def test_commands_go_in_order_and_together_up_to_the_one_that_is_refused(talk):
    mine, theirs = await talk()
    await mine.send("one", "two")
    assert [await theirs.receive(timeout=5), await theirs.receive(timeout=5)] == ["one", "two"]
    assert theirs.ready() == []
    await mine.send("three", "four")
    assert await theirs.receive(timeout=5) == "three"
    assert theirs.ready() == ["four"], "in one piece"
    with pytest.raises(LocalProtocolError):
        await mine.send("five", "not\none", "six")
    await mine.send("seven")
    assert [await theirs.receive(timeout=5), await theirs.receive(timeout=5)] == ["five", "seven"]


async def test_many_commands_are_no_more_on_their_way_than_a_few(talk):
    mine, theirs = await talk()
    lines = [f"{number}".ljust(1000, ".") for number in range(500)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(mine.send, *lines))
        for line in lines:
            assert await theirs.receive(timeout=5) == line
    assert max(mine._machine.sent_sizes) <= CHUNK_BYTES
    assert sum(mine._machine.sent_sizes) == 1001 * len(lines)
    assert len(mine._machine.sent_sizes) <= 20
