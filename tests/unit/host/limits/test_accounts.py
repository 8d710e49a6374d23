"""Debts: they add up, fade, are bounded by the second and in number, and floods reach a ban where bugs do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd.host.limits.accounts import BAN_POINTS, BURST_POINTS, HALF_LIFE, Accounts
from nexusd_protocols.errors import FLOOD
from nexusd_protocols.identity import PeerId
from tests.harness.nodes import signer

ALICE, BOB = signer("alice").peer_id, signer("bob").peer_id


def test_points_add_up_and_fade() -> None:
    accounts = Accounts(half_life=100)
    assert accounts.balance(ALICE, 0) == 0
    assert accounts.charge(ALICE, 4, 0) == 4
    assert accounts.charge(ALICE, 1, 100) == 1
    assert accounts.balance(ALICE, 100) == 3
    assert accounts.balance(ALICE, 200) == 1.5
    assert accounts.balance(BOB, 0) == 0


def test_a_second_costs_no_more_than_one_flood() -> None:
    accounts = Accounts()
    assert [accounts.charge(ALICE, 100, 5.0) for _ in range(4)] == [100, 100, 50, 0]
    assert accounts.charge(ALICE, 100, 5.9) == 0
    assert accounts.charge(ALICE, 100, 6.0) == 100


def test_a_cleared_account_is_empty() -> None:
    accounts = Accounts()
    accounts.charge(ALICE, 100, 0)
    accounts.clear(ALICE)
    accounts.clear(BOB)
    assert accounts.balance(ALICE, 0) == 0


def test_accounts_are_bounded_and_the_longest_quiet_go() -> None:
    accounts = Accounts(size=2)
    for name in ("a", "b", "a", "c"):
        accounts.charge(PeerId(name), 1, 0)
    assert [accounts.balance(PeerId(name), 0) for name in ("a", "b", "c")] == [2, 0, 1]


def seconds_to_ban(points: float, every: float, most: float) -> float | None:
    """When a peer that offends so often would be banned, None if it is not within `most` seconds."""
    accounts, now = Accounts(), 0.0
    while now <= most:
        accounts.charge(ALICE, points, now)
        if accounts.balance(ALICE, now) >= BAN_POINTS:
            return now
        now += every
    return None


@pytest.mark.parametrize(
    ("points", "every"),
    [(10, 1.0), (FLOOD, 10.0), (1, 0.1), (10, 0.7)],
    ids=["a broken message a second", "six floods a minute", "ten crumbs a second", "a redial that breaks"],
)
def test_a_bug_does_not_ban_within_a_minute(points: float, every: float) -> None:
    assert seconds_to_ban(points, every, 60) is None


@pytest.mark.parametrize(("points", "every"), [(10, 0.01), (10, 0.09), (1, 0.001), (FLOOD, 0.5), (5, 0.02)])
def test_a_flood_is_banned_within_ten_seconds(points: float, every: float) -> None:
    took = seconds_to_ban(points, every, 60)
    assert took is not None
    assert 2.9 < took < 10


def test_a_slow_bug_is_never_banned() -> None:
    assert seconds_to_ban(10, 15, 24 * 3600) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c"]), st.floats(0, 1000), st.floats(0, 2 * HALF_LIFE, allow_subnormal=False)
        ),
        max_size=60,
    )
)
def test_a_balance_is_what_was_added_and_has_faded(charges: list[tuple[str, float, float]]) -> None:
    accounts = Accounts()
    now = 0.0
    added: list[tuple[str, float, float]] = []
    for name, points, pause in charges:
        now += pause
        counted = accounts.charge(PeerId(name), points, now)
        assert 0 <= counted <= min(points, BURST_POINTS)
        added.append((name, counted, now))
    for name in "abc":
        expected = sum(points * 0.5 ** ((now - at) / HALF_LIFE) for who, points, at in added if who == name)
        assert accounts.balance(PeerId(name), now) == pytest.approx(expected, abs=1e-6)
        assert accounts.balance(PeerId(name), now + 100) <= accounts.balance(PeerId(name), now)
