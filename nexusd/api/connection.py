"""One client's connection: a reader, a writer, and a task for each request, call and subscription.

    socket -> Connection (machine) -> inline methods, in order | a task a request -> Outgoing -> socket

Reading pauses while too many requests are being answered, or while the client does not take its answers; so what a
client can pile up here is bounded, and it is only itself that it holds up.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
import trio

from nexusd.api import subscriptions
from nexusd.api.calls import OutgoingCall
from nexusd.api.dispatch import INLINE, Answer, Begun, Handler, file_handlers, with_file
from nexusd.api.files import HandedFiles
from nexusd.api.outgoing import Outgoing, StalledError
from nexusd.api.ports import Services
from nexusd.api.provider import SocketProvider
from nexusd.store.errors import QuotaExceededError, StorageError, StorageFullError
from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.connection import (
    Connection,
    Event,
    Invalid,
    Notification,
    Request,
    Response,
    decode_params,
)

log = structlog.get_logger(__name__)

_READ_BYTES: Final = 64 * limits.KIB
_LINES: Final = 256
"""Lines handled between two checkpoints: some milliseconds, however tiny they are."""
_LINGER_BYTES: Final = 64 * limits.MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one connection may use."""

    pending: int = limits.RPC_PENDING
    calls: int = limits.RPC_CALLS
    subscriptions: int = limits.RPC_SUBSCRIPTIONS
    outgoing_bytes: int = limits.RPC_OUTGOING_BYTES
    line_bytes: int = limits.RPC_LINE_BYTES
    stall_seconds: float = limits.RPC_STALL_SECONDS
    finish_seconds: float = 30.0
    """For requests under way when the client says that it will send no more."""
    flush_seconds: float = 1.0
    """For what is still to be written when the connection, or the daemon, ends."""


