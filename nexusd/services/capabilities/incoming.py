"""Calls that this node answers: a provider machine on a stream, between a caller and whoever serves the capability.

    stream -> reader -> buffered input -> provider
    stream <- machine <- emit <- provider

The call ends with the first of: the provider returns or fails, the caller cancels or is gone, a limit or the time is
over, the daemon stops. The provider's task is cancelled in all but the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import structlog
import trio

from nexusd.host.ports import Channel, ConnectionLostError, HostError
from nexusd.services.capabilities.backlog import Backlog
from nexusd.services.capabilities.ports import CallFailed
from nexusd.services.capabilities.registry import Entry
from nexusd.services.screening import Screen
from nexusd.services.trade import Closing
from nexusd_protocols import limits, ndjson
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError, RemoteProtocolError
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.invoke.frames import Code
from nexusd_protocols.ndjson import json_size
from nexusd_protocols.rpc.codes import Refusal

log = structlog.get_logger(__name__)

BAD_OUTPUT: Final = "BAD_OUTPUT"
"""A provider's output cannot be sent: its own fault, in the word that commands use too."""

KEY_MATERIAL: Final = "KEY_MATERIAL"

TOGETHER_CHARS: Final = 16 * limits.KIB
"""Texts up to this length go out together. No line is too long with one, whatever has to be escaped in it."""

_any: Final = msgspec.json.Decoder()

CHANNEL = Channel[events.ProviderEvent, commands.ProviderCommand]


