"""Calls that this node makes: a caller machine on a stream, with a deadline, as a `Call` for the doors."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
import trio

from nexusd.host.ports import Channel, ConnectionLostError, DeadlineError, HostError, Streams
from nexusd.services.capabilities.ports import CallError, End, Output
from nexusd.services.ports import refusal_of
from nexusd.services.trade import Ended, InputDigest, Payment, line_of
from nexusd_protocols import limits
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError, RemoteProtocolError
from nexusd_protocols.identity import PeerId
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.invoke.caller import Caller
from nexusd_protocols.invoke.frames import PROTOCOL, Code
from nexusd_protocols.payments import faults
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import PaymentSummary

log = structlog.get_logger(__name__)

_CODES: Final = {
    Code.NOT_FOUND: "capability_unknown",
    Code.FORBIDDEN: "invoke_refused",
    Code.BUSY: "busy",
    Code.TIMEOUT: "timeout",
    Code.INPUT_TOO_LARGE: "too_large",
    Code.PAYMENT_REQUIRED: "payment_required",
    Code.PAYMENT_INVALID: "payment_invalid",
    Code.PAYMENT_TIMEOUT: "payment_required",
    Code.SETTLEMENT_PENDING: "settlement_pending",
    Code.CANCELLED: "invoke_cancelled",
}
"""A provider's word to a row of our table; any other is `invoke_failed`."""

_REFUSED: Final = frozenset({Code.NOT_FOUND, Code.FORBIDDEN, Code.BUSY})
"""What a provider says of itself: read without its name it would be about this node."""

Look = Callable[[Any], Any]
Reopen = Callable[[Any], Awaitable[tuple["CHANNEL", Caller]]]

LAST_WORD_S: Final = 5.0
CUT_SHORT: Final = "cut_short"
"""The machine's word for a stream that ended before the call did."""
TRIES: Final = 12
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 5.0
"""Between them: most of a minute in all, for a daemon that is being restarted."""

Pay = Callable[[events.PaymentDemanded], Awaitable[Payment | Refusal]]

CHANNEL = Channel[events.CallerEvent, commands.CallerCommand]


