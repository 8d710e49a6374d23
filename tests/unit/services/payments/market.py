"""bob's market: his sales over a real ledger, on chains that say what the test wants, and calls that buy there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from nexusd.agents import Agent
from nexusd.host.ports import ConnectionLostError
from nexusd.services.payments.credit import Credits
from nexusd.services.payments.held import Held
from nexusd.services.payments.ports import Fate, Funds, Health
from nexusd.services.payments.sale import Sale
from nexusd.services.payments.shop import Shop
from nexusd.services.payments.trust import Payers, Trust
from nexusd.services.trade import Closing, Failure
from nexusd.store import Store
from nexusd_protocols.identity import AgentId
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.invoke.frames import OpenFrame
from nexusd_protocols.invoke.quota import Limits
from nexusd_protocols.payments import binding
from nexusd_protocols.payments.binding import Context
from nexusd_protocols.payments.charge import Delivered, State
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.terms import PriceTerms
from nexusd_protocols.payments.tokens import Holdings, Tokens
from tests.harness.paying import NOW, payment, price
from tests.harness.people import ALICE, BOB
from tests.harness.stores import opened


class FakeChains:
    """Base with a node, unless `nodes` is emptied. `answer` is what a check finds."""

    def __init__(self) -> None:
        self.nodes = {8453}
        self.answer: Funds | PaymentFault = Funds(10**9)
        self.without_gas = ""
        self.moved = trio.Event()
        self.woken = 0

    def online(self, chain_id: int) -> bool:
        return chain_id in self.nodes

    def health(self) -> list[Health]:
        return []

    def unable(self, chain_id: int) -> str:
        return self.without_gas if chain_id in self.nodes else ""

    async def check(self, payment: Any) -> Funds | PaymentFault:
        await trio.lowlevel.checkpoint()
        return self.answer if self.nodes else Funds(None)

    async def watch(self, payment: Any) -> Funds | PaymentFault:
        return await self.check(payment)

    async def fate(self, token: Any, authorization: Any, since_s: int) -> Fate | None:
        return None

    async def holdings(self, chain_id: int, holder: Any, tokens: Any) -> Holdings:
        return Holdings(0, dict.fromkeys(tokens, 0))

    def wake(self, chain_id: int) -> None:
        self.woken += 1

    async def changed(self, key: str) -> None:
        await self.moved.wait()


class Call:
    """A call as its sale sees it; `script` is the work."""

    def __init__(self, shop: Market, script: Callable[[Call], Awaitable[Failure | None]]) -> None:
        self.shop = shop
        self.script = script
        self.input_bytes = 5
        self.output_bytes = 0
        self.duration_ms = 7
        self.left_s = 30.0
        self.input_digest = bytes(32)
        self.whole_input = self.input_digest
        self.sale: Sale
        self.came: list[Any] = []
        self.states: list[tuple[State, Delivered] | None] = []
        self.gone = False
        self.works = 0

    async def take_input(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.whole_input

    async def work(self) -> Failure | None:
        self.works += 1
        self.shop.works += 1
        return await self.script(self)

    async def hand_over(self, event: str, data: Any) -> None:
        if self.gone:
            raise ConnectionLostError("gone")
        row = await self.shop.row()
        self.states.append(None if row is None else (row.state, row.delivered))
        self.came.append(data)
        self.output_bytes += len(data)

    async def ask(self, due: commands.Due) -> None:
        raise ConnectionLostError("nobody has a tab here")

    async def say(self, *pieces: str) -> None:
        for each in pieces:
            await self.sale.produce("partial", each, len(each), None)


class Market:
    """bob sells `summarize`; `clock` is what he thinks the time is, in ms."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.chains = FakeChains()
        self.now = NOW * 1000
        self.trust = Trust(hold_strangers=False, accept_unbound=True)
        self.held = Held()
        self.credits = Credits()
        self.works = 0
        self.keys: list[str] = []
        self.price = price()
        self.others: list[PriceTerms] = []
        """What else it may be bought for."""

    def opened(self, request_id: str = "r1", *, stream: bool = False) -> events.Opened:
        frame = OpenFrame(
            version=1,
            request_id=request_id,
            capability="summarize",
            input_format="text/plain",
            output_mode="stream" if stream else "unary",
        )
        return events.Opened(frame, Limits(), AgentId(ALICE.peer_id), None)

    def pay(self, opened: events.Opened, **options: Any) -> Any:
        request = binding.request_digest(
            request_id=opened.open.request_id, caller=opened.caller, to_agent=None, content=opened.open.content()
        )
        return payment(self.price, context=Context(BOB.peer_id, request), **options)

    async def sell(
        self, call: Call, opened: events.Opened, paid: Any, *, during: Callable[[Sale], Awaitable[None]] | None = None
    ) -> Closing:
        shop = shop_of(self)
        call.sale = Sale(shop, ALICE.peer_id, opened, [self.price, *self.others], "")
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                if during is not None:
                    nursery.start_soon(during, call.sale)
                closing = await call.sale.run(call, events.PaymentOffered(payment=paid))
                nursery.cancel_scope.cancel()
        return closing

    async def row(self) -> Any:
        page = await self.store.ledger.list(AgentId(BOB.peer_id), limit=1)
        return page.rows[-1] if page.rows else None


def shop_of(market: Market) -> Shop:
    return Shop(
        agent=Agent(AgentId(BOB.peer_id), BOB),
        ledger=market.store.ledger,
        chains=market.chains,
        tokens=Tokens(),
        trust=market.trust,
        payers=Payers(market.trust, market.store.standings),
        held=market.held,
        credits=market.credits,
        clock=lambda: market.now,
    )


@asynccontextmanager
async def market(directory: Path) -> AsyncIterator[Market]:
    async with opened(directory / "store.sqlite") as store:
        yield Market(store)


async def say_two(call: Call) -> None:
    await call.say("one", "two")


def responded(closing: Closing) -> dict[str, Any]:
    assert isinstance(closing.command, commands.Done | commands.Error)
    found: dict[str, Any] = closing.command.response
    return found