class ClientConnection:
    """Serves one client until it leaves. The socket is non-blocking and connected; `serve` closes it."""

    def __init__(
        self, sock: socket.socket, services: Services, table: Mapping[str, Handler], bounds: Bounds | None = None
    ) -> None:
        self._sock = sock
        self._services = services
        self._table = table
        self._bounds = bounds or Bounds()
        self._machine = Connection(max_line=self._bounds.line_bytes, lines_per_receive=_LINES)
        self._outgoing = Outgoing(sock, limit=self._bounds.outgoing_bytes)
        self._provider = SocketProvider(self._machine, self._outgoing)
        self._files = HandedFiles()
        self._file_handlers = file_handlers(services)
        self._calls: dict[str, OutgoingCall] = {}
        self._subscriptions: dict[str, subscriptions.EventSubscription] = {}
        self._next_subscription = 1
        self._slots = trio.Semaphore(self._bounds.pending)
        self._idle = trio.lowlevel.ParkingLot()
        self._following: set[trio.CancelScope] = set()
        self._nursery: trio.Nursery | None = None
        self._left = False
        self._reason = "left"
        self._cut_in_stall = False

    # --- life --------------------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Read, answer and write until the client leaves, breaks the frame, or stalls; then release what it held.
        Cancelled, it tells the client what it can and closes."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._write, nursery.cancel_scope)
                framed = await self._read(nursery)
                self._leave()
                await self._finish()
                if not framed:
                    await self._linger()
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + self._bounds.flush_seconds):
                await self._close()
            log.debug("client left", reason=self._reason)

    async def _read(self, nursery: trio.Nursery) -> bool:
        """Read to the end. False where it was not the client who ended it: it may be sending still."""
        machine = self._machine
        try:
            while data := await self._receive():
                events = machine.receive(data)
                while events:
                    for event in events:
                        await self._handle(event, nursery)
                    events = []
                    if machine.more:
                        await trio.lowlevel.checkpoint()
                        events = machine.receive(b"")
                if not machine.partial:
                    self._files.drop()
            machine.receive_eof()
        except RemoteProtocolError as error:
            self._reason = error.code
            self._outgoing.put(error.reply)
            return not error.reply
        except ConnectionError:
            self._reason = "broken"
            nursery.cancel_scope.cancel()
        return True

    async def _receive(self) -> bytes:
        """Bytes as they came; empty at the end."""
        try:
            data = self._files.receive(self._sock, _READ_BYTES)
        except BlockingIOError:
            pass
        else:
            await trio.lowlevel.checkpoint()
            return data
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                return self._files.receive(self._sock, _READ_BYTES)
            except BlockingIOError:
                continue

    async def _write(self, scope: trio.CancelScope) -> None:
        try:
            await self._outgoing.write(self._bounds.stall_seconds, self._stalled)
        except StalledError:
            self._reason = "stalled"
            log.info("a client takes nothing: cut off", waiting=self._outgoing.size)
        except OSError:
            self._reason = "broken"
        self._outgoing.close()
        scope.cancel()

    def _stalled(self, spans: int) -> bool:
        """Whether to go on waiting for a client that took nothing. Only subscribers are hurried: everybody else holds
        no more than its bound, and may read when it likes."""
        if spans == 1:
            self._cut_in_stall = False
        if self._cut_in_stall:
            return False
        for subscription in list(self._subscriptions.values()):
            subscription.cut("stalled")
            self._cut_in_stall = True
        return True

    def _leave(self) -> None:
        """The client will say nothing more: nobody can steer its calls, nor answer for its capabilities."""
        self._left = True
        for scope in self._following:
            scope.cancel()
        self._provider.close()

    async def _finish(self) -> None:
        with trio.move_on_after(self._bounds.finish_seconds):
            while self._machine.answering:
                await self._idle.park()
            await self._outgoing.flush()

    async def _linger(self) -> None:
        """Let a client that is still sending find the answer: closing on unread bytes would reset the connection."""
        self._sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError), trio.move_on_after(self._bounds.flush_seconds):
            left = _LINGER_BYTES
            while left > 0 and (data := await self._receive()):
                left -= len(data)

    async def _close(self) -> None:
        self._provider.close()
        try:
            self._services.capabilities.release(self._provider)
            if self._outgoing.size:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write, nursery.cancel_scope)
                    await self._outgoing.flush()
                    nursery.cancel_scope.cancel()
        finally:
            self._outgoing.close()
            self._files.drop()
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    # --- events of the machine ---------------------------------------------------------------------------------------

    async def _handle(self, event: Event, nursery: trio.Nursery) -> None:
        match event:
            case Request() | Notification():
                if event.method in INLINE:
                    self._answer(event, self._inline(event))
                else:
                    await self._begin(event, nursery)
            case Response():
                self._provider.answer(event)
            case Invalid():
                self._outgoing.put(event.reply)
        if not isinstance(event, Notification):
            await self._outgoing.room()

    def _inline(self, event: Request | Notification) -> Answer:
        params = decode_params(event.params, schema.METHODS[event.method].params)
        return params if isinstance(params, Refusal) else INLINE[event.method](self, params, event.size)

    async def _begin(self, event: Request | Notification, nursery: trio.Nursery) -> None:
        if event.method not in self._table and event.method not in self._file_handlers:
            self._answer(event, Refusal("method_not_found", f"No method {event.method[:64]!r}"))
            return
        params = decode_params(event.params, schema.METHODS[event.method].params)
        if isinstance(params, Refusal):
            self._answer(event, params)
            return
        try:
            self._slots.acquire_nowait()
        except trio.WouldBlock:
            await self._slots.acquire()
        nursery.start_soon(self._carry_out, event, self._handler_of(event.method), params)

    def _handler_of(self, method: str) -> Handler:
        """What answers a request: with the file that came with it, where there must be one."""
        handler = self._file_handlers.get(method)
        if handler is None:
            return self._table[method]
        use = schema.METHODS[method].file
        assert use is not None
        return with_file(handler, use, self._files.take())

    async def _carry_out(self, event: Request | Notification, handler: Handler, params: Any) -> None:
        follow = None
        answer: Answer | Begun
        try:
            try:
                answer = await handler(params, self)
            except StorageError as error:
                log.error("a request could not be stored", method=event.method, error=str(error))
                answer = Refusal(_code_of(error), str(error))
            except Exception:
                log.exception("a request failed", method=event.method)
                answer = Refusal("internal_error")
            if isinstance(answer, Begun):
                follow, answer = answer.follow, answer.result
            # nothing is awaited from here to `follow`, so that what was begun is always followed
            self._answer(event, answer)
        finally:
            self._slots.release()
            self._idle.unpark_all()
        if follow is not None:
            await self._follow(follow)

    async def _follow(self, follow: Callable[[], Awaitable[None]]) -> None:
        with trio.CancelScope() as scope:
            self._following.add(scope)
            if self._left:
                scope.cancel()
            try:
                await follow()
            except Exception:
                log.exception("a stream of a client failed")
            finally:
                self._following.discard(scope)

    def _answer(self, event: Request | Notification, answer: Answer) -> None:
        if isinstance(event, Notification):
            return
        if isinstance(answer, Refusal):
            self._outgoing.put(self._machine.error(event.id, answer))
        else:
            self._outgoing.put(self._machine.result(event.id, answer))

    # --- methods of the connection itself ----------------------------------------------------------------------------

    async def subscribe(self, params: schema.SubscribeParams) -> Begun | Refusal:
        """Begin a subscription."""
        if len(self._subscriptions) >= self._bounds.subscriptions:
            return Refusal("busy", f"A connection has at most {self._bounds.subscriptions} subscriptions")
        name = f"s{self._next_subscription}"
        self._next_subscription += 1
        subscription = subscriptions.begin(name, params, self._services.events, self._outgoing)
        if isinstance(subscription, Refusal):
            return subscription
        self._subscriptions[name] = subscription

        async def follow() -> None:
            try:
                await subscription.run()
            finally:
                del self._subscriptions[name]
                subscription.cut("unsubscribed" if self._left else "shutting_down")

        return Begun(schema.Subscription(subscription=name, cursor=subscription.cursor), follow)

    async def unsubscribe(self, params: schema.UnsubscribeParams) -> Answer:
        """End a subscription; harmless where there is none."""
        subscription = self._subscriptions.get(params.subscription)
        if subscription is not None:
            subscription.cut("unsubscribed")
        return schema.Done()

    async def register(self, params: schema.CapabilityRegisterParams) -> Answer:
        """Serve a capability on this connection."""
        return await self._services.capabilities.register(params, self._provider)

    async def unregister(self, params: schema.CapabilityNameParams) -> Answer:
        """Stop serving one."""
        return await self._services.capabilities.unregister(params, owner=self._provider)

    async def invoke(self, params: schema.InvokeParams) -> Begun | Refusal:
        """Begin a call."""
        if len(self._calls) >= self._bounds.calls:
            return Refusal("busy", f"A connection makes at most {self._bounds.calls} calls at once")
        call = await self._services.capabilities.invoke(params)
        if isinstance(call, Refusal):
            return call
        assert self._nursery is not None  # it serves
        outgoing_call = OutgoingCall(
            call, self._outgoing, credit=params.credit, final=params.final, spawn=self._nursery.start_soon
        )
        self._calls[outgoing_call.invocation] = outgoing_call

        async def follow() -> None:
            try:
                await outgoing_call.run()
            finally:
                del self._calls[outgoing_call.invocation]

        result = schema.Invocation(invocation=outgoing_call.invocation, credit=outgoing_call.input_credit)
        return Begun(result, follow)

    def take_input(self, params: schema.InvokeInputParams, size: int) -> Answer:
        """More input for a call that this connection made."""
        call = self._calls.get(params.invocation)
        return Refusal("invocation_unknown") if call is None else call.take_input(params, size)

    def grant(self, params: schema.InvokeCreditParams, size: int) -> Answer:
        """Credit for what is sent to this connection: output of its calls, input of those it serves."""
        target = self._calls.get(params.invocation) or self._provider.find(params.invocation)
        if target is None:
            return Refusal("invocation_unknown")
        target.grant(params.bytes)
        return schema.Done()

    def cancel(self, params: schema.InvokeCancelParams, size: int) -> Answer:
        """Give up a call that this connection made."""
        call = self._calls.get(params.invocation)
        if call is None:
            return Refusal("invocation_unknown")
        call.cancel(params.reason)
        return schema.Done()

    def take_event(self, params: schema.CallEventParams, size: int) -> Answer:
        """Output of a call that this connection serves."""
        served = self._provider.find(params.invocation)
        return Refusal("invocation_unknown") if served is None else served.take_event(params, size)


def _code_of(error: StorageError) -> str:
    match error:
        case StorageFullError():
            return "storage_full"
        case QuotaExceededError():
            return "quota_exceeded"
        case _:
            return "internal_error"
