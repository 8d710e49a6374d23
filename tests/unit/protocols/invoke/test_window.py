"""Back-pressure on the side that produces, rule by rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols.errors import LocalProtocolError
from nexusd_protocols.invoke.window import Window


def test_open_up_to_high_water_and_closed_above():
    window = Window(10)
    window.give(9)
    assert window.writable
    window.give(1)
    assert window.writable
    window.check()
    window.give(1)
    assert not window.writable
    with pytest.raises(LocalProtocolError, match="11 bytes are on their way"):
        window.check()


def test_opens_again_as_the_transport_takes():
    window = Window(10)
    window.give(100)
    window.sent(89)
    assert not window.writable
    window.sent(1)
    assert window.writable
    assert window.on_their_way == 10


def test_a_piece_larger_than_the_window_is_not_stuck():
    window = Window(0)
    assert window.writable
    window.give(1_000_000)
    window.sent(1_000_000)
    assert window.writable


@pytest.mark.parametrize("count", [-1, 11])
def test_confirming_what_is_not_on_its_way(count):
    window = Window(10)
    window.give(10)
    with pytest.raises(LocalProtocolError, match="confirmed"):
        window.sent(count)
    assert window.on_their_way == 10


def test_a_negative_window():
    with pytest.raises(ValueError, match="zero"):
        Window(-1)


@given(st.integers(0, 1000), st.lists(st.integers(1, 500)), st.randoms())
def test_what_is_on_its_way_is_bounded(high_water, pieces, random):
    window = Window(high_water)
    for piece in pieces:
        while not window.writable:
            window.sent(random.randint(1, window.on_their_way))
        window.give(piece)
        assert window.on_their_way <= high_water + piece
