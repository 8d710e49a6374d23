"""Calls that this node makes: a caller machine on a stream, with a deadline, as a `Call` for the doors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import trio

from nexusd.host.ports import Channel, ConnectionLostError, DeadlineError, HostError
from nexusd.services.capabilities.ports import CallError, End, Output
from nexusd.services.ports import refusal_of
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError, RemoteProtocolError
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.invoke.caller import Caller
from nexusd_protocols.invoke.frames import Code

_CODES: Final = {
    Code.NOT_FOUND: "capability_unknown",
    Code.FORBIDDEN: "invoke_refused",
    Code.BUSY: "busy",
    Code.TIMEOUT: "timeout",
    Code.INPUT_TOO_LARGE: "too_large",
    Code.PAYMENT_REQUIRED: "payment_required",
    Code.PAYMENT_INVALID: "payment_required",
    Code.PAYMENT_TIMEOUT: "payment_required",
    Code.CANCELLED: "invoke_cancelled",
}
"""A provider's word to a row of our table; any other is `invoke_failed`."""

CHANNEL = Channel[events.CallerEvent, commands.CallerCommand]


class OutgoingCall:
    """A call under way. See `ports.Call`."""

    def __init__(
        self,
        invocation: str,
        channel: CHANNEL,
        machine: Caller,
        max_duration_ms: int,
        ended: Callable[[End], None],
    ) -> None:
        self.invocation = invocation
        self._channel = channel
        self._machine = machine
        self._began = trio.current_time()
        self._deadline = self._began + max_duration_ms / 1000
        self._ended = ended
        self._over = False
        self._failure: CallError | None = None
        self._waiting: trio.CancelScope | None = None

    async def send(self, data: Any, final: bool) -> None:
        """See `ports.Call`."""
        if self._over or self._failure is not None:
            return
        try:
            await self._channel.send(commands.Chunk(data, final))
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
                return await self._end(self._failure)
            item = await self._next()
            match item:
                case None:
                    continue
                case End():
                    return item
                case events.Output(seq, event, data, _):
                    return Output(seq, event, data)
                case events.Accepted():
                    continue
                case events.Finished():
                    return await self._end(None)
                case events.Failed(code, message):
                    return await self._end(CallError(_CODES.get(code, "invoke_failed"), message or code, code))
                case events.Cancelled(reason):
                    return await self._end(CallError("invoke_cancelled", f"The provider gave up: {reason}"))
                case events.PaymentDemanded(terms):
                    await self._say(commands.Cancel("this caller does not pay"))
                    price = "payment" if terms is None else f"{terms.amount} {terms.currency}"
                    return await self._end(CallError("payment_required", f"The provider asks for {price}"))

    async def cancel(self, reason: str) -> None:
        """See `ports.Call`."""
        await self._give_up(CallError("invoke_cancelled", reason), reason)

    async def _next(self) -> events.CallerEvent | End | None:
        """The machine's next event; None where the wait was broken off because the call was given up."""
        try:
            with trio.CancelScope() as self._waiting:
                event = await self._channel.receive(timeout=max(0.0, self._deadline - trio.current_time()))
                return event or await self._end(CallError("connection_lost", "The provider ended the stream"))
        except DeadlineError:
            await self._say(commands.TimedOut())
            return await self._end(CallError("timeout", "The provider did not finish in time"))
        except HostError as error:
            return await self._end(CallError(refusal_of(error).code, str(error)))
        except RemoteProtocolError as error:
            message = f"The provider broke the protocol: {error}"
            return await self._end(CallError("invoke_failed", message, error.code))
        finally:
            self._waiting = None
        return None

    async def _give_up(self, failure: CallError, reason: str) -> None:
        if self._over or self._failure is not None:
            return
        self._failure = failure
        if self._waiting is not None:
            self._waiting.cancel()
        await self._say(commands.Cancel(reason))

    async def _say(self, command: commands.CallerCommand) -> None:
        try:
            await self._channel.send(command, timeout=2.0)
        except (HostError, LocalProtocolError):
            return  # it is over already

    async def _end(self, error: CallError | None) -> End:
        self._over = True
        usage = self._machine.usage
        elapsed = round((trio.current_time() - self._began) * 1000)
        end = End(error, usage.input_bytes, usage.output_bytes, elapsed)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 2.0):
            await (self._channel.aclose() if error is None else self._channel.reset())
        self._ended(end)
        return end
