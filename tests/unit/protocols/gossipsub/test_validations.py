"""Messages being checked: bounded, and never one in the place of another."""

from __future__ import annotations

import pytest

from nexusd_protocols.gossipsub.validations import Validations
from tests.harness.gossipsub import said, small


def begun(validations, message, sender="bob", now=0.0):
    return validations.begin((message.sender, message.seqno), message, sender, now)


def test_a_copy_is_the_very_same_message():
    validations = Validations(small())
    one = begun(validations, said())
    key = ("alice", said().seqno)
    assert validations.copy_of(key, said()) is one
    assert validations.copy_of(key, said(signature=b"other")) is None
    assert validations.copy_of(("bob", said().seqno), said()) is None
    other = begun(validations, said(signature=b"other"))
    assert validations.copy_of(key, said(signature=b"other")) is other
    assert validations.end(one.ticket) is one
    assert validations.copy_of(key, said()) is None
    assert validations.copy_of(key, said(signature=b"other")) is other
    assert validations.end(other.ticket) is other
    assert validations.end(other.ticket) is None
    assert len(validations) == 0


@pytest.mark.parametrize(
    ("bounds", "senders", "messages"),
    [
        ({"validations": 2}, ["bob", "carol", "dave"], [said(), said(number=2), said(number=3)]),
        ({"validations_per_peer": 2}, ["bob"] * 3, [said(), said(number=2), said(number=3)]),
        ({"rivals": 2}, ["bob"] * 3, [said(data=b"1"), said(data=b"2"), said(data=b"3")]),
        ({"validation_bytes": 10}, ["bob"] * 3, [said(), said(number=2), said(number=3)]),
    ],
)
def test_they_are_bounded(bounds, senders, messages):
    validations = Validations(small(**bounds))
    first, second, third = (begun(validations, *each) for each in zip(messages, senders, strict=True))
    assert third is None
    assert second is not None
    validations.end(first.ticket)
    assert begun(validations, messages[2], senders[2]) is not None


def test_those_that_take_too_long():
    validations = Validations(small())
    one, two = begun(validations, said(), now=1.0), begun(validations, said(number=2), now=2.0)
    assert validations.end_overdue(1.0) == []
    assert validations.end_overdue(1.5) == [one]
    assert validations.end_overdue(9.0) == [two]
    assert len(validations) == 0
