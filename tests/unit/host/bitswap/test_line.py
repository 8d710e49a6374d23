from __future__ import annotations

import itertools
from contextlib import asynccontextmanager

import pytest
import trio

from nexusd.host.bitswap.line import REST_SECONDS, SEND_SECONDS, TRIES, Line
from nexusd.host.ports import ConnectionLostError, UnreachableError, UnsupportedError
from nexusd_protocols.bitswap.events import Fetch, Fetched, Left, Look, Send, Sent, Sized
from nexusd_protocols.bitswap.message import Message, Want
from tests.harness.bitswap import MemorySource, block, cid_of, data_of, wants
from tests.harness.people import BOB

PEER = BOB.peer_id
ONE, TWO, THREE = map(cid_of, (1, 2, 3))


class Stream:
    """A channel that a test ends. `error` is raised by the next send."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self.end = ""
        self.error: Exception | None = None
        self.stuck = False

    async def send(self, message: Message, *, timeout=None) -> None:
        await trio.lowlevel.checkpoint()
        if self.stuck:
            await trio.sleep_forever()
        if self.error is not None:
            raise self.error
        self._streams.sent.append(message)

    async def aclose(self) -> None:
        self.end = "closed"

    async def reset(self) -> None:
        self.end = "reset"


class Streams:
    """Opens streams as `errors` say, one after the other, and well after that. `sent` is what went over all of them."""

    def __init__(self) -> None:
        self.errors: list[Exception | None] = []
        self.opened: list[Stream] = []
        self.sent: list[Message] = []
        self.stuck = False

    async def open(self, peer, protocols, machine, *, replayable) -> Stream:
        assert replayable
        await trio.lowlevel.checkpoint()
        error = self.errors.pop(0) if self.errors else None
        if isinstance(error, UnreachableError | UnsupportedError):
            raise error
        stream = Stream(self)
        stream.error, stream.stuck = error, self.stuck
        self.opened.append(stream)
        return stream


class Told:
    """What a line told of itself, in order."""

    def __init__(self) -> None:
        self.streams = Streams()
        self.source = MemorySource(block(1))
        self.log: list[object] = []
        self.line = Line(
            PEER,
            self.streams,
            lambda: self.source,
            answer=self.log.append,
            broken=lambda _peer: self.log.append("broken"),
            given_up=lambda _peer: self.log.append("given up"),
            ended=lambda _line: self.log.append("ended"),
        )


@asynccontextmanager
async def running():
    told = Told()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(told.line.run)
        yield told
        nursery.cancel_scope.cancel()


async def test_what_is_said_together_goes_in_one_message(autojump_clock):
    async with running() as told:
        told.line.say(wants(ONE))
        told.line.say(wants(TWO))
        told.line.say(Message(cancels=(ONE, THREE)))
        await trio.testing.wait_all_tasks_blocked()
        assert told.streams.sent == [Message(wants=(Want(TWO),), cancels=(ONE, THREE))]


async def test_a_want_never_overtakes_the_cancel_of_the_same_block(autojump_clock):
    async with running() as told:
        told.line.say(Message(cancels=(ONE,)))
        told.line.say(wants(ONE, TWO))
        told.line.say(wants(THREE))
        await trio.testing.wait_all_tasks_blocked()
        assert told.streams.sent == [Message(cancels=(ONE,)), wants(ONE, TWO, THREE)]


async def test_all_that_is_wanted_takes_the_place_of_what_waits(autojump_clock):
    async with running() as told:
        told.line.say(wants(ONE))
        told.line.say(Message(wants=(Want(TWO),), full=True))
        await trio.testing.wait_all_tasks_blocked()
        assert told.streams.sent == [Message(wants=(Want(TWO),), full=True)]


async def test_what_the_peer_wants(autojump_clock):
    async with running() as told:
        for job in (Look(PEER, (ONE, TWO)), Fetch(PEER, (ONE, TWO)), Send(PEER, Message(blocks=(block(1),)))):
            told.line.give(job)
            await trio.testing.wait_all_tasks_blocked()
        assert told.log == [Sized(PEER, (32, None)), Fetched(PEER, (data_of(1), None)), Sent(PEER)]
        assert told.streams.sent == [Message(blocks=(block(1),))]


async def test_wants_go_before_what_the_peer_wants(autojump_clock):
    async with running() as told:
        told.line.give(Send(PEER, Message(blocks=(block(1),))))
        told.line.say(wants(TWO))
        await trio.testing.wait_all_tasks_blocked()
        assert told.streams.sent == [wants(TWO), Message(blocks=(block(1),))]


async def test_a_source_that_fails_has_nothing(autojump_clock):
    async with running() as told:
        told.source.size = None
        told.line.give(Look(PEER, (ONE,)))
        await trio.testing.wait_all_tasks_blocked()
        assert told.log == [Sized(PEER, (None,))]


async def test_closed_after_a_rest(autojump_clock):
    async with running() as told:
        told.line.say(wants(ONE))
        await trio.sleep(REST_SECONDS - 0.1)
        assert told.log == []
        told.line.say(wants(TWO))
        await trio.sleep(REST_SECONDS - 0.1)
        assert told.log == []
        await trio.sleep(0.2)
        assert told.log == ["ended"] or told.log == ["ended"] * 2
        assert [stream.end for stream in told.streams.opened] == ["closed"]


async def test_a_stream_that_ended_while_it_rested_is_opened_again(autojump_clock):
    async with running() as told:
        told.line.say(wants(ONE))
        await trio.testing.wait_all_tasks_blocked()
        told.streams.opened[0].error = ConnectionLostError("reset")
        told.line.say(wants(TWO))
        await trio.testing.wait_all_tasks_blocked()
        assert told.streams.sent == [wants(ONE), wants(TWO)]
        assert told.log == []


async def test_a_stream_that_breaks_at_once_loses_the_peers_wants_and_ours_are_said_again(autojump_clock):
    async with running() as told:
        told.streams.errors = [ConnectionLostError("reset")]
        told.line.say(wants(ONE))
        await trio.testing.wait_all_tasks_blocked()
        assert told.log == [Left(PEER), "broken"]
        assert [stream.end for stream in told.streams.opened] == ["reset"]


async def test_given_up_after_so_many(autojump_clock):
    async with running() as told:
        told.streams.errors = [ConnectionLostError("reset")] * TRIES
        for _ in range(TRIES):
            told.line.say(wants(ONE))
            await trio.testing.wait_all_tasks_blocked()
        assert told.log[-3:] == ["ended", "given up", "ended"]
        assert told.log.count("broken") == TRIES - 1


@pytest.mark.parametrize("error", [UnreachableError("no"), UnsupportedError("no")])
async def test_given_up_at_once(autojump_clock, error):
    async with running() as told:
        told.streams.errors = [error]
        told.line.say(wants(ONE))
        await trio.testing.wait_all_tasks_blocked()
        assert told.log == ["ended", "given up", "ended"]


async def test_a_peer_that_takes_nothing_ends_the_stream_in_time(autojump_clock):
    async with running() as told:
        told.streams.stuck = True
        began = trio.current_time()
        told.line.give(Send(PEER, Message(blocks=(block(1),))))
        while Left(PEER) not in told.log:
            await trio.sleep(0.1)
        assert trio.current_time() - began == pytest.approx(SEND_SECONDS, abs=0.3)
        assert told.streams.opened[0].end == "reset"


async def test_cancelled_resets_the_stream(autojump_clock):
    async with running() as told:
        told.line.say(wants(ONE))
        await trio.testing.wait_all_tasks_blocked()
        told.line.scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert told.log == ["ended"]
        assert told.streams.opened[0].end == "reset"


async def test_what_is_said_at_the_last_moment_is_not_lost(autojump_clock):
    """The rest is over in the same turn of the loop in which something is said."""
    for early in itertools.chain([0.0], (n / 1e9 for n in range(3))):
        async with running() as told:
            await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(REST_SECONDS - early)
            if not told.log:
                told.line.say(wants(ONE))
                await trio.testing.wait_all_tasks_blocked()
                assert told.streams.sent == [wants(ONE)]
