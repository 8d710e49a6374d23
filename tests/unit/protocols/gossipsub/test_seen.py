"""Seen messages: by time, by number, and what is known of a wire id."""

from __future__ import annotations

from nexusd_protocols.gossipsub.seen import Seen


def test_a_key_is_remembered_for_its_time():
    seen = Seen(ttl=10, size=100)
    seen.add(("alice", b"1"), 0.0, known=True)
    seen.add(("alice", b"2"), 5.0, known=False)
    assert ("alice", b"1") in seen
    assert ("bob", b"1") not in seen
    seen.expire(9.9)
    assert len(seen) == 2
    seen.expire(10.0)
    assert list(seen) == [("alice", b"2")]
    seen.expire(15.0)
    assert len(seen) == 0


def test_the_oldest_is_forgotten_when_there_are_too_many():
    seen = Seen(ttl=10, size=2)
    for number in range(4):
        seen.add(("alice", bytes([number])), 0.0, known=True)
    assert list(seen) == [("alice", b"\x02"), ("alice", b"\x03")]
    assert [seen.known(bytes([number])) for number in range(4)] == [0, 0, 1, 1]


def test_how_many_accepted_messages_have_an_id():
    seen = Seen(ttl=10, size=100)
    seen.add(("alice", b"1"), 0.0, known=True)
    seen.add(("bob", b"1"), 1.0, known=True)
    seen.add(("mallory", b"1"), 1.0, known=False)
    assert seen.known(b"1") == 2
    seen.expire(10.0)
    assert seen.known(b"1") == 1
    seen.expire(11.0)
    assert seen.known(b"1") == 0
