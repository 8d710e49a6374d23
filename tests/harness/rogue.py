"""A provider that keeps no rule: mallory, called by real daemons, says what a script wants."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio
from libp2p.custom_types import TProtocol

from nexusd_protocols.payments import terms
from nexusd_protocols.payments.terms import PriceTerms
from tests.harness.mallory import INVOKE, Line, Mallory
from tests.harness.paying import price

Script = Callable[["Visitor"], Awaitable[None]]


class Visitor:
    """One call to the rogue."""

    def __init__(self, line: Line, opened: dict[str, Any], rogue: Rogue) -> None:
        self.line = line
        self.opened = opened
        self._rogue = rogue

    async def say(self, name: str, **fields: Any) -> bool:
        return await self.line.say(
            {"type": f"invoke.{name}", "version": 1, "requestId": self.opened["requestId"], **fields}
        )

    async def hear(self, *names: str) -> dict[str, Any] | None:
        """The next frame of one of these kinds; None where the caller says nothing more."""
        while (frame := await self.line.answer()) is not None:
            if (payment := frame.get("_meta", {}).get("x402/payment")) is not None:
                self._rogue.paid.append(payment)
            if frame["type"].removeprefix("invoke.") in names:
                return frame
        return None

    async def demand(self, required: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Ask for money; the payment, if one comes."""
        if (shown := self.opened.get("_meta", {}).get("x402/payment")) is not None:
            self._rogue.paid.append(shown)
            return shown
        required = required or terms.required([price()], self._rogue.peer.peer_id)
        await self.say("payment_required", _meta={"x402/payment-required": required})
        frame = await self.hear("payment_proof", "cancel")
        return None if frame is None else frame.get("_meta", {}).get("x402/payment")


class Rogue:
    """Serves whatever is called. `paid` is all that was shown to it."""

    def __init__(self, peer: Mallory) -> None:
        self.peer = peer
        self.paid: list[dict[str, Any]] = []
        self.script: Script
        peer.host.set_stream_handler(TProtocol(INVOKE), self._serve)

    def required(self, *offers: PriceTerms, **changes: Any) -> dict[str, Any]:
        """A demand, with fields of its first offer changed."""
        demand = terms.required(offers or [price()], self.peer.peer_id)
        demand["accepts"][0].update(changes)
        return demand

    async def _serve(self, stream: Any) -> None:
        line = Line(stream)
        opened = await line.answer()
        if opened is not None:
            with trio.move_on_after(30):
                await self.script(Visitor(line, opened, self))
