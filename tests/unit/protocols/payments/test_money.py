"""Money: one text for each number, and no number from any other text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols.payments.money import MAX_UINT, parse_decimal, parse_uint, show

AMOUNTS = st.integers(0, MAX_UINT)


@given(AMOUNTS)
def test_a_number_is_read_as_it_is_written(number):
    assert parse_uint(str(number)) == number


@given(st.text(max_size=8) | st.integers() | st.floats() | st.none() | st.booleans())
def test_nothing_else_is_a_number(value):
    try:
        number = parse_uint(value)
    except ValueError:
        return
    assert str(number) == value


@pytest.mark.parametrize("text", ["", "01", "+1", "-0", " 1", "1\n", "1_0", "1e3", "0x1", "１", "1.0", str(2**256)])
def test_refused(text):
    with pytest.raises(ValueError, match=r"canonical|256 bits"):
        parse_uint(text)


def test_the_largest():
    assert parse_uint(str(2**256 - 1)) == MAX_UINT
    assert parse_decimal(str(2**256 - 1), 0) == MAX_UINT


@given(AMOUNTS, st.integers(0, 36))
def test_what_is_shown_is_read_again(amount, decimals):
    assert parse_decimal(show(amount, decimals), decimals) == amount


@pytest.mark.parametrize(
    ("text", "decimals", "amount"),
    [
        ("0.10", 6, 100_000),
        ("12", 6, 12_000_000),
        ("0", 6, 0),
        ("0.000001", 6, 1),
        ("1.5", 18, 15 * 10**17),
        ("7", 0, 7),
    ],
)
def test_what_people_write(text, decimals, amount):
    assert parse_decimal(text, decimals) == amount


@pytest.mark.parametrize(
    "text", ["", ".5", "5.", "-1", "+1", "1e3", "1,5", " 1", "1 ", "1\n", "01", "0.0000001", "0.1000000", "٣", "1" * 79]
)
def test_what_people_do_not_mean(text):
    with pytest.raises(ValueError, match=r"amount|digits|256"):
        parse_decimal(text, 6)


@pytest.mark.parametrize("text", ["one", "0.0000001"])
def test_what_is_no_amount_is_repeated(text):
    with pytest.raises(ValueError, match=f"'{text}' (is no amount|has more than 6 digits)"):
        parse_decimal(text, 6)


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0"), (1, "0.000001"), (100_000, "0.1"), (1_000_000, "1"), (1_500_000, "1.5")]
)
def test_the_shortest_text(amount, text):
    assert show(amount, 6) == text


def test_what_people_write_is_bounded_too():
    with pytest.raises(ValueError, match="256 bits"):
        parse_decimal(str(2**256), 0)
    with pytest.raises(ValueError, match="256 bits"):
        parse_decimal(str(2**250), 6)


def test_there_is_no_negative_money():
    with pytest.raises(ValueError, match="zero or more"):
        show(-1, 6)
