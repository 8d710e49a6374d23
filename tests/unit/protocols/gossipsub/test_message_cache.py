"""The message cache: gossipsub-v1.0 "Message Cache"."""

from __future__ import annotations

from nexusd_protocols.gossipsub.message_cache import Entry, MessageCache
from tests.harness.gossipsub import TOPIC, said


def entry(message):
    return Entry(message, message.seqno, [], 0.0)


def test_put_and_get():
    cache = MessageCache(5, 3, 1000)
    alice, bob = entry(said("alice", 1)), entry(said("bob", 1))
    assert cache.put(alice) == [alice]
    assert cache.put(bob) == [alice, bob]
    assert cache.matches(alice.wire_id) == [alice, bob]
    assert cache.matches(b"other") == []
    assert cache.find(("bob", bob.wire_id)) is bob
    assert cache.find(("carol", bob.wire_id)) is None
    assert cache.find(("bob", b"other")) is None
    assert (len(cache), cache.size) == (2, 10)


def test_gossip_is_of_the_last_windows_and_the_cache_of_more():
    cache = MessageCache(5, 3, 1000)
    for window in range(6):
        cache.put(entry(said(number=window)))
        assert cache.gossip_ids(TOPIC) == [said(number=each).seqno for each in range(window, max(-1, window - 3), -1)]
        cache.shift()
    assert cache.matches(said(number=1).seqno) == []
    assert len(cache.matches(said(number=2).seqno)) == 1
    assert len(cache) == 4


def test_gossip_is_of_one_topic_and_names_an_id_once_for_each_author():
    cache = MessageCache(5, 3, 1000)
    cache.put(entry(said("alice", 1)))
    cache.put(entry(said("alice", 2, topic="other")))
    cache.put(entry(said("bob", 1)))
    assert cache.gossip_ids(TOPIC) == [said(number=1).seqno] * 2
    assert cache.gossip_ids("other") == [said(number=2).seqno]
    assert cache.gossip_ids("third") == []


def test_windows_without_a_heartbeat_count():
    cache = MessageCache(5, 3, 1000)
    cache.put(entry(said()))
    cache.shift(4)
    assert len(cache) == 1
    cache.shift(100)
    assert (len(cache), cache.size, cache.gossip_ids(TOPIC)) == (0, 0, [])


def test_bytes_are_bounded():
    cache = MessageCache(5, 3, 100)
    for number in range(30):
        cache.put(entry(said(number=number, data=bytes(30))))
        assert cache.size <= 100
    assert len(cache) == 3
    cache.put(entry(said(number=99, data=bytes(101))))
    assert (len(cache), cache.size) == (0, 0)
