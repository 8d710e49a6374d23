"""Serving a capability from a synchronous program: a thread reads the connection, and one more answers each call."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from nexusd.client.errors import CallError
from nexusd.client.exchange import asked, told
from nexusd.client.invocation import ProviderSide
from nexusd_protocols.invoke.output import Pieces
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.connection import Notification, Request

if TYPE_CHECKING:
    from nexusd.client.link import Link

log = logging.getLogger(__name__)


class CancelledError(Exception):
    """Nobody waits for the answer to the call any more."""


class Call:
    """A call that a handler answers. Input and metadata are the caller's words: untrusted."""

    def __init__(self, link: Link, side: ProviderSide) -> None:
        self._link = link
        self._side = side
        self._pieces: deque[tuple[schema.CallInput, int]] = deque()
        self._changed = threading.Condition()
        self._input_over = False
        self._cancelled = ""

    @property
    def info(self) -> schema.IncomingCall:
        """Who calls what, and the limits that were stated."""
        return self._side.call

    @property
    def cancelled(self) -> str:
        """Why nobody waits for the answer any more; empty while somebody does."""
        return self._cancelled

    def pieces(self) -> Iterator[Any]:
        """The input as it comes. Raises CancelledError."""
        while not self._input_over:
            with self._changed:
                while not self._pieces and not self._cancelled:
                    self._changed.wait()
                if self._cancelled:
                    raise CancelledError(self._cancelled)
                piece, size = self._pieces.popleft()
                credit = self._side.consumed(size)
            self._link.write(credit)
            self._input_over = piece.final
            if piece.data is not msgspec.UNSET:
                yield piece.data

    def value(self) -> Any:
        """The whole input: text joined, a single piece as it is, else a list. Raises CancelledError."""
        whole = Pieces()
        for piece in self.pieces():
            whole.add(piece)
        return whole.value()

    def emit(self, data: Any, event: str = "partial", *, units: int | None = None) -> None:
        """Send a piece of output; waits until the caller can take it. `units`: how many tokens it counts, where the
        price is for tokens; one, if that is not said. Raises CancelledError."""
        self._link.write(self.line(data, event, units))

    def line(self, data: Any, event: str, units: int | None = None) -> bytes:
        """The line of a piece of output, for which credit was waited for. Raises CancelledError."""
        with self._changed:
            while not self._side.may_send and not self._cancelled:
                self._changed.wait()
            if self._cancelled:
                raise CancelledError(self._cancelled)
            return self._side.output(event, data, units)

    # --- what the reading thread hands over --------------------------------------------------------------------------

    def push(self, piece: schema.CallInput, size: int) -> None:
        """A piece of input came."""
        with self._changed:
            self._pieces.append((piece, size))
            self._changed.notify_all()

    def grant(self, size: int) -> None:
        """More output may be sent."""
        with self._changed:
            self._side.grant(size)
            self._changed.notify_all()

    def cancel(self, reason: str) -> None:
        """Nobody waits any more."""
        with self._changed:
            self._cancelled = reason or "cancelled"
            self._changed.notify_all()


Handler = Callable[[Call], Any]


class Server:
    """Answers the calls that come on one connection."""

    def __init__(self, link: Link, handler: Handler, max_concurrent: int) -> None:
        self._link = link
        self._handler = handler
        self._max_concurrent = max_concurrent
        self._calls: dict[str, Call] = {}

    def run(self) -> None:
        """Until the connection ends. Raises NexusError."""
        try:
            while True:
                match self._link.read():
                    case Request() as request:
                        self._begin(request)
                    case Notification() as notification:
                        self._take(notification)
        finally:
            for call in list(self._calls.values()):
                call.cancel("the connection to the daemon ended")

    def _begin(self, request: Request) -> None:
        incoming = asked(request)
        if isinstance(incoming, Refusal):
            self._link.write(self._link.exchange.refused(request.id, incoming))
        elif len(self._calls) >= self._max_concurrent:
            error = CallError("BUSY", "too many calls at once")
            self._link.write(self._link.exchange.failed(request.id, error))
        else:
            side = ProviderSide(request.id, incoming)
            call = self._calls[incoming.invocation] = Call(self._link, side)
            threading.Thread(target=self._answer, args=(call, request.id), daemon=True).start()

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
                call.cancel(params.reason)

    def _answer(self, call: Call, request_id: int | str) -> None:
        """Carry the handler out, in a thread of its own."""
        exchange = self._link.exchange
        try:
            result = self._handler(call)
            last = b""
            if isinstance(result, Iterator):
                for piece in result:
                    call.emit(piece)
            elif result is not None:
                last = call.line(result, "result")
            answer = last + exchange.done(request_id)  # in one write
        except CallError as error:
            answer = exchange.failed(request_id, error)
        except CancelledError as error:
            answer = exchange.failed(request_id, CallError("CANCELLED", str(error)))
        except Exception:
            log.exception("the handler of %s failed", call.info.capability)
            answer = exchange.failed(request_id, CallError("INTERNAL", "the capability failed"))
        finally:
            self._calls.pop(call.info.invocation, None)
        self._link.write(answer)
