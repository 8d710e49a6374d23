"""Charges to test with: alice provides, bob and mallory pay."""

from __future__ import annotations

from typing import Any

from nexusd_protocols.identity import AgentId, PeerId, Signer
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.charge import Exposure, Reservation, Result
from nexusd_protocols.payments.gate import Delivery, Gate
from nexusd_protocols.payments.tab_gate import TabGate

ALICE = AgentId(Signer(b"\1" * 32).peer_id)
BOB: PeerId = Signer(b"\2" * 32).peer_id
MALLORY: PeerId = Signer(b"\x42" * 32).peer_id
ASSET = bytes.fromhex("833589fcd6edb6e08f4c7c32d4f71b54bda02913")
PAYEE = Address(b"\xaa" * 20)
WIDE = Exposure(payer=10**9, total=10**12)
NOW = 1_800_000_000_000
UNTIL = NOW // 1000 + 300
INPUT = b"i" * 32
"""The digest of what is worked on."""


def payer(number: int) -> Address:
    return Address(bytes([number]) * 20)


def entry(
    number: int = 1, *, payer_number: int = 7, amount: int = 100, until: int = UNTIL, **fields: Any
) -> Reservation:
    """The authorisation with that number of that payer, for the call with that number."""
    authorization = Authorization(
        from_=payer(payer_number),
        to=PAYEE,
        value=amount,
        valid_after=0,
        valid_before=until,
        nonce=number.to_bytes(32, "big"),
    )
    key = f"eip155:8453/{ASSET.hex()}/{authorization.from_.hex()}/{authorization.nonce.hex()}"
    values: dict[str, Any] = {
        "key": key,
        "agent": ALICE,
        "peer": BOB,
        "capability": CapabilityName("summarize"),
        "request": number.to_bytes(32, "big"),
        "authorization": authorization,
        "signature": amount.to_bytes(65, "big"),
    }
    return Reservation(**(values | fields))


def result(text: str = "done") -> Result:
    return Result(digest=text.encode().ljust(32, b"."), size=len(text), data=text.encode())


def gate(one: Reservation | None = None, delivery: Delivery = Delivery.DIRECT, **options: Any) -> Gate:
    return Gate(one or entry(), delivery, **options)


def tab_gate(one: Reservation | None = None, price: int = 1, **options: Any) -> TabGate:
    """A unit costs `price`."""
    return TabGate(one or entry(tab=True), lambda amount: amount // price, **options)
