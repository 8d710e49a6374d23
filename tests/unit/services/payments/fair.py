"""A fair: whole calls with tabs, over the real ledger of one side and the real books of the other."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from nexusd.services.payments.policies import Policies
from nexusd.services.payments.purse import Payment, Purse
from nexusd.services.payments.sale import Sale
from nexusd.services.payments.trust import Allowance, Trust
from nexusd.services.trade import Closing, Ended, Failure, Wish, line_of
from nexusd.store import Store
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.ndjson import json_size
from nexusd_protocols.payments import binding, receipt
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.charge import Charge
from nexusd_protocols.payments.terms import PriceTerms
from nexusd_protocols.payments.tokens import Token, Tokens
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.paying import PAYER, tab_price
from tests.harness.people import ALICE, BOB
from tests.harness.stores import opened
from tests.unit.protocols.payments.charges import WIDE, entry
from tests.unit.services.payments.market import FakeChains, Market, shop_of

AGENT = AgentId(ALICE.peer_id)
CAP = 1000
PRICE = tab_price(amount=CAP)
Work = Callable[["Call"], Awaitable[Failure | None]]


class Call:
    """alice calls bob: his sale at one end, her payment at the other, and a wire that keeps the order."""

    def __init__(self, fair: Fair, work: Work, *, stream: bool = True) -> None:
        self.fair = fair
        self.script = work
        self.opened = fair.bob.opened(f"call-{next(fair.numbers)}", stream=stream)
        self.input_bytes = self.output_bytes = 0
        self.input_digest = self.whole_input = bytes(32)
        self.duration_ms, self.left_s = 7, 30.0
        self.came: list[Any] = []
        self.asked: list[commands.Due] = []
        self.objection: Refusal | None = None
        self.silent = False
        self.payment: Payment
        self.sale: Sale
        self._digest = hashlib.sha256()

    # --- trade.Counter ------------------------------------------------------------------------------------------------
    async def take_input(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.whole_input

    async def work(self) -> Failure | None:
        self.sale.began()
        return await self.script(self)

    async def hand_over(self, event: str, data: Any) -> None:
        size = json_size(data)
        self.output_bytes += size
        self.came.append(data)
        self._digest.update(line_of(event, data))
        refused = self.payment.received(size)
        if refused is not None:
            self.objection = refused
            self.sale.cancel()

    async def ask(self, due: commands.Due) -> None:
        self.asked.append(due)
        if self.silent:
            return
        answer = await self.payment.due(events.PaymentDue(due.tab, due.units, due.amount, due.final), 0)
        match answer:
            case Refusal():
                self.objection = answer
                self.sale.cancel()
            case commands.Grow(tab, amount, signature, final):
                self.sale.answered(events.TabGrown(tab, amount, signature, final))
            case commands.OpenTab(tab, payment, final):
                self.sale.answered(events.TabOpened(tab, payment, final))
            case commands.Exhausted(tab):
                self.sale.answered(events.TabExhausted(tab))

    # --- the test -----------------------------------------------------------------------------------------------------
    async def pay(self, max_price: str) -> Payment | Refusal | commands.Error:
        self.sale = Sale(shop_of(self.fair.bob), ALICE.peer_id, self.opened, self.fair.prices, "")
        demand = await self.sale.demand()
        if isinstance(demand, commands.Error):
            return demand
        request = binding.request_digest(
            request_id=self.opened.open.request_id, caller=AGENT, to_agent=None, content=self.opened.open.content()
        )
        wish = Wish(
            id=self.opened.open.request_id,
            agent=AGENT,
            peer=BOB.peer_id,
            capability=CapabilityName("summarize"),
            request=request,
            demanded=events.PaymentDemanded(required=demand.required),
            max_price=max_price,
            tab=True,
        )
        return await self.fair.purse.pay(wish)

    async def run(self, max_price: str = "0.1") -> Closing:
        paid = await self.pay(max_price)
        assert isinstance(paid, Payment), paid
        self.payment = paid
        with trio.fail_after(20):
            return await self.sale.run(self, events.PaymentOffered(payment=paid.pay.payment))

    async def summary(self, closing: Closing) -> schema.PaymentSummary:
        command = closing.command
        response = command.response if isinstance(command, commands.Done | commands.Error) else None
        how = Ended(
            input=self.input_digest,
            input_bytes=0,
            pieces=len(self.came),
            result=self._digest.digest(),
            output_bytes=self.output_bytes,
            response=response,
            code=command.code if isinstance(command, commands.Error) else "",
        )
        return await self.payment.ended(how)

    async def rows(self) -> list[Charge]:
        (row,) = (await self.fair.buyer.purchases.list(AGENT, limit=1)).rows
        return await self.fair.seller.ledger.of_call(row.intent.request)


class Fair:
    """bob's shop and alice's purse."""

    def __init__(self, seller: Store) -> None:
        self.seller = seller
        self.buyer: Store
        self.bob = Market(seller)
        self.bob.trust = Trust(stranger=Allowance(tab=CAP, exposure=10_000))
        self.prices: list[PriceTerms] = [PRICE]
        self.numbers = itertools.count(1)
        self.salts = itertools.count()
        self.policies: Policies
        self.purse: Purse

    async def buys_with(self, buyer: Store) -> None:
        """alice's books are these from now on."""
        self.buyer = buyer
        self.policies = Policies(buyer)
        params = schema.PayPolicySetParams(per_request="1", networks=["base"])
        assert await self.policies.change(AGENT, params, None) is None
        self.purse = Purse(
            purchases=buyer.purchases,
            policies=self.policies,
            tokens=Tokens(),
            clock=lambda: self.bob.now,
            entropy=lambda size: next(self.salts).to_bytes(size),
            emit=lambda _: None,
            account=lambda: PAYER,
            published_prices=lambda _peer, _capability: (),
            holds=self._holds,
            has_wallet=lambda: True,
        )

    async def _holds(self, _token: Token, _holder: Address) -> int | None:
        await trio.lowlevel.checkpoint()
        return None

    @property
    def chains(self) -> FakeChains:
        return self.bob.chains

    async def settle(self) -> None:
        """A chain that settles whatever is due."""
        ledger = self.seller.ledger
        while True:
            for row in await ledger.next_due(self.bob.now, 9):
                await ledger.settled(row.entry.key, "0x" + "ab" * 32, 1, self.bob.now)
                self.chains.moved.set()
                self.chains.moved = trio.Event()
            await trio.sleep(0.01)


@asynccontextmanager
async def fair(directory: Path) -> AsyncIterator[Fair]:
    async with opened(directory / "bob.sqlite") as seller, opened(directory / "alice.sqlite") as buyer:
        found = Fair(seller)
        await found.buys_with(buyer)
        yield found


def pieces(count: int, *, units: int | None = None) -> Work:
    async def work(call: Call) -> None:
        for number in range(count):
            await call.sale.produce("partial", f"{number:03}", 3, units)

    return work


def receipt_of(closing: Closing) -> receipt.Receipt:
    assert isinstance(closing.command, commands.Done | commands.Error)
    told = closing.command.response["extensions"]["nexus-receipt"]["info"]["receipt"]["signature"]
    found = receipt.verify(told)
    assert isinstance(found, receipt.Receipt)
    return found


async def settle_one(market: Fair, number: int) -> None:
    """alice has paid before."""
    one = entry(number + 100, peer=ALICE.peer_id, payer_number=50)
    ledger = market.seller.ledger
    await ledger.reserve(one, now=market.bob.now, balance=None, exposure=WIDE)
    await ledger.due(one.key, amount=one.amount, now=market.bob.now)
    await ledger.settled(one.key, "0x1", 1, market.bob.now)
