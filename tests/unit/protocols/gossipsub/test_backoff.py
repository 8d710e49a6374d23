"""Back-off: gossipsub-v1.1 "PRUNE Backoff and Peer Exchange"."""

from __future__ import annotations

from nexusd_protocols.gossipsub.backoff import Backoff


def test_it_ends_for_the_peer_and_a_little_later_for_us():
    backoff = Backoff(slack=1.0, size=10)
    assert backoff.until("t", "bob") is None
    assert not backoff.blocks("t", "bob", 0.0)
    backoff.set("t", "bob", 60.0)
    assert backoff.until("t", "bob") == 60.0
    assert backoff.blocks("t", "bob", 60.9)
    assert not backoff.blocks("t", "bob", 61.0)
    assert not backoff.blocks("t", "carol", 0.0)
    assert backoff.until("other", "bob") is None


def test_it_gets_longer_never_shorter():
    backoff = Backoff(slack=1.0, size=10)
    backoff.set("t", "bob", 60.0)
    backoff.set("t", "bob", 10.0)
    assert backoff.until("t", "bob") == 60.0
    backoff.set("t", "bob", 70.0)
    assert backoff.until("t", "bob") == 70.0


def test_what_is_over_is_forgotten():
    backoff = Backoff(slack=1.0, size=10)
    backoff.set("t", "bob", 60.0)
    backoff.set("t", "carol", 70.0)
    backoff.set("u", "bob", 60.0)
    backoff.expire(60.5)
    assert len(backoff) == 3
    backoff.expire(61.0)
    assert (len(backoff), backoff.until("t", "carol")) == (1, 70.0)


def test_it_is_bounded_for_each_topic():
    backoff = Backoff(slack=1.0, size=2)
    for number in range(5):
        backoff.set("t", f"peer-{number}", 60.0)
    backoff.set("u", "bob", 60.0)
    assert len(backoff) == 3
    assert backoff.until("t", "peer-4") == 60.0
