"""What is owed, what was made for it, and what a survey of the chain sees: for tests of what settlement decides."""

from __future__ import annotations

from dataclasses import replace

from nexusd.chain import eip3009
from nexusd.chain.eip3009 import Log
from nexusd.chain.settlement import slots
from nexusd.chain.settlement.policy import Policy
from nexusd.chain.settlement.queue import Queue
from nexusd.chain.settlement.steps import Owed
from nexusd.chain.views import Head, Receipt, Survey
from nexusd_protocols.payments.charge import Charge, State
from nexusd_protocols.payments.tokens import USDC_BASE
from nexusd_protocols.payments.transaction import Fees, Transaction, sign
from tests.harness.settling import GAS
from tests.unit.protocols.payments.charges import entry

NOW = 1_800_000_000_000
TIME = 1_800_000_000
UNTIL = TIME + 300
POLICY = Policy(large=1_000, deep=10, max_fee=10_000, gas=100)
FEES = Fees(2_000_100, 1_000_000)


def policy(**changes) -> Policy:
    return replace(POLICY, max_fee=10**10, **changes)


def deciding(rule: Policy) -> Queue:
    return Queue(rule, GAS.address)


def owed(number: int = 1, *transactions: Transaction, amount: int = 100, until: int = UNTIL) -> Owed:
    charge = Charge(entry=entry(number, amount=amount, until=until), state=State.DUE, working=False)
    return Owed(charge, USDC_BASE, transactions)


def made(nonce: int = 5, *, fees: Fees = FEES, data: bytes = b"", at: int = NOW) -> Transaction:
    transaction = sign(GAS, chain_id=8453, nonce=nonce, fees=fees, gas=100, to=USDC_BASE.address, data=data)
    return replace(transaction, made_at=at)


def survey(
    *each: Owed, nonce: int = 5, pending: int = 5, time_s: int = TIME, safe: int | None = 90, **changes
) -> Survey:
    fields = {
        "head": Head(100, time_s, 50),
        "safe": safe,
        "tip": 1,
        "nonce": nonce,
        "pending": pending,
        "gas_balance": 10**20,
        "used": {one.key: False for one in each},
        "failing": {one.key: "" for one in each if not one.transactions},
    }
    return Survey(**(fields | changes))


def later(*each: Owed, **changes) -> Survey:
    """Some blocks on."""
    return survey(*each, head=Head(100 + slots.BUMP_BLOCKS, TIME, 50), **changes)


def receipt(one: Owed, transaction: Transaction, block: int = 100, amount: int = 100) -> dict[str, Receipt | None]:
    authorization = one.charge.entry.authorization
    payer, payee = eip3009.address_word(authorization.from_), eip3009.address_word(authorization.to)
    logs = (
        Log(
            address=USDC_BASE.address,
            topics=(eip3009.USED, payer, one.charge.entry.authorization.nonce),
            data=b"",
            transaction=transaction.hash,
            block=block,
            index=0,
        ),
        Log(
            address=USDC_BASE.address,
            topics=(eip3009.TRANSFER, payer, payee),
            data=eip3009.uint_word(amount),
            transaction=transaction.hash,
            block=block,
            index=1,
        ),
    )
    return {transaction.hash: Receipt(block, True, logs)}


def look(queue: Queue, seen: Survey, *each: Owed, live=None, watched=(), now: int = NOW):
    """`live`: the account's transactions from its nonce on, if they are not those of `each`."""
    if live is None:
        live = sorted({one for row in each for one in row.transactions}, key=lambda one: one.account_nonce)
    return queue.look(seen, each, live, watched, now)
