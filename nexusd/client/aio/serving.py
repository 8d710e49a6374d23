"""Serving a capability from an asynchronous program: one task reads the connection, and one more answers each call."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any, Self

import anyio
import msgspec
from anyio.abc import TaskGroup

from nexusd.client.aio.closing import closing_after
from nexusd.client.aio.link import Link
from nexusd.client.errors import CallError, NexusError
from nexusd.client.exchange import asked, told
from nexusd.client.invocation import ProviderSide
from nexusd_protocols.invoke.output import Pieces
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.connection import Notification, Request

log = logging.getLogger(__name__)


class Call:
    """A call that a handler answers; the handler is cancelled once nobody waits for the answer. Input and metadata are
    the caller's words: untrusted."""

    def __init__(self, link: Link, side: ProviderSide) -> None:
        self._link = link
        self._side = side
        self._pieces: deque[tuple[schema.CallInput, int]] = deque()
        self._changed = anyio.Event()
        self._input_over = False
        self.scope = anyio.CancelScope()

    @property
    def info(self) -> schema.IncomingCall:
        """Who calls what, and the limits that were stated."""
        return self._side.call

    def pieces(self) -> AsyncIterator[Any]:
        """The input as it comes."""
        return _Input(self)

    async def value(self) -> Any:
        """The whole input: text joined, a single piece as it is, else a list."""
        whole = Pieces()
        async for piece in self.pieces():
            whole.add(piece)
        return whole.value()

    async def emit(self, data: Any, event: str = "partial", *, units: int | None = None) -> None:
        """Send a piece of output; waits until the caller can take it. `units`: how many tokens it counts, where the
        price is for tokens; one, if that is not said."""
        await self._link.write(await self.line(data, event, units))

    async def line(self, data: Any, event: str, units: int | None = None) -> bytes:
        """The line of a piece of output, for which credit was waited for."""
        while not self._side.may_send:
            await self._changed.wait()
        return self._side.output(event, data, units)

    async def next_piece(self) -> Any:
        """The next piece of input; UNSET at its end."""
        if self._input_over:
            return msgspec.UNSET
        while not self._pieces:
            await self._changed.wait()
        piece, size = self._pieces.popleft()
        self._input_over = piece.final
        await self._link.write(self._side.consumed(size))
        return piece.data

    def push(self, piece: schema.CallInput, size: int) -> None:
        """A piece of input came."""
        self._pieces.append((piece, size))
        self._notify()

    def grant(self, size: int) -> None:
        """More output may be sent."""
        self._side.grant(size)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class _Input:
    """Not a generator, because a handler that is cancelled between two pieces would leave it unclosed."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if (data := await self._call.next_piece()) is msgspec.UNSET:
            raise StopAsyncIteration
        return data


Handler = Callable[[Call], Awaitable[Any] | AsyncIterable[Any]]


class Server:
    """Answers the calls that come on one connection."""

    def __init__(self, link: Link, handler: Handler, max_concurrent: int) -> None:
        self._link = link
        self._handler = handler
        self._max_concurrent = max_concurrent
        self._calls: dict[str, Call] = {}

    async def run(self) -> None:
        """Until the connection ends. Raises NexusError."""
        lost: NexusError | None = None
        async with anyio.create_task_group() as tasks:
            try:
                while True:
                    match await self._link.read():
                        case Request() as request:
                            await self._begin(request, tasks)
                        case Notification() as notification:
                            self._take(notification)
            except NexusError as error:
                lost = error  # raised outside of the group, which would wrap it
                tasks.cancel_scope.cancel()
        if lost is not None:
            raise lost

    async def _begin(self, request: Request, tasks: TaskGroup) -> None:
        incoming = asked(request)
        if isinstance(incoming, Refusal):
            await self._link.write(self._link.exchange.refused(request.id, incoming))
        elif len(self._calls) >= self._max_concurrent:
            error = CallError("BUSY", "too many calls at once")
            await self._link.write(self._link.exchange.failed(request.id, error))
        else:
            side = ProviderSide(request.id, incoming)
            call = self._calls[incoming.invocation] = Call(self._link, side)
            tasks.start_soon(self._answer, call, request.id)

    def _take(self, notification: Notification) -> None:
        params = told(notification)
        call = self._calls.get(getattr(params, "invocation", ""))
        if call is None:
            return
        match params:
            case schema.CallInput():
                call.push(params, notification.size)
            case schema.InvokeCreditParams():
                call.grant(params.bytes)
            case schema.CallCancelled():
                call.scope.cancel()

    async def _answer(self, call: Call, request_id: int | str) -> None:
        exchange = self._link.exchange
        answer = b""
        try:
            with call.scope:
                answer = await self._carry_out(call, request_id)
        finally:
            del self._calls[call.info.invocation]
        await self._link.write(answer or exchange.failed(request_id, CallError("CANCELLED", "cancelled")))

    async def _carry_out(self, call: Call, request_id: int | str) -> bytes:
        exchange = self._link.exchange
        try:
            result = self._handler(call)
            last = b""
            if isinstance(result, AsyncIterable):
                async with closing_after(result) as pieces:
                    async for piece in pieces:
                        await call.emit(piece)
            elif (value := await result) is not None:
                last = await call.line(value, "result")
        except CallError as error:
            return exchange.failed(request_id, error)
        except Exception:
            log.exception("the handler of %s failed", call.info.capability)
            return exchange.failed(request_id, CallError("INTERNAL", "the capability failed"))
        return last + exchange.done(request_id)  # in one write
