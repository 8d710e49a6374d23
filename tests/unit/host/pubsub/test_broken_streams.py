"""What happens to a peer's words while our stream to it is broken: its stream to us is another."""

from __future__ import annotations

import trio
import trio.testing

from tests.harness.nodes import until
from tests.unit.host.pubsub.readers import TOPIC, Reader, accept, joined, message


async def test_a_stream_that_breaks_is_opened_again(pair, monkeypatch):
    monkeypatch.setattr("nexusd.host.pubsub.line.RETRY_SECONDS", (0.0,))
    alice, bob = pair
    _, reader = await joined(alice, bob)
    before = alice.topics._peers[bob.peer_id]
    await alice.topics.publish(message(1))
    await reader.has(1)
    before.outbox.close()
    await until(lambda: alice.topics._peers.get(bob.peer_id, before) is not before)
    assert alice.topics._peers[bob.peer_id].line is before.line
    await until(lambda: alice.topics.peers(TOPIC))
    await alice.topics.publish(message(2))
    assert (await reader.has(2))[-1] == b"message 2"


async def test_what_is_said_while_our_stream_is_opened_again_is_heard(pair, monkeypatch):
    monkeypatch.setattr("nexusd.host.pubsub.line.RETRY_SECONDS", (0.5,))
    alice, bob = pair
    reader, _ = await joined(alice, bob)
    alice.topics._peers[bob.peer_id].outbox.close()
    await until(lambda: bob.peer_id not in alice.topics._peers)
    assert await bob.topics.publish(message(1, "bob")) == 1
    assert await reader.has(1) == [b"message 1"]
    assert not alice.topics._known


async def test_who_goes_for_good_while_it_is_waited_for_keeps_nobody(pair, monkeypatch):
    monkeypatch.setattr("nexusd.host.pubsub.line.RETRY_SECONDS", (60.0,))
    alice, bob = pair
    reader, _ = await joined(alice, bob)
    alice.topics._peers[bob.peer_id].outbox.close()
    await until(lambda: bob.peer_id not in alice.topics._peers)
    await bob.topics.publish(message(1, "bob"))
    await until(lambda: alice.topics._known)
    alice.topics.left(bob.peer_id)
    await until(lambda: not alice.topics._known)
    await trio.testing.wait_all_tasks_blocked()
    assert not reader.messages


async def test_subscriptions_are_heard_while_our_stream_is_opened_again(pair, monkeypatch):
    monkeypatch.setattr("nexusd.host.pubsub.line.RETRY_SECONDS", (0.5,))
    alice, bob = pair
    await joined(alice, bob)
    other = "/nexus/room/other"
    alice.topics._peers[bob.peer_id].outbox.close()
    await until(lambda: bob.peer_id not in alice.topics._peers)
    await bob.topics.join(other, accept, Reader())
    await bob.topics.leave(TOPIC)
    await until(lambda: alice.topics._said[bob.peer_id] == (other,))
    await until(lambda: bob.peer_id in alice.topics._peers)
    assert alice.topics.peers(other) == (bob.peer_id,)
    assert not alice.topics.peers(TOPIC)