class IncomingCall:
    """A call to one capability. See `ports.Incoming`."""

    def __init__(self, invocation: str, channel: CHANNEL, opened: events.Opened, entry: Entry, screen: Screen) -> None:
        self._screen = screen
        self.invocation = invocation
        self.capability = str(entry.name)
        self.caller = str(opened.caller)
        self.input_format = opened.open.input_format
        self.output_mode: Literal["stream", "unary"] = opened.open.output_mode
        self.max_duration_ms = opened.limits.max_duration_ms
        self.max_output_bytes = opened.limits.max_output_bytes
        metadata = opened.open.metadata
        self.metadata: dict[str, Any] | None = metadata if isinstance(metadata, dict) else None
        self.input_bytes = 0
        self.output_bytes = 0
        self._channel = channel
        self._entry = entry
        self._given_up = ""
        self._scope = trio.CancelScope()
        self._time = trio.CancelScope()
        self._input = Backlog()
        self._began = trio.current_time()
        self.closing = Closing(command=commands.Done(), outcome="ok")
        """How it ended, and what was charged."""

    @property
    def cancelled(self) -> str:
        """See `ports.Incoming`."""
        return self._given_up or ("the time is over" if self._time.cancel_called else "")

    # --- for the provider -------------------------------------------------------------------------------------------
    async def receive(self) -> tuple[Any, bool] | None:
        """See `ports.Incoming`."""
        return _given(await self._input.take())

    def input_ready(self) -> tuple[Any, bool] | None:
        """See `ports.Incoming`."""
        return _given(self._input.ready())

    @property
    def input_over(self) -> bool:
        """See `ports.Incoming`."""
        return self._input.over

    @property
    def unit(self) -> str:
        """See `ports.Incoming`."""
        return ""

    async def count(self, units: int) -> None:
        """See `ports.Incoming`. Nothing is paid."""

    async def emit(self, event: str, data: Any, units: int | None = None) -> None:
        """See `ports.Incoming`."""
        data = self._checked(event, data)
        await self._send([commands.Event(event, data)], json_size(data))

    async def emit_all(self, pieces: Sequence[tuple[str, Any, int | None]]) -> None:
        """See `ports.Incoming`. Only texts that no limit can refuse go together, so that it is known which went."""
        together: list[commands.Event] = []
        size = 0
        for event, data, _ in pieces:
            if isinstance(data, str) and len(data) <= TOGETHER_CHARS:
                found = self._checked(event, data)
                more = json_size(found)
                if self.output_bytes + size + more <= self.max_output_bytes:
                    together.append(commands.Event(event, found))
                    size += more
                    continue
            if together:
                await self._send(together, size)
                together, size = [], 0
            await self.emit(event, data)
        if together:
            await self._send(together, size)

    def _checked(self, event: str, data: Any) -> Any:
        """A piece of output as it may go. Raises CallFailed."""
        if not 0 < len(event) <= limits.FRAME_WORD_CHARS:
            raise CallFailed(BAD_OUTPUT, f"an event's name has 1 to {limits.FRAME_WORD_CHARS} characters")
        return self.shown(data)

    async def _send(self, pieces: Sequence[commands.Event], size: int) -> None:
        try:
            await self._channel.send(*pieces)
            self.output_bytes += size
        except LimitExceededError as error:
            raise CallFailed(Code.OUTPUT_TOO_LARGE, str(error)) from error
        except (HostError, LocalProtocolError) as error:
            self.give_up(f"the caller is gone: {error}")
            await trio.lowlevel.checkpoint()  # raises Cancelled: the provider ends here

    def shown(self, data: Any) -> Any:
        """A piece of output as it may go. Raises CallFailed."""
        shown = self._screen.data(data)
        if isinstance(shown, Refusal):
            raise CallFailed(KEY_MATERIAL, "the output holds what looks like key material")
        return shown

    # --- for the service --------------------------------------------------------------------------------------------
    def give_up(self, reason: str) -> None:
        """Nobody waits for the answer any more."""
        self._given_up = self._given_up or reason
        self._scope.cancel()

    def lose(self, reason: str) -> None:
        """The caller cannot be reached any more."""
        self.give_up(reason)

    def shut_down(self) -> None:
        """This daemon stops."""
        self.give_up("the provider is shutting down")

    @property
    def duration_ms(self) -> int:
        """Since the call was opened."""
        return round((trio.current_time() - self._began) * 1000)

    async def run(self) -> str:
        """Carry the call to its end, and return its outcome: `ok`, or the code of what went wrong."""
        # what came along with the opening: mostly all of the input
        if not all(map(self._take, self._channel.ready())):
            self._input.end()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            outcome = await self._answer()
            nursery.cancel_scope.cancel()
        return outcome

    async def _work(self) -> None:
        """Have the provider answer, in its turn and within the time."""
        self._time.deadline = self._began + self.max_duration_ms / 1000
        with self._time:
            async with self._entry.slot(self.caller):
                await self._channel.send(commands.Accept(self._entry.queue_ms))
                self._working()
                await self._entry.provider.call(self)

    def _working(self) -> None:
        """The provider begins."""

    async def _answer(self) -> str:
        closing: commands.ProviderCommand = commands.Done()
        outcome = "ok"
        with self._scope:
            try:
                await self._work()
                if self._time.cancelled_caught:
                    closing, outcome = commands.TimedOut(), Code.TIMEOUT
            except* CallFailed as failures:
                failed = first(failures)
                closing, outcome = commands.Error(failed.code, failed.message), failed.code
            except* HostError as errors:
                self.give_up(f"the caller is gone: {first(errors)}")
            except* Exception:
                log.exception("provider_failed", capability=self.capability, invocation=self.invocation)
                closing, outcome = commands.Error(Code.INTERNAL, "the provider failed"), Code.INTERNAL
        if self._scope.cancelled_caught or (self._given_up and outcome == "ok"):
            closing, outcome = commands.Cancel(self._given_up), Code.CANCELLED
        try:
            await self._channel.send(closing, timeout=5.0)
            await self._channel.close_write()  # goes along with it
        except (HostError, LocalProtocolError):
            # the caller ended the call first, or is gone
            return outcome if outcome != "ok" else Code.CANCELLED
        return outcome

    async def _read(self) -> None:
        """Take the caller's input and its cancel, until the input is over and the caller half-closes."""
        try:
            while await self._read_one():
                pass
        except ConnectionLostError as error:
            self.lose(f"the caller is gone: {error}")
        except RemoteProtocolError as error:
            self.give_up(f"the caller broke the protocol: {error}")
        finally:
            self._input.end()

    async def _read_one(self) -> bool:
        """One event of the caller's; False if it was the last. By itself, so that no decoded piece outlives it."""
        event = await self._channel.receive()
        if isinstance(event, events.Input):
            await self._input.room(event.data)
        return self._take(event)

    def _take(self, event: events.ProviderEvent | None) -> bool:
        match event:
            case None:
                return False
            case events.Input(_, data, final, size):
                self.input_bytes += size
                self._took(data, final)
                self._input.add(_compact(data), final)
                if final:
                    self._input.end()
            case events.Cancelled(reason):
                self.give_up(f"the caller cancelled: {reason}" if reason else "the caller cancelled")
                return False
            case event:
                self._other(event)
        return True

    def _unfit(self) -> str:
        """What is wrong with the input, as far as that can be told of one that is here whole."""
        pieces = self._input.whole()
        if pieces is None:
            return ""
        given = [_any.decode(piece) if isinstance(piece, msgspec.Raw) else piece for piece in pieces]
        return self._entry.unfit([piece for piece in given if piece is not msgspec.UNSET], self.input_format)

    def _took(self, data: Any, final: bool) -> None:
        """A piece of input came."""

    def _other(self, event: events.ProviderEvent) -> None:
        """What only a call that is paid for gets."""


def _given(piece: tuple[Any, bool] | None) -> tuple[Any, bool] | None:
    """A piece of the backlog as a provider gets it."""
    if piece is None or not isinstance(piece[0], msgspec.Raw):
        return piece
    return _any.decode(piece[0]), piece[1]


def _compact(data: Any) -> Any:
    """As it is kept until the provider takes it: a megabyte of empty lists is 20 MB of objects."""
    return msgspec.Raw(ndjson.encode(data)) if isinstance(data, list | dict) else data


def first(group: BaseExceptionGroup[Any]) -> Any:
    """The first error in it."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
