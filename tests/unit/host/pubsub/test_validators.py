"""Validators that must wait for something before they know."""

from __future__ import annotations

import trio

from nexusd.host.pubsub import topics
from tests.harness.nodes import until
from tests.unit.host.pubsub.readers import TOPIC, Reader, joined, message


async def test_a_validator_may_wait(pair):
    alice, bob = pair
    await joined(alice, bob)
    reader, known = Reader(), trio.Event()

    async def later() -> str:
        await known.wait()
        return "accept"

    await bob.topics.join(TOPIC, lambda _forwarder, message: later(), reader)
    await alice.topics.publish(message(1))
    await alice.topics.publish(message(2))
    known.set()
    assert set(await reader.has(2)) == {b"message 1", b"message 2"}


async def hang() -> str:
    await trio.sleep_forever()
    raise AssertionError


async def test_a_validator_that_hangs_has_ignored_the_message(pair, monkeypatch):
    monkeypatch.setattr(topics, "VALIDATE_SECONDS", 0.01)
    alice, bob = pair
    await joined(alice, bob)
    reader = Reader()

    def judge(_forwarder, message):
        return hang() if message.data == b"message 1" else "accept"

    await bob.topics.join(TOPIC, judge, reader)
    await alice.topics.publish(message(1))
    await alice.topics.publish(message(2))
    assert await reader.has(1) == [b"message 2"]
    await until(lambda: bob.topics.drops.verdicts_late == 1)


async def test_validators_that_wait_are_bounded(pair, monkeypatch):
    monkeypatch.setattr(topics, "VALIDATORS", 1)
    alice, bob = pair
    await joined(alice, bob)
    asked = []

    def judge(_forwarder, message):
        asked.append(message.data)
        return hang()

    await bob.topics.join(TOPIC, judge, Reader())
    for number in range(3):
        await alice.topics.publish(message(number))
    await until(lambda: bob.topics.drops.verdicts_late == 2)
    assert len(asked) == 3
    await bob.topics.leave(TOPIC)