class OutgoingCall:
    """A call under way. See `ports.Call`."""

    def __init__(
        self,
        invocation: str,
        channel: CHANNEL,
        machine: Caller,
        max_duration_ms: int,
        ended: Callable[[OutgoingCall, End], None],
        pay: Pay,
        look: Look = lambda data: data,
        reopen: Reopen | None = None,
    ) -> None:
        """`pay` answers a demand for payment. `look` sees each piece of input that is sent behind the opening, and
        gives it as it may go. `reopen` makes the same call again, on a new stream and with what paid for it."""
        self.invocation = invocation
        self._channel = channel
        self._machine = machine
        self._began = trio.current_time()
        self._deadline = self._began + max_duration_ms / 1000
        self._ended = ended
        self._pay = pay
        self._look = look
        self._reopen = reopen
        self._tries = 0
        self.payment: Payment | None = None
        """What was signed for it, if anything was."""
        self._input = InputDigest()
        self._result = hashlib.sha256()
        self._pieces = 0
        self._events: deque[events.CallerEvent] = deque()  # that came along with the last one
        self._response: Any = None
        self._over = False
        self._failure: CallError | None = None
        self._objection: CallError | None = None
        """Why the call ends here, as the provider is to hear."""
        self._waiting: trio.CancelScope | None = None
        self._left = trio.Event()
        """The provider was told that the call is given up."""

    def said(self, data: Any, final: bool) -> None:
        """A piece of input went."""
        self._input.add(data, final)

    async def send(self, data: Any, final: bool) -> None:
        """See `ports.Call`."""
        if self._over or self._failure is not None:
            return
        shown = self._look(data)
        if isinstance(shown, Refusal):
            await self._give_up(CallError(shown.code, shown.message), "the input is not sent")
            return
        try:
            await self._channel.send(commands.Chunk(shown, final))
            self.said(shown, final)
        except LimitExceededError as error:
            await self._give_up(CallError("too_large", str(error)), "input too large")
        except (LocalProtocolError, ConnectionLostError):
            return  # the provider ended the call in the meantime, or is gone: `receive` tells
        except DeadlineError as error:
            await self._give_up(CallError("timeout", str(error)), "timeout")

    async def receive(self) -> Output | End:
        """See `ports.Call`."""
        while True:
            if self._failure is not None:
                await self._left.wait()
                return await self._end(self._failure)
            if self._objection is not None:
                await self._say(commands.Cancel(self._objection.message))
                return await self._end(self._objection)
            item = await self._next()
            match item:
                case None:
                    continue
                case End():
                    return item
                case events.Output():
                    return self._took(item)
                case events.Accepted():
                    continue
                case events.Finished(response=response):
                    self._response = response
                    return await self._end(None)
                case events.Failed(Code.BUSY) if self._tries and await self._again():
                    continue  # it is at it still, and will have it
                case events.Failed(code, message, response):
                    self._response = response
                    reached = self.payment.reached() if self.payment is not None else ""
                    if code == Code.PAYMENT_REQUIRED and reached:
                        return await self._end(CallError("price_reached", reached, code))
                    return await self._end(self._failed(code, message))
                case events.Cancelled(reason):
                    return await self._end(CallError("invoke_cancelled", f"The provider gave up: {reason}"))
                case events.PaymentDemanded() as demanded:
                    refused = await self._answer(demanded)
                    if refused is not None:
                        await self._say(commands.Cancel("this caller does not pay that"))
                        return await self._end(refused)
                case events.PaymentDue() as due:
                    refused = await self._pay_more(due)
                    if refused is not None:
                        await self._say(commands.Cancel(refused.message))
                        return await self._end(refused)

    def _failed(self, code: str, message: str) -> CallError:
        """What the provider said was wrong, for people; its codes go along for programs."""
        word = _CODES.get(code, "invoke_failed")
        if code == Code.PAYMENT_INVALID:
            reason, words = _fault(message, self._response)
            return CallError(word, f"The provider did not take the payment: {words or code}", code, reason)
        words = message or code
        return CallError(word, f"{self._channel.peer} says: {words}" if code in _REFUSED else words, code)

    def ready(self) -> list[Output]:
        """See `ports.Call`."""
        if self._over or self._failure is not None:
            return []
        self._events.extend(self._channel.ready())
        found: list[Output] = []
        while self._events and isinstance(event := self._events[0], events.Output):
            self._events.popleft()
            found.append(self._took(event))
        return found

    def _took(self, event: events.Output) -> Output:
        if self.payment is not None:
            refused = self.payment.received(event.size)
            if refused is not None:
                self._objection = _objection(refused)
            self._pieces += 1
            self._result.update(line_of(event.event, event.data))
        return Output(event.seq, event.event, event.data)

    @property
    def ending(self) -> bool:
        """See `ports.Call`."""
        # a payment is written down first, and that takes a while
        return self.payment is None and bool(self._events) and isinstance(self._events[0], events.Finished)

    async def cancel(self, reason: str) -> None:
        """See `ports.Call`."""
        await self._give_up(CallError("invoke_cancelled", reason), reason)

    @property
    def _latest(self) -> float:
        """When nobody waits any more. The provider's own time began later; behind its end it says what became of the
        payment, and that is worth waiting for."""
        return self._deadline + (LAST_WORD_S if self.payment is not None else 0.0)

    async def _next(self) -> events.CallerEvent | End | None:
        """The machine's next event; None where the wait was broken off because the call was given up."""
        self._events.extend(self._channel.ready())
        if self._events:
            return self._events.popleft()
        try:
            with trio.CancelScope(deadline=self._latest) as self._waiting:
                event = await self._channel.receive()
            if self._waiting.cancelled_caught:
                return await self._out_of_time() if self._failure is None else None
            return event or await self._end(CallError("connection_lost", "The provider ended the stream"))
        except DeadlineError:
            return await self._out_of_time()
        except HostError as error:
            if await self._again():
                return None
            return await self._end(self._failure or CallError(refusal_of(error).code, str(error)))
        except RemoteProtocolError as error:
            if error.code == CUT_SHORT and await self._again():
                return None
            message = f"The provider broke the protocol: {error.detail or error.code.replace('_', ' ')}"
            return await self._end(CallError("invoke_failed", message, error.code))
        finally:
            self._waiting = None

    async def _out_of_time(self) -> End:
        await self._say_last()
        await self._say(commands.TimedOut())
        return await self._end(CallError("timeout", "The provider did not finish in time"))

    async def _again(self) -> bool:
        """The connection broke: ask again for what was paid for, of which nothing came yet. The same payment for the
        same call costs nothing more; the provider knows it."""
        if self._reopen is None or self.payment is None or self._pieces:
            return False
        while self._failure is None and self._tries < TRIES:
            left = self._deadline - trio.current_time()
            with trio.move_on_after(max(0.0, left)) as self._waiting:
                await trio.sleep(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**self._tries))
                self._tries += 1
                try:
                    again = await self._reopen(self.payment.pay.payment)
                except (HostError, LocalProtocolError) as error:
                    log.debug("not_reopened", invocation=self.invocation, error=str(error))
                    continue
                lost, (self._channel, self._machine) = self._channel, again
                await lost.reset()
                return True
            if left <= 0 or self._waiting.cancelled_caught:
                return False
        return False

    async def _answer(self, demanded: events.PaymentDemanded) -> CallError | None:
        """Pay what is asked for, which may take until a person has decided; or say why not."""
        paid: Payment | Refusal | None = None
        left = max(0.0, self._deadline - trio.current_time())
        with trio.move_on_after(left) as self._waiting:
            try:
                paid = await self._pay(demanded)
            except OSError as error:
                paid = Refusal("payment_refused", f"The payment could not be kept: {error}")
        self._waiting = None
        if paid is None:
            return self._failure or CallError("timeout", "Nobody decided about the payment in time")
        if isinstance(paid, Refusal):
            return _objection(paid)
        self.payment = paid
        try:
            await self._channel.send(paid.pay)
        except (HostError, LocalProtocolError):
            return None  # the provider ended the call in the meantime, or is gone: `receive` tells
        return None

    async def _pay_more(self, due: events.PaymentDue) -> CallError | None:
        """Sign more under the tab, or say why the call ends here."""
        if self.payment is None:
            return CallError("payment_refused", "The provider asks for more where no tab was agreed")
        try:
            more = await self.payment.due(due, self._machine.usage.input_bytes)
        except OSError as error:
            more = Refusal("payment_refused", f"The payment could not be kept: {error}")
        if self._failure is not None:
            return None  # the last word was said meanwhile
        if isinstance(more, Refusal):
            return _objection(more)
        try:
            await self._channel.send(more)
        except (HostError, LocalProtocolError):
            return None  # `receive` tells
        return None

    async def _give_up(self, failure: CallError, reason: str) -> None:
        if self._over or self._failure is not None:
            return
        self._failure = failure
        try:
            await self._say_last()
            await self._say(commands.Cancel(reason))
        finally:
            self._left.set()
            if self._waiting is not None:
                self._waiting.cancel()

    async def _say_last(self) -> None:
        """What is paid for a call that is given up: for all that is here, though nobody read it yet."""
        if self.payment is None:
            return
        self._events.extend(self._channel.ready())
        for event in self._events:
            if isinstance(event, events.Output):
                self.payment.received(event.size)
        try:
            last = await self.payment.given_up()
        except OSError:
            return  # what was signed before is more
        if last is not None:
            await self._say(last)

    async def _say(self, command: commands.CallerCommand) -> None:
        try:
            await self._channel.send(command, timeout=2.0)
        except (HostError, LocalProtocolError):
            return  # it is over already

    async def _end(self, error: CallError | None) -> End:
        self._over = True
        usage = self._machine.usage
        elapsed = round((trio.current_time() - self._began) * 1000)
        summary: PaymentSummary | None = None
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 2.0):
            # what was said last must arrive: a reset overtakes it
            left = error is None or error is self._failure or error.code == "timeout"
            await (self._channel.aclose() if left else self._channel.reset())
        if self.payment is not None:
            code = "" if error is None else error.remote_code or error.code
            how = Ended(
                input=self._input.digest,
                input_bytes=usage.input_bytes,
                pieces=self._pieces,
                result=self._result.digest(),
                output_bytes=usage.output_bytes,
                response=self._response,
                code=code,
            )
            with trio.CancelScope(shield=True):
                try:
                    summary = await self.payment.ended(how)
                except OSError as failed:
                    log.error("payment_not_kept", invocation=self.invocation, error=str(failed))
        end = End(error, usage.input_bytes, usage.output_bytes, elapsed, summary)
        self._ended(self, end)
        return end


