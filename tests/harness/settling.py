"""Charges that real signatures pay, and settlement over a real ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import trio

from nexusd.chain.ports import Chain
from nexusd.chain.settlement import Policy, Settlement
from nexusd.clock import now_ms
from nexusd.store.store import Store
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.authorization import Account, Authorization, sign
from nexusd_protocols.payments.charge import Charge, Exposure, Reservation, Reserved, Result, State
from nexusd_protocols.payments.tokens import USDC_BASE, Token, Tokens
from tests.harness.stores import opened
from tests.unit.protocols.payments.charges import entry

PRICE = 100_000
WIDE = Exposure(payer=10**18, total=10**18, charges=10**6)
PAYEE = Account(bytes(30) + b"bo").address
GAS = Account(bytes(29) + b"gas")
PATIENCE_S = 60.0
"""How long a test waits for a settlement: far above what it takes."""
OPEN = frozenset({State.RESERVED, State.DUE, State.SUBMITTED})


def payer(number: int = 1) -> Account:
    return Account((number + 1000).to_bytes(32, "big"))


def owed_by(
    account: Account,
    number: int,
    *,
    until: int,
    amount: int = PRICE,
    to: Address = PAYEE,
    tab: bool = False,
    token: Token = USDC_BASE,
) -> Reservation:
    """What the payer has signed for the call with that number."""
    authorization = Authorization(
        from_=account.address,
        to=to,
        value=amount,
        valid_after=0,
        valid_before=until,
        nonce=number.to_bytes(32, "big"),
    )
    return entry(
        number,
        key=authorization.key(token),
        authorization=authorization,
        signature=sign(authorization, token, account),
        tab=tab,
    )


def raised(one: Reservation, amount: int, account: Account, token: Token = USDC_BASE) -> Reservation:
    """The same tab, signed for more."""
    authorization = replace(one.authorization, value=amount)
    return replace(one, authorization=authorization, signature=sign(authorization, token, account))


class Provider:
    """A ledger, and settlement over it."""

    def __init__(
        self,
        store: Store,
        chain: Chain,
        account: Account | None = GAS,
        policy: Policy | None = None,
        token: Token = USDC_BASE,
    ) -> None:
        self.store = store
        self.ledger = store.ledger
        self.clock_off_ms = 0
        self.told: list[tuple[str, State]] = []
        self.settlement = Settlement(
            chain,
            store.ledger,
            Tokens([token]),
            account=account,
            policy=policy or Policy(max_fee=10**11),
            clock=self.now,
            changed=lambda key, state: self.told.append((key, state)),
        )

    def now(self) -> int:
        return now_ms() + self.clock_off_ms

    async def owe(self, one: Reservation, *, due: bool = True) -> str:
        """Reserve, work, hand over."""
        answer = await self.ledger.reserve(one, now=1, balance=None, exposure=WIDE)
        assert isinstance(answer, Reserved), answer
        if due:
            result = Result(digest=bytes(32), size=4, data=b"done")
            await self.ledger.due(one.key, amount=one.amount, result=result, receipt=b"receipt", now=self.now())
        return one.key

    async def row(self, key: str) -> Charge:
        charge = await self.ledger.row(key)
        assert charge is not None
        return charge

    async def until(self, condition: Callable[[], bool] | None = None, keys: Iterable[str] = ()) -> list[Charge]:
        """Until it is so, and none of `keys` is open any more. The settlement must be running."""
        with trio.fail_after(PATIENCE_S):
            while True:
                rows = [await self.row(key) for key in keys]
                if all(row.state not in OPEN for row in rows) and (condition is None or condition()):
                    return rows
                await trio.sleep(0.02)


@asynccontextmanager
async def provider(
    path: Path,
    chain: Chain,
    account: Account | None = GAS,
    policy: Policy | None = None,
    token: Token = USDC_BASE,
) -> AsyncIterator[Provider]:
    """Its store is at `path`; it knows `token` besides those that all do."""
    async with opened(path) as store:
        await store.ledger.recover(1)
        yield Provider(store, chain, account, policy, token)


@asynccontextmanager
async def running(one: Provider) -> AsyncIterator[None]:
    """Settlement at work."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.settlement.run)
        yield
        nursery.cancel_scope.cancel()
