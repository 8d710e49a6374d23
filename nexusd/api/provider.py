"""Calls that a connection answers: each goes out as a `capability.invoke` request, and its answer ends the call.

caller --Incoming.receive--> gate --call.input--> client      (the client grants as it reads)
caller <--Incoming.emit-- pieces <--call.event-- client       (credit granted as output is taken)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import trio

from nexusd.api.flow import Flow, Gate
from nexusd.api.outgoing import Outgoing
from nexusd.services.capabilities.ports import CallFailed, Incoming
from nexusd_protocols import limits
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.connection import Connection, Response, notification
from nexusd_protocols.rpc.schema import CallCancelled, CallEventParams, CallInput, Done, IncomingCall

INTERNAL: Final = "INTERNAL"
_WORD_CHARS: Final = 64
_MESSAGE_CHARS: Final = 1024


class ServedCall:
    """One call that this connection's client answers."""

    def __init__(self, incoming: Incoming, outgoing: Outgoing) -> None:
        self.invocation = incoming.invocation
        self._incoming = incoming
        self._outgoing = outgoing
        self._gate = Gate(limits.RPC_CREDIT_BYTES)
        self._output = Flow(self.invocation, outgoing)
        self._failure: CallFailed | None = None
        self._scope = trio.CancelScope()
        self.answered = False
        """The client said its last word."""
        self.over = False
        """Nothing more is taken from the client."""

    # --- what the reader hands over; never waits ---------------------------------------------------------------------

    def take_event(self, params: CallEventParams, size: int) -> Done | Refusal:
        """A piece of output, in order."""
        if self._output.push(params, size):
            return Done()
        self.fail(CallFailed(INTERNAL, "the provider sent more than it was given credit for"))
        return Refusal("out_of_credit")

    def grant(self, size: int) -> None:
        """The client takes `size` bytes more of input."""
        self._gate.grant(size)

    def answer(self, response: Response) -> None:
        """The client answered: the call ends once its output has gone."""
        self.answered = True
        if self.over:
            return
        if response.error is not None:
            self._failure = _failure_of(response)
        self.over = True
        self._output.end()

    def fail(self, failure: CallFailed) -> None:
        """The client cannot be trusted, or reached, any more: the call ends now."""
        if self.over:
            return
        self._failure = failure
        self.over = True
        self._scope.cancel()

    # --- the task ----------------------------------------------------------------------------------------------------

    async def run(self, request: bytes) -> None:
        """Ask the client, and carry the call until it was answered. Raises CallFailed."""
        failure: Exception | None = None
        await self._outgoing.send(b"".join([request, *self._at_hand()]))
        with self._scope:
            failure = await self._carry()
        failure = failure or self._failure
        if failure is not None:
            raise failure

    async def _carry(self) -> Exception | None:
        if self._incoming.input_over:
            return await self._emit()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._feed)
            failure = await self._emit()
            nursery.cancel_scope.cancel()
        return failure

    async def _emit(self) -> Exception | None:
        """Pass the output on. What fails is raised outside of the nursery, which would wrap it."""
        try:
            while True:
                pieces, size = await self._output.next()
                if not pieces:
                    return None
                await self._incoming.emit_all([(piece.event, piece.data, piece.units) for piece in pieces])
                await self._output.consumed(size)
        except Exception as error:
            return error

    def _at_hand(self) -> Iterator[bytes]:
        """The lines of the input that is there already, as far as credit allows: they go out with the request."""
        while not self._gate.shut and (piece := self._incoming.input_ready()) is not None:
            yield self._input(*piece)

    async def _feed(self) -> None:
        while (piece := await self._incoming.receive()) is not None:
            while self._gate.shut:
                await self._gate.wait()
            await self._outgoing.send(self._input(*piece))

    def _input(self, data: Any, final: bool) -> bytes:
        """The line of a piece. Uses credit."""
        line = notification("call.input", CallInput(invocation=self.invocation, data=data, final=final))
        self._gate.take(len(line) - 1)
        return line


class SocketProvider:
    """Answers calls through a connection, for as long as it lives."""

    def __init__(self, machine: Connection, outgoing: Outgoing) -> None:
        self._machine = machine
        self._outgoing = outgoing
        self._by_request: dict[int | str, ServedCall] = {}
        self._by_invocation: dict[str, ServedCall] = {}
        self._gone = False

    async def call(self, incoming: Incoming) -> None:
        """Answer one call. Raises CallFailed: the client's own failure, or INTERNAL when its connection is gone."""
        if self._gone:
            raise _gone()
        if len(self._by_invocation) >= limits.RPC_CALLS:
            raise CallFailed("BUSY", "the provider answers too many calls already")
        served = ServedCall(incoming, self._outgoing)
        request_id, line = self._machine.request("capability.invoke", _incoming_params(incoming))
        self._by_request[request_id] = served
        self._by_invocation[served.invocation] = served
        reason = "cancelled"
        try:
            await served.run(line)
        except CallFailed as failure:
            reason = failure.message
            raise
        finally:
            del self._by_request[request_id], self._by_invocation[served.invocation]
            if not served.answered:
                self._machine.forget(request_id)
                params = CallCancelled(invocation=served.invocation, reason=incoming.cancelled or reason)
                self._outgoing.put(notification("call.cancelled", params))

    def find(self, invocation: str) -> ServedCall | None:
        """The call of that id, unless it was answered."""
        served = self._by_invocation.get(invocation)
        return None if served is None or served.over else served

    def answer(self, response: Response) -> None:
        """The client answered a request."""
        served = self._by_request.get(response.id)
        if served is not None:
            served.answer(response)

    def close(self) -> None:
        """The connection is gone: every call of it fails."""
        self._gone = True
        for served in self._by_invocation.values():
            served.fail(_gone())


def _gone() -> CallFailed:
    return CallFailed(INTERNAL, "the provider's program went away")


def _incoming_params(incoming: Incoming) -> IncomingCall:
    return IncomingCall(
        invocation=incoming.invocation,
        capability=incoming.capability,
        caller=incoming.caller,
        input_format=incoming.input_format,
        output_mode=incoming.output_mode,
        max_duration_ms=incoming.max_duration_ms,
        max_output_bytes=incoming.max_output_bytes,
        credit=limits.RPC_CREDIT_BYTES,
        metadata=incoming.metadata,
    )


def _failure_of(response: Response) -> CallFailed:
    """The provider's error in the words that go to the caller: its own code if it gave one."""
    error = response.error
    assert error is not None
    code = error.data.get("code") if isinstance(error.data, dict) else None
    word = code[:_WORD_CHARS] if isinstance(code, str) and code else INTERNAL
    return CallFailed(word, error.message[:_MESSAGE_CHARS])
