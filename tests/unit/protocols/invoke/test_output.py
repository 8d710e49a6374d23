"""Pieces put together as one value."""

from __future__ import annotations

import msgspec
import pytest

from nexusd_protocols.invoke.events import Output
from nexusd_protocols.invoke.output import Pieces, UnaryOutput


@pytest.mark.parametrize(
    ("pieces", "value", "size"),
    [
        ([], "", 0),
        (["a"], "a", 1),
        ([{"a": 1}], {"a": 1}, 7),
        ([None], None, 4),
        (["a", "é"], "aé", 3),
        (["a", {"b": 1}], ["a", {"b": 1}], 8),
        ([1, 2], [1, 2], 2),
        (["a", msgspec.UNSET], "a", 1),
        ([{"a": 1}, msgspec.UNSET], {"a": 1}, 7),
    ],
)
def test_value(pieces, value, size):
    together = Pieces()
    for piece in pieces:
        together.add(piece)
    assert together.value() == value
    assert together.bytes == size


def test_progress_is_no_part_of_the_result():
    output = UnaryOutput()
    output.add(Output(0, "progress", "50 %", 4))
    output.add(Output(1, "result", {"n": 1}, 7))
    assert output.value() == {"n": 1}


def test_the_value_does_not_change_behind_the_reader():
    pieces = Pieces()
    pieces.add(1)
    pieces.add(2)
    first = pieces.value()
    pieces.add(3)
    assert first == [1, 2]
