"""Receipts: what a payer takes for one."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from nexusd.services.payments.receipts import verdict
from nexusd.services.trade import Ended, InputDigest, Wish
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.invoke import events
from nexusd_protocols.payments import receipt
from nexusd_protocols.payments.address import checksummed
from nexusd_protocols.payments.receipt import Receipt, Tab, Usage
from tests.harness.paying import PAYEE, PAYER, THIEF, price, signed, tab_price
from tests.harness.people import ALICE, BOB, CAROL

REQUEST = bytes(range(32))
OTHER = "0x" + "11" * 32
PAID, _ = signed(price())
TAB, _ = signed(tab_price(), value=700)
CHUNKS = Usage(input_bytes=2, output_bytes=2, units=3, unit="chunk")
WISH = Wish(
    id="call-1",
    agent=AgentId(ALICE.peer_id),
    peer=BOB.peer_id,
    capability=CapabilityName("summarize"),
    request=REQUEST,
    demanded=events.PaymentDemanded(),
    max_price="1",
)
HOW = Ended(
    input=hashlib.sha256(b'"hi"\n').digest(),
    input_bytes=2,
    pieces=1,
    result=hashlib.sha256(b'["result","HI"]\n').digest(),
    output_bytes=2,
    response=None,
    code="",
)


def told(**changes: Any) -> str:
    """bob's receipt for what happened, with some of it changed."""
    token = price().token
    fields: dict[str, Any] = {
        "provider": BOB.peer_id,
        "caller": ALICE.peer_id,
        "capability": "summarize",
        "request_id": "call-1",
        "request": f"0x{REQUEST.hex()}",
        "input": f"0x{HOW.input.hex()}",
        "result": f"0x{HOW.result.hex()}",
        "complete": True,
        "usage": Usage(input_bytes=2, output_bytes=2),
        "network": token.network,
        "asset": token.asset,
        "payer": checksummed(PAYER.address),
        "pay_to": checksummed(PAYEE.address),
        "amount": str(PAID.value),
        "authorization": PAID.key(token),
        "issued_at": 1,
    }
    by = changes.pop("by", BOB)
    return receipt.sign(Receipt(**{**fields, **changes}), by)


def held(jws: str, **how: Any) -> str:
    return verdict(jws, WISH, price(), replace(HOW, **how), [PAID])


def test_what_happened_is_verified() -> None:
    assert held(told()) == "verified"
    assert held("") == "none"
    assert held("a.b.c").startswith("bad: nexus_bad_receipt")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"by": CAROL, "provider": CAROL.peer_id}, "provider"),
        ({"caller": CAROL.peer_id}, "caller"),
        ({"capability": "translate"}, "call"),
        ({"request_id": "call-2"}, "call"),
        ({"request": OTHER}, "request"),
        ({"input": OTHER}, "input"),
        ({"usage": Usage(input_bytes=3, output_bytes=2)}, "input"),
        ({"result": OTHER}, "result"),
        ({"usage": Usage(input_bytes=2, output_bytes=3)}, "result"),
        ({"complete": False}, "end"),
        ({"network": "eip155:1"}, "asset"),
        ({"asset": checksummed(THIEF.address)}, "asset"),
        ({"payer": checksummed(THIEF.address)}, "payer"),
        ({"pay_to": checksummed(THIEF.address)}, "payee"),
        ({"amount": "1"}, "amount"),
        ({"usage": CHUNKS}, "unit"),
        ({"authorization": "eip155:1/2/3/4"}, "amount, authorization"),
    ],
)
def test_what_did_not_happen_is_told(changes: dict[str, Any], word: str) -> None:
    assert held(told(**changes)) == f"bad: another {word}"


def test_a_call_that_broke_off_is_not_complete() -> None:
    assert held(told(), code="timeout") == "bad: another end"
    assert held(told(complete=False), code="timeout") == "verified"


def test_work_may_end_before_it_has_taken_its_input() -> None:
    jws = told(input=OTHER, usage=Usage(input_bytes=1, output_bytes=2))
    assert held(jws) == "verified, with 1 of 2 bytes of the input"


def test_a_tab_is_charged_what_was_signed_or_less() -> None:
    for amount, word in (("700", "verified"), ("600", "verified"), ("701", "bad: another amount")):
        jws = told(amount=amount, authorization=TAB.key(price().token), usage=CHUNKS)
        assert verdict(jws, replace(WISH, tab=True), tab_price(), HOW, [TAB]) == word


def of_tabs(*shares: tuple[int, int], amount: int) -> dict[str, Any]:
    """What changes with several tabs: the first byte of each nonce, and what is charged under it."""
    tabs = tuple(Tab(nonce=f"0x{bytes([number]).hex() * 32}", amount=str(value)) for number, value in shares)
    return {"amount": str(amount), "authorization": FIRST.key(price().token), "usage": CHUNKS, "tabs": tabs}


FIRST, SECOND, THIRD = (
    signed(tab_price(), nonce=bytes([number]) * 32, value=value)[0] for number, value in ((1, 700), (2, 600), (3, 500))
)


@pytest.mark.parametrize(
    ("shares", "word"),
    [
        (((1, 700), (2, 600), (3, 500)), "verified"),
        (((1, 700), (2, 600)), "verified"),
        (((1, 700), (2, 599)), "verified"),
        (((1, 700), (2, 601)), "bad: another amount"),
        (((1, 700), (3, 500)), "bad: another amount"),
        (((1, 700), (3, 500), (2, 600)), "bad: another amount"),
        (((1, 700), (4, 1)), "bad: another amount"),
        (((1, 700), (2, 600), (3, 500), (4, 1)), "bad: another amount"),
    ],
)
def test_of_several_tabs_each_is_held_against_what_was_signed_under_it(
    shares: tuple[tuple[int, int], ...], word: str
) -> None:
    jws = told(**of_tabs(*shares, amount=sum(value for _, value in shares)))
    assert verdict(jws, replace(WISH, tab=True), tab_price(), HOW, [FIRST, SECOND, THIRD]) == word


def test_tabs_begin_with_the_first_and_add_up() -> None:
    jws = told(**of_tabs((2, 600), (1, 700), amount=1300))
    assert "the first tab" in verdict(jws, replace(WISH, tab=True), tab_price(), HOW, [FIRST, SECOND])
    jws = told(**of_tabs((1, 700), (2, 600), amount=1299))
    assert "do not add up" in verdict(jws, replace(WISH, tab=True), tab_price(), HOW, [FIRST, SECOND])


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([("hi", True)], b'"hi"\n'),
        ([("hi", False), ("", True)], b'"hi"\n'),
        ([("hi", False), (msgspec.UNSET, True)], b'"hi"\n'),
        ([(msgspec.UNSET, True)], b'""\n'),
        ([("", True)], b'""\n'),
        ([("", False), ({"a": [1.0]}, True)], b'""\n{"a":[1.0]}\n'),
    ],
)
def test_both_sides_digest_the_same_input(pieces: list[tuple[Any, bool]], lines: bytes) -> None:
    digest = InputDigest()
    for data, final in pieces:
        digest.add(data, final)
    assert digest.digest == hashlib.sha256(lines).digest()
