"""Prices that were stated before a call, and demands that keep to them."""

from __future__ import annotations

from fractions import Fraction

import msgspec
import pytest

from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.advertised import Price, keeps, rate, stated
from nexusd_protocols.payments.tokens import USDC_POLYGON, Token
from tests.harness.paying import price, tab_price

EURC = Token(chain_id=8453, address=Address(b"\x60" * 20), symbol="EURC", name="EURC", version="2", decimals=6)


def test_what_terms_state() -> None:
    assert stated(price()) == Price(amount="100000", currency="USDC", network="base")
    assert msgspec.json.encode(stated(price())) == b'{"amount":"100000","currency":"USDC","network":"base"}'
    said = stated(tab_price(per=1000))
    assert (said.amount, said.unit, said.unit_price, said.per) == ("250000", "chunk", "5", 1000)
    elsewhere = Token(chain_id=5, address=Address(b"\x61" * 20), symbol="X", name="X", version="1", decimals=0)
    assert stated(price(token=elsewhere)).network == "eip155:5"


@pytest.mark.parametrize(
    ("demanded", "kept"),
    [
        (price(), True),
        (price(amount=1), True),
        (price(amount=100_001), False),
        (price(token=USDC_POLYGON, amount=120_000), True),
        (price(token=USDC_POLYGON, amount=120_001), False),
        (price(token=EURC, amount=1), False),
        (tab_price(), True),
        (tab_price(unit_price=4, amount=249_999), True),
        (tab_price(unit_price=6), False),
        (tab_price(amount=250_001), False),
        (tab_price(unit="byte"), False),
        (tab_price(unit_price=5000, per=1000), True),
        (tab_price(unit_price=5001, per=1000), False),
    ],
)
def test_a_demand_keeps_to_one_of_the_prices(demanded, kept) -> None:
    said = [stated(price()), stated(price(token=USDC_POLYGON, amount=120_000)), stated(tab_price())]
    assert keeps(demanded, said) is kept


def test_prices_are_compared_within_their_unit() -> None:
    called, byte = rate("", Fraction(9)), rate("byte", Fraction(1))
    second = rate("second", Fraction(1, 1_000_000))
    assert sorted([second, rate("byte", Fraction(1999), 1000), byte, called]) == [
        *(called, byte, rate("byte", Fraction(1999), 1000), second)
    ]
    assert rate("byte", Fraction(1000), 1000) == byte


def test_who_named_no_network_meant_any() -> None:
    assert keeps(price(token=USDC_POLYGON), [Price(amount="100000", currency="USDC")])
    assert not keeps(price(), [])
