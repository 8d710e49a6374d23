"""Prices for clients: what is asked here, what others state, and what either counts."""

from __future__ import annotations

from typing import get_args

import pytest

from nexusd.services.prices import own_price, stated_price, terms_unit, unit_of
from nexusd_protocols.payments import terms
from nexusd_protocols.payments.advertised import Price, stated
from nexusd_protocols.payments.tokens import Tokens
from nexusd_protocols.rpc.schema import UNIT_WORDS, PriceUnit, Unit
from tests.harness.paying import price, tab_price


def test_a_unit_has_one_name_for_clients_whatever_tells_of_it() -> None:
    shown = [unit_of(word) for word in get_args(terms.Unit)]
    assert len(set(shown)) == len(shown)
    assert {*shown, "other"} == set(get_args(Unit)) == set(UNIT_WORDS)
    assert [unit_of(terms_unit(unit)) for unit in get_args(PriceUnit)] == list(get_args(PriceUnit))


@pytest.mark.parametrize("unit", ["piece", "byte", "token", "second"])
def test_what_is_set_for_a_unit_is_shown_by_that_name_here_and_by_others(unit: PriceUnit) -> None:
    asked = tab_price(unit=terms_unit(unit), per=10)
    for view in (own_price(asked), stated_price(stated(asked), Tokens())):
        assert (view.unit, view.per, view.amount, view.cap) == (unit, 10, "0.000005", "0.25")


def test_what_has_no_unit_is_for_a_call() -> None:
    for view in (own_price(price()), stated_price(stated(price()), Tokens())):
        assert (view.unit, view.amount, view.cap) == ("call", "0.1", None)


@pytest.mark.parametrize("unit", ["lap", "call", "request", "\x1b[2J"])
def test_a_tab_of_others_that_counts_what_is_not_known_here(unit: str) -> None:
    view = stated_price(Price(amount="90000", currency="USDC", network="base", unit=unit, unit_price="10"), Tokens())
    assert (view.unit, view.amount, view.cap) == ("other", "0.00001", "0.09")
    assert str(view) == ("0.00001 USDC a unit that is not known here, by tabs of 0.09 USDC at most, on base")
