"""Purchases to put into a store. Charges are those of the protocol's tests."""

from __future__ import annotations

from typing import Any

from nexusd.store import Store
from nexusd.store.ledger.charge_rows import ALL_PAYERS, Sums, read_sums
from nexusd.store.ledger.purchase_rows import read_spent
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.policy import Ask, Decision, Pay, Refuse, Spent
from nexusd_protocols.payments.purchase import Intent, Signed
from tests.unit.protocols.payments.charges import ASSET, PAYEE, UNTIL, payer
from tests.unit.store.people import ALICE, BOB


def intent(number: int = 1, *, amount: int = 100, **fields: Any) -> Intent:
    values: dict[str, Any] = {
        "id": f"purchase-{number}",
        "agent": ALICE,
        "peer": BOB,
        "capability": CapabilityName("summarize"),
        "request": number.to_bytes(32, "big"),
        "asset": f"eip155:8453/{ASSET.hex()}",
        "pay_to": PAYEE,
        "amount": amount,
        "cost": amount,
    }
    return Intent(**(values | fields))


def signed(of: Intent, *, amount: int | None = None, until: int = UNTIL, tab: int = 0) -> Signed:
    authorization = Authorization(
        from_=payer(9),
        to=of.pay_to,
        value=of.amount if amount is None else amount,
        valid_after=0,
        valid_before=until,
        nonce=of.request if not tab else tab.to_bytes(32, "little"),
    )
    key = f"{of.asset}/{authorization.from_.hex()}/{authorization.nonce.hex()}"
    signature = authorization.value.to_bytes(65, "big")
    return Signed(key=key, authorization=authorization, signature=signature, salt=b"salt", payload=b"{}")


def pay(_: Spent) -> Decision:
    return Pay()


def ask(_: Spent) -> Decision:
    return Ask("amount")


def within(limit: int, cost: int) -> Any:
    """A policy that lets so much be spent in a day."""

    def judge(spent: Spent) -> Decision:
        return Pay() if spent.day + cost <= limit else Refuse("over_limit_of_day")

    return judge


async def sums(store: Store, asset: str, of: Address | None = None) -> Sums:
    """What is kept of what a payer owes, paid and took back in an asset; or all payers."""
    name = ALL_PAYERS if of is None else of.hex()
    return await store.database.read(lambda connection: read_sums(connection, asset, name))


async def spent_by(store: Store, agent: AgentId, now: int, pay_to: Address) -> Spent:
    """What a policy is shown before it agrees to a purchase from that payee."""
    return await store.database.read(lambda connection: read_spent(connection, agent, pay_to, now))
