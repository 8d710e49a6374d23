"""What is given away, and how often."""

from __future__ import annotations

import pytest

from nexusd.services.capabilities import free
from nexusd.services.capabilities.free import FreeTier


def test_each_peer_has_so_many_calls_an_hour_of_each_capability() -> None:
    tier = FreeTier(3)
    assert [tier.allows("upper", "alice", 0.0) for _ in range(4)] == [True, True, True, False]
    assert tier.allows("upper", "bob", 0.0)
    assert tier.allows("lower", "alice", 0.0)
    assert not tier.allows("upper", "alice", 1199.0)
    assert [tier.allows("upper", "alice", 1201.0) for _ in range(2)] == [True, False]
    assert [tier.allows("upper", "alice", 9999.0) for _ in range(4)] == [True, True, True, False]


def test_what_is_remembered_is_bounded_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free, "PEERS", 2)
    tier = FreeTier(1)
    assert all(tier.allows("upper", peer, 0.0) for peer in ("alice", "bob"))
    assert not tier.allows("upper", "alice", 0.0)  # and so bob came longest ago
    assert tier.allows("upper", "carol", 0.0)
    assert not tier.allows("upper", "alice", 0.0)
    assert tier.allows("upper", "bob", 0.0)
    assert len(tier._rates) == 2
