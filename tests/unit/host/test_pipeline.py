"""Requests of several tasks on one channel."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from nexusd.host.ports import ConnectionLostError, DeadlineError, NotTakenError
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError, RemoteProtocolError
from tests.harness.nodes import until
from tests.unit.host.conftest import TOY
from tests.unit.host.lines import Lines

REQUESTS = 4


class Requests(Lines):
    """`<key>` out, `<key> <answer>` back; refuses to send `too large`."""

    def send(self, command: str) -> bytes:
        if command == "too large":
            raise LimitExceededError("line", "too large")
        return super().send(command)

    def receive(self, data: bytes) -> list[str]:
        events = super().receive(data)
        if "nonsense" in events:
            raise RemoteProtocolError("nonsense")
        return events


@pytest.fixture
async def shared(pair):
    """A pipeline from alice to bob, and bob's end of the stream."""
    alice, bob = pair
    ends, came = trio.open_memory_channel(10)
    release = trio.Event()

    async def hold(channel):
        await ends.send(channel)
        await release.wait()

    bob.streams.handle(TOY, lambda _peer: Lines(), hold)
    channel = await alice.streams.open(bob.peer_id, [TOY], lambda _protocol: Requests())
    pipeline = alice.streams.pipeline(channel, lambda event: event.split()[0], REQUESTS)

    async def theirs():
        with trio.fail_after(5):
            return await came.receive()

    yield pipeline, theirs
    release.set()
    await channel.reset()


async def ask(pipeline, key, answers):
    try:
        pending = await pipeline.send(key, key, timeout=5)
        answers[key] = await pending.answer(timeout=5)
    except Exception as error:
        answers[key] = error


async def test_answers_find_their_requests(shared):
    pipeline, theirs = shared
    answers: dict = {}
    async with trio.open_nursery() as nursery:
        for key in "abc":
            nursery.start_soon(ask, pipeline, key, answers)
        bob = await theirs()
        asked = [await bob.receive(timeout=5) for _ in range(3)]
        for key in reversed(asked):
            await bob.send(f"{key} yes")
        await bob.send("z nobody asked")
    assert answers == {"a": "a yes", "b": "b yes", "c": "c yes"}
    assert not pipeline.closed


async def test_no_more_than_so_many_are_under_way(shared):
    pipeline, theirs = shared
    answers: dict = {}
    async with trio.open_nursery() as nursery:
        for number in range(REQUESTS + 2):
            nursery.start_soon(ask, pipeline, str(number), answers)
        bob = await theirs()
        first = [await bob.receive(timeout=5) for _ in range(REQUESTS)]
        with pytest.raises(DeadlineError):
            await bob.receive(timeout=0.05)
        await bob.send(f"{first[0]} yes")
        fifth = await bob.receive(timeout=5)
        for key in [*first[1:], fifth]:
            await bob.send(f"{key} yes")
        await bob.send(f"{await bob.receive(timeout=5)} yes")
    assert sorted(answers.values()) == [f"{number} yes" for number in range(REQUESTS + 2)]


async def test_an_end_before_the_answer_means_that_it_was_not_taken(shared):
    pipeline, theirs = shared
    answers: dict = {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, pipeline, "a", answers)
        nursery.start_soon(ask, pipeline, "b", answers)
        bob = await theirs()
        assert {await bob.receive(timeout=5), await bob.receive(timeout=5)} == {"a", "b"}
        await bob.send("a yes")
        await bob.close_write()
    assert answers["a"] == "a yes"
    assert isinstance(answers["b"], NotTakenError)
    assert pipeline.closed
    with pytest.raises(NotTakenError):
        await pipeline.send("c", "c", timeout=5)


async def test_a_reset_may_have_come_after_the_deed(shared):
    pipeline, theirs = shared
    answers: dict = {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, pipeline, "a", answers)
        bob = await theirs()
        await bob.receive(timeout=5)
        await bob.reset()
    assert isinstance(answers["a"], ConnectionLostError)
    assert pipeline.closed


async def test_nonsense_ends_it_for_all(shared):
    pipeline, theirs = shared
    answers: dict = {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, pipeline, "a", answers)
        nursery.start_soon(ask, pipeline, "b", answers)
        bob = await theirs()
        await bob.receive(timeout=5)
        await bob.send("nonsense")
    assert [type(error) for error in answers.values()] == [RemoteProtocolError] * 2
    assert pipeline.closed


async def test_a_request_that_the_machine_refuses_harms_no_other(shared):
    pipeline, theirs = shared
    answers: dict = {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, pipeline, "a", answers)
        bob = await theirs()
        for _ in range(REQUESTS + 1):
            with pytest.raises(LimitExceededError):
                await pipeline.send("b", "too large", timeout=5)
        with pytest.raises(LocalProtocolError, match="under way"):
            await pipeline.send("a", "a", timeout=5)
        await bob.send("a yes")
    assert answers == {"a": "a yes"}


async def test_who_gives_up_keeps_its_place_until_the_answer(shared):
    pipeline, theirs = shared
    for number in range(REQUESTS):
        pending = await pipeline.send(str(number), str(number), timeout=5)
        with trio.move_on_after(0):
            await pending.answer(timeout=5)
    bob = await theirs()
    answers: dict = {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, pipeline, "a", answers)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await bob.send("0 late")
        while await bob.receive(timeout=5) != "a":
            pass
        await bob.send("a yes")
    assert answers == {"a": "a yes"}
    assert not pipeline.closed


async def test_who_does_not_answer_gets_no_more_and_is_let_go_by_the_last(shared):
    pipeline, theirs = shared
    pending = [await pipeline.send(key, key, timeout=5) for key in "ab"]
    bob = await theirs()
    with pytest.raises(DeadlineError):
        await pending[0].answer(timeout=0.01)
    assert pipeline.closed
    assert not pipeline._channel.ended, "the other may still be answered"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(bob.send, "b yes"))
        assert await pending[1].answer(timeout=5) == "b yes"
    with pytest.raises(NotTakenError):
        await pipeline.send("c", "c", timeout=5)


async def test_places_that_are_never_freed(shared):
    pipeline, _theirs = shared
    for number in range(REQUESTS):
        pending = await pipeline.send(str(number), str(number), timeout=5)
        with trio.move_on_after(0):
            await pending.answer(timeout=5)
    with pytest.raises(DeadlineError, match="asked before"):
        await pipeline.send("a", "a", timeout=0.01)
    assert pipeline._channel.ended
    await until(lambda: not pipeline._under_way)


async def test_a_peer_that_refuses_the_protocol_has_taken_nothing(pair):
    alice, bob = pair
    alice._opener.learn(bob.peer_id, [TOY])
    channel = await alice.streams.open(bob.peer_id, [TOY], lambda _protocol: Requests())
    pipeline = alice.streams.pipeline(channel, lambda event: event.split()[0], REQUESTS)
    answers: dict = {}
    await ask(pipeline, "a", answers)
    assert isinstance(answers["a"], NotTakenError)
