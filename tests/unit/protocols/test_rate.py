"""Token buckets: one, and one for each of many."""

from __future__ import annotations

from nexusd_protocols.rate import Rate, Rates


def test_a_rate_allows_a_burst_and_then_so_many_a_second():
    rate = Rate(3, 2.0, 0.0)
    assert [rate.allows(0.0) for _ in range(4)] == [True, True, True, False]
    assert rate.allows(0.4) is False
    assert rate.allows(0.5) is True
    assert rate.allows(0.5) is False
    assert [rate.allows(100.0) for _ in range(4)] == [True, True, True, False]
    assert rate.allows(50.0) is False  # a clock that goes back gives nothing


def test_several_that_come_together_wait_for_their_turn():
    rate = Rate(3, 2.0, 0.0)
    assert [rate.turn(0.0), rate.turn(0.0, 2), rate.turn(0.0), rate.turn(0.0, 2)] == [0.0, 0.0, 0.5, 1.5]
    assert rate.turn(2.0) == 0.0


def test_each_of_many_has_a_rate_of_its_own_and_who_came_longest_ago_is_forgotten():
    rates = Rates[str](1, 0.001, most=2)
    assert all(rates.of(name, 0.0).allows(0.0) for name in ("alice", "bob"))
    assert not rates.of("alice", 1.0).allows(1.0)
    assert rates.of("carol", 2.0).allows(2.0)
    assert not rates.of("alice", 3.0).allows(3.0)
    assert rates.of("bob", 4.0).allows(4.0), "forgotten: carol came when bob had been quiet for the longest"
    assert len(rates) == 2
