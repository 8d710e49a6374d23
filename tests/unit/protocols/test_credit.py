"""Byte credit, rule by rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols.credit import CEILING, Credit


def test_a_piece_may_be_larger_than_what_is_left():
    credit = Credit(10)
    assert credit.take(9)
    assert credit.take(100)
    assert credit.available == -99
    assert not credit.usable


def test_nothing_at_zero_or_below():
    credit = Credit(10)
    assert credit.take(10)
    assert credit.available == 0
    assert not credit.take(1)
    assert not credit.take(0)
    assert credit.available == 0
    assert not Credit(0).take(0)


def test_a_grant_makes_up_what_was_overdrawn():
    credit = Credit(1)
    credit.take(100)
    credit.grant(99)
    assert not credit.usable
    credit.grant(1)
    assert credit.usable
    assert credit.take(5)


def test_no_number_of_grants_makes_an_absurd_number():
    credit = Credit(5, ceiling=100)
    credit.grant(10**30)
    assert credit.available == 100
    assert Credit(10**30).available == CEILING


def test_negative_counts():
    with pytest.raises(ValueError, match="zero"):
        Credit(-1)
    with pytest.raises(ValueError, match="zero"):
        Credit(1).take(-1)
    with pytest.raises(ValueError, match="zero"):
        Credit(1).grant(-1)


@given(st.integers(0, 1000), st.lists(st.integers(0, 300)))
def test_both_sides_see_the_same_and_memory_is_bounded(initial, pieces):
    sender, receiver = Credit(initial), Credit(initial)
    held = 0
    largest = max(pieces, default=0)
    for piece in pieces:
        if not sender.take(piece):
            sender.grant(held)
            receiver.grant(held)
            held = 0
            if not sender.take(piece):
                assert initial == 0
                continue
        assert receiver.take(piece)
        held += piece
        assert sender.available == receiver.available == initial - held
        assert held < initial + largest or largest == 0