def _fault(message: str, response: Any) -> tuple[str, str]:
    """The name of what is wrong with a payment, if it is told, and words for it. Providers put the name before their
    words, or say nothing else; a response that something was charged has none."""
    told = response.get("errorReason") if isinstance(response, dict) else None
    reason = told if isinstance(told, str) and len(told) <= limits.REASON_CHARS else ""
    name, _, words = message.partition(": ")
    if name not in faults.CODES and name != reason:
        name, words = "", message
    reason = reason or name
    return reason, words or faults.CODES.get(reason, reason)


def _objection(refusal: Refusal) -> CallError:
    """Why this node does not pay."""
    data = refusal.data if isinstance(refusal.data, dict) else {}
    reason = data.get("reason")
    return CallError(
        refusal.code,
        refusal.message,
        reason=reason if isinstance(reason, str) else "",
        prices=tuple(data.get("prices", ())),
    )


async def dial(streams: Streams, local: PeerId, peer: PeerId) -> tuple[CHANNEL, Caller]:
    """A stream for one call, and the machine on it. Raises HostError."""
    machines: list[Caller] = []

    def machine(_: str) -> Caller:
        machines.append(Caller(local, peer))
        return machines[-1]

    # said once at most, and so not `replayable`: a peer that refuses the protocol is told nothing again
    channel = await streams.open(peer, [PROTOCOL], machine)
    return channel, machines[-1]
