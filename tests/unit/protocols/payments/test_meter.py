"""What pieces count, and how they are cut so that each may go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols.payments.meter import Meter, Piece, TooMuchError

TEXT = st.text(st.characters(codec="utf-8"), max_size=200)


def size_of(text: str) -> int:
    return len(text.encode())


def test_units_that_need_no_look_at_the_output() -> None:
    assert list(Meter("chunk", 1).pieces({"a": 1}, 7, 99)) == [Piece({"a": 1}, 7, 1)]
    assert list(Meter("second", 1).pieces("text", 4, 99)) == [Piece("text", 4, 0)]


def test_bytes_are_counted_and_text_is_cut_between_characters() -> None:
    meter = Meter("byte", 5)
    assert list(meter.pieces("hello", 5, None)) == [Piece("hello", 5, 5)]
    assert list(meter.pieces("hellö wörld", 13, None)) == [
        Piece("hell", 4, 4),
        Piece("ö w", 4, 4),
        Piece("örld", 5, 5),
    ]
    with pytest.raises(TooMuchError, match="no text"):
        list(meter.pieces([1, 2, 3], 7, None))
    with pytest.raises(TooMuchError, match="character"):
        list(Meter("byte", 3).pieces("😀", 4, None))


def test_tokens_are_what_is_reported_and_no_more_than_there_are_bytes() -> None:
    meter = Meter("token_out", 10)
    assert list(meter.pieces("hi", 2, None)) == [Piece("hi", 2, 1)]
    assert list(meter.pieces("hello", 5, 2)) == [Piece("hello", 5, 2)]
    # there are 4 bytes left of those before
    assert list(meter.pieces("a", 1, 8)) == [Piece("a", 1, 5)]
    assert list(meter.rest()) == []
    assert list(meter.pieces("abcdef", 6, 0)) == [Piece("abcdef", 6, 3)]
    # what an endpoint says at the end, as far as there is output for it
    assert list(meter.rest(100)) == [3]
    assert list(meter.rest()) == []


def test_the_rest_goes_in_steps() -> None:
    meter = Meter("token_out", 10)
    list(meter.pieces("x" * 40, 40, 1))
    assert list(meter.rest(25)) == [10, 10, 5]
    assert list(Meter("byte", 10).rest(25)) == []


@given(st.sampled_from(["byte", "token_out"]), st.integers(4, 30), st.lists(st.tuples(TEXT, st.integers(0, 60))))
def test_no_piece_counts_too_much_and_nothing_is_counted_that_did_not_come(unit, largest, said) -> None:
    meter, gone, counted, whole = Meter(unit, largest), 0, 0, []
    for text, tokens in said:
        for piece in meter.pieces(text, size_of(text), tokens):
            assert piece.units <= largest
            assert piece.size == size_of(piece.data)
            gone += piece.size
            counted += piece.units
            assert counted <= gone
            whole.append(piece.data)
    assert "".join(whole) == "".join(text for text, _ in said)
    if unit == "byte":
        assert counted == gone
        return
    for units in meter.rest():
        assert 0 < units <= largest
        counted += units
    assert counted == min(gone, sum(tokens for _, tokens in said))
