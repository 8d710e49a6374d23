"""Calls that this node answers for money: the stream and the work of one, with a sale between them.

    stream -> reader -> buffered input -> provider
    stream <- sale <- emit <- provider

The sale says when what the provider gives may go, and how the call ends. Behind the charge point a caller that is gone
does not end the work: it is owed, and kept for when the caller asks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import structlog
import trio

from nexusd.host.ports import HostError
from nexusd.services.capabilities.incoming import CHANNEL, IncomingCall, first
from nexusd.services.capabilities.ports import CallFailed
from nexusd.services.capabilities.registry import Entry
from nexusd.services.screening import Screen
from nexusd.services.trade import Closing, Failure, InputDigest, Sale
from nexusd_protocols import limits, ndjson
from nexusd_protocols.errors import LocalProtocolError
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.invoke.frames import Code

log = structlog.get_logger(__name__)

PATIENCE_S: Final = 600.0
"""How long a demand waits for its answer, within the time that the caller states: a person may have to decide."""
_FRAME_BYTES: Final = 1 * limits.KIB
"""What is around the data of an event's line."""


class PaidCall(IncomingCall):
    """A call to a capability that has a price. See `ports.Incoming`, `trade.Counter`."""

    def __init__(
        self,
        invocation: str,
        channel: CHANNEL,
        opened: events.Opened,
        entry: Entry,
        sale: Sale,
        screen: Screen,
    ) -> None:
        super().__init__(invocation, channel, opened, entry, screen)
        self._sale = sale
        self._input_digest = InputDigest()
        self._input_whole = trio.Event()
        self._paid: events.PaymentOffered | None = None
        if opened.payment is not None:
            self._paid = events.PaymentOffered(payment=opened.payment)
        self._answered = trio.Event()
        self._begun = False
        self._made_bytes = 0

    # --- for the provider ---------------------------------------------------------------------------------------------
    async def emit(self, event: str, data: Any, units: int | None = None) -> None:
        """See `ports.Incoming`. What cannot be sent must fail before it is paid for."""
        data = self._checked(event, data)
        size = ndjson.json_size(data)
        if size + _FRAME_BYTES > limits.INVOKE_LINE_BYTES or len(ndjson.encode(data)) + _FRAME_BYTES > (
            limits.INVOKE_LINE_BYTES
        ):
            raise CallFailed(Code.OUTPUT_TOO_LARGE, "a piece of output is longer than a line may be")
        if self._made_bytes + size > self.max_output_bytes:
            raise CallFailed(Code.OUTPUT_TOO_LARGE, f"over the {self.max_output_bytes} bytes of this call")
        self._made_bytes += size
        try:
            await self._sale.produce(event, data, size, units)
        except ValueError as error:
            raise CallFailed(Code.OUTPUT_TOO_LARGE, f"it cannot be paid as it comes: {error}") from error

    async def count(self, units: int) -> None:
        """See `ports.Incoming`."""
        await self._sale.count(units)

    @property
    def unit(self) -> str:
        """See `ports.Incoming`."""
        return self._sale.unit

    async def emit_all(self, pieces: Sequence[tuple[str, Any, int | None]]) -> None:
        """See `ports.Incoming`."""
        for piece in pieces:
            await self.emit(*piece)

    # --- for the sale -------------------------------------------------------------------------------------------------
    @property
    def left_s(self) -> float:
        """See `trade.Counter`."""
        return self._began + self.max_duration_ms / 1000 - trio.current_time()

    @property
    def input_digest(self) -> bytes:
        """See `trade.Counter`."""
        return self._input_digest.digest

    @property
    def whole_input(self) -> bytes:
        """See `trade.Counter`."""
        return self.input_digest if self._input_whole.is_set() else b""

    async def take_input(self) -> bytes:
        """See `trade.Counter`. What comes is kept for the work, within the input limit of the call."""
        with trio.move_on_after(max(0.0, self.left_s)):
            await self._input_whole.wait()
        return self.whole_input

    async def work(self) -> Failure | None:
        """See `trade.Counter`."""
        failure: Failure | None = None
        try:
            await self._work()
        except* CallFailed as failures:
            failed: CallFailed = first(failures)
            failure = Failure(failed.code, failed.message)
        except* HostError as errors:
            failure = Failure(Code.CANCELLED, f"the caller is gone: {first(errors)}")
        except* Exception:
            log.exception("provider_failed", capability=self.capability, invocation=self.invocation)
            failure = Failure(Code.INTERNAL, "the provider failed")
        if self._time.cancelled_caught:
            failure = Failure(Code.TIMEOUT, f"not done within {self.max_duration_ms} ms")
        return failure

    async def ask(self, due: commands.Due) -> None:
        """See `trade.Counter`."""
        await self._channel.send(due)

    async def hand_over(self, event: str, data: Any) -> None:
        """See `trade.Counter`."""
        await self._channel.send(commands.Event(event, data))
        self.output_bytes += ndjson.json_size(data)

    # --- for the service ----------------------------------------------------------------------------------------------
    def give_up(self, reason: str) -> None:
        """The caller wants nothing more."""
        self._leave(reason)
        if self._begun:
            self._sale.cancel()

    def lose(self, reason: str) -> None:
        """See `IncomingCall`."""
        self._leave(reason)
        if self._begun:
            self._sale.lose()

    def shut_down(self) -> None:
        """See `IncomingCall`."""
        self._leave("the provider is shutting down")
        if self._begun:
            self._sale.fail(Code.CANCELLED)

    def _leave(self, reason: str) -> None:
        self._given_up = self._given_up or reason
        self._answered.set()

    async def _answer(self) -> str:
        paid = self._paid
        if paid is None:
            paid = await self._demand()
        if paid is not None:
            self._begun = True
            self.closing = await self._sale.run(self, paid)
        try:
            await self._channel.send(self.closing.command, timeout=5.0)
        except (HostError, LocalProtocolError):
            # the caller ended the call first, or is gone
            return self.closing.outcome if self.closing.outcome != "ok" or self.closing.key else Code.CANCELLED
        return self.closing.outcome

    async def _demand(self) -> events.PaymentOffered | None:
        """Ask for the payment, and wait for it; None where the call is over. Nobody is to sign for what is refused
        then."""
        if why := self._unfit():
            self.closing = Closing(command=commands.Error(Code.BAD_REQUEST, why), outcome=Code.BAD_REQUEST)
            return None
        demand = await self._sale.demand()
        if isinstance(demand, commands.Error):
            self.closing = Closing(command=demand, outcome=demand.code)
            return None
        try:
            await self._channel.send(demand)
        except (HostError, LocalProtocolError) as error:
            self._leave(f"the caller is gone: {error}")
        with trio.move_on_after(min(PATIENCE_S, max(0.0, self.left_s))):
            await self._answered.wait()
        if self._paid is None and not self._given_up:
            late = commands.Error(Code.PAYMENT_TIMEOUT, "nobody paid in time")
            self.closing = Closing(command=late, outcome=Code.PAYMENT_TIMEOUT)
        elif self._given_up:
            outcome = Code.PAYMENT_REQUIRED if self._paid is None else Code.CANCELLED
            self.closing = Closing(command=commands.Cancel(self._given_up), outcome=outcome)
            return None
        return self._paid

    def _working(self) -> None:
        self._sale.began()

    # --- for the reader -----------------------------------------------------------------------------------------------
    def _took(self, data: Any, final: bool) -> None:
        self._input_digest.add(data, final)
        if final:
            self._input_whole.set()

    def _other(self, event: events.ProviderEvent) -> None:
        if isinstance(event, events.PaymentOffered) and self._paid is None:
            self._paid = event
            self._answered.set()
        elif isinstance(event, events.TabAnswer) and self._begun:
            self._sale.answered(event)
