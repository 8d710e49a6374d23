"""Calls that a connection makes: output to the client as its credit allows, input from it as the capability takes it.

client --invoke.input--> pieces --Call.send--> capability        (credit granted as pieces are taken)
client <--invoke.event-- credit <--Call.receive-- capability     (nothing is taken while credit is used up)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog
import trio

from nexusd.api.flow import Flow, Gate
from nexusd.api.outgoing import Outgoing
from nexusd.services.capabilities.ports import Call, CallError, End
from nexusd_protocols import limits
from nexusd_protocols.ndjson import json_size
from nexusd_protocols.rpc.codes import CODES, Refusal
from nexusd_protocols.rpc.connection import notification
from nexusd_protocols.rpc.schema import Done, InvokeEnd, InvokeEvent, InvokeInputParams

log = structlog.get_logger(__name__)

_CANCEL_SECONDS: Final = 2.0
_TOGETHER: Final = 64 * limits.KIB
"""Bytes of lines that go out in one piece."""


class OutgoingCall:
    """One call of this connection's client."""

    def __init__(self, call: Call, outgoing: Outgoing, *, credit: int, final: bool, spawn: Callable[..., None]) -> None:
        """`spawn` starts a task in the connection's nursery."""
        self.invocation = call.invocation
        self.input_credit = 0 if final else limits.RPC_CREDIT_BYTES
        self._call = call
        self._outgoing = outgoing
        self._gate = Gate(credit)
        self._input = Flow(self.invocation, outgoing)
        self._input_over = final
        self._lines: list[bytes] = []  # that go out together
        self._given_up: str | None = None
        self._spawn = spawn

    # --- what the reader hands over; never waits ---------------------------------------------------------------------

    def take_input(self, params: InvokeInputParams, size: int) -> Done | Refusal:
        """A piece of input, in order."""
        if self._input_over:
            return Refusal("invalid_params", "The input of this call has ended")
        if params.data is not msgspec.UNSET and json_size(params.data) > limits.RPC_PIECE_BYTES:
            return Refusal("too_large", f"A piece of input is at most {limits.RPC_PIECE_BYTES} bytes")
        if not self._input.push((params.data, params.final), size):
            self.cancel("out_of_credit")
            return Refusal("out_of_credit")
        self._input_over = params.final
        return Done()

    def grant(self, size: int) -> None:
        """The client takes `size` bytes more of output."""
        self._gate.grant(size)

    def cancel(self, reason: str) -> None:
        """Give the call up; its end still comes."""
        if self._given_up is None:
            self._given_up = reason
            self._spawn(self._cancel)
            self._gate.open()

    # --- the task ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry the call until its end was told. Cancelled, it cancels the call."""
        ended = False
        try:
            try:
                end = await (self._drain() if self._input_over else self._feed_and_drain())
                ended = True
            except Exception:
                log.exception("a call failed", invocation=self.invocation)
                end = End(CallError("internal_error", CODES["internal_error"].message), 0, 0, 0)
            self._lines.append(notification("invoke.end", _end_params(self.invocation, end)))
            await self._outgoing.send(b"".join(self._lines))
        finally:
            if not ended:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + _CANCEL_SECONDS):
                    await self._call.cancel(self._given_up or "the connection of the caller closed")
                    while not isinstance(await self._call.receive(), End):
                        pass  # the call lets go of what it holds with its end

    async def _feed_and_drain(self) -> End:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._feed)
            end = await self._drain()
            nursery.cancel_scope.cancel()
        return end

    async def _feed(self) -> None:
        while True:
            pieces, size = await self._input.next()
            for data, final in pieces:
                await self._call.send(data, final)
                if final:
                    return
            await self._input.consumed(size)

    async def _cancel(self) -> None:
        try:
            await self._call.cancel(self._given_up or "cancelled")
        except Exception:
            log.exception("a call could not be cancelled", invocation=self.invocation)

    async def _drain(self) -> End:
        while True:
            item = await self._call.receive()
            if isinstance(item, End):
                return item
            size = 0
            for each in (item, *self._call.ready()):
                if self._gate.shut or size >= _TOGETHER:
                    await self._send()
                    size = 0
                    while self._gate.shut and self._given_up is None:
                        await self._gate.wait()
                event = InvokeEvent(invocation=self.invocation, seq=each.seq, event=each.event, data=each.data)
                line = notification("invoke.event", event)
                self._lines.append(line)
                size += len(line)
                self._gate.take(len(line) - 1)
            if not self._call.ending:
                await self._send()

    async def _send(self) -> None:
        """Send in one piece what there is."""
        if self._given_up is None:  # who gave up wants the end, not the rest
            await self._outgoing.send(b"".join(self._lines))
        self._lines.clear()


def _end_params(invocation: str, end: End) -> InvokeEnd:
    return InvokeEnd(
        invocation=invocation,
        input_bytes=end.input_bytes,
        output_bytes=end.output_bytes,
        duration_ms=end.duration_ms,
        error=_error_member(end.error) if end.error is not None else None,
        payment=end.payment,
    )


def _error_member(error: CallError) -> dict[str, Any]:
    member: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.remote_code is not None:
        member["remoteCode"] = error.remote_code
    if error.reason:
        member["reason"] = error.reason
    if error.prices:
        member["prices"] = error.prices
    return member
